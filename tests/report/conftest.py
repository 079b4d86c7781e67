"""A page like the ones jobs make, from generated scores: 20 benchmarks, 30 units."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from imprint.report import Page, Verdict, figures
from imprint.report.verdict import State

CATEGORIES = ("Science", "Commonsense", "Language", "Mathematics")


@pytest.fixture(scope="session")
def benchmarks() -> list[str]:
    return [
        *("arc_challenge", "arc_easy", "sciq", "openbookqa", "mmlu_stem"),
        *("hellaswag", "winogrande", "piqa", "social_iqa", "commonsense_qa"),
        *("lambada_openai", "wic", "mnli", "qqp", "rte"),
        *("gsm8k", "math_algebra", "mathqa", "asdiv", "minerva_math_precalculus_hard_subset"),
    ]


@pytest.fixture(scope="session")
def scores(benchmarks: list[str]) -> pl.DataFrame:
    """Accuracy before and after of 30 units, correlated as the benchmark's place in the list."""
    draw = np.random.default_rng(0)
    skill = draw.normal(size=30)
    rows = []
    for index, benchmark in enumerate(benchmarks):
        share = 0.98 - 0.05 * index
        before = share * skill + np.sqrt(1 - share**2) * draw.normal(size=30)
        after = share * skill + np.sqrt(1 - share**2) * draw.normal(size=30)
        rows += [
            {
                "panel": benchmark,
                "category": CATEGORIES[index // 5],
                "label": f"family-{unit % 5}/model-{unit:02d}",
                "family": f"family-{unit % 5}",
                "before": 0.5 + 0.09 * before[unit],
                "after": 0.58 + 0.08 * after[unit],
            }
            for unit in range(30)
        ]
    return pl.DataFrame(rows).with_columns(
        x=pl.col("before").rank(descending=True).over("panel"),
        y=pl.col("after").rank(descending=True).over("panel"),
    )


@pytest.fixture(scope="session")
def correlations(scores: pl.DataFrame) -> pl.DataFrame:
    found = scores.group_by("category", "panel", maintain_order=True).agg(
        r=pl.corr("before", "after")
    )
    z, half = pl.col("r").arctanh(), 1.96 / np.sqrt(27)
    found = found.with_columns(low=(z - half).tanh(), high=(z + half).tanh(), n=pl.lit(30))
    found = found.with_columns(
        verdict=pl.when(pl.col("low") >= 0.5)
        .then(pl.lit("holds"))
        .when(pl.col("high") < 0.5)
        .then(pl.lit("does_not_hold"))
        .otherwise(pl.lit("undetermined")),
        p=10 ** (-6 * pl.col("r").abs()),
    )
    undefined = pl.col("panel") == "qqp"
    return found.with_columns(
        pl.when(undefined).then(None).otherwise(pl.col(name)).alias(name)
        for name in ("r", "low", "high", "p")
    ).with_columns(
        verdict=pl.when(undefined).then(pl.lit("undetermined")).otherwise(pl.col("verdict"))
    )


@pytest.fixture(scope="session")
def demo(scores: pl.DataFrame, correlations: pl.DataFrame) -> Page:
    page = Page("Does pretraining predict fine-tuning?", "30 models, 20 benchmarks: base → sft")
    _verdicts(page, correlations)
    _ranks(page, scores)
    _forest(page, correlations)
    _matrices(page, scores)
    _curves(page, scores)
    _tables(page, scores, correlations)
    return page


def _verdicts(page: Page, correlations: pl.DataFrame) -> None:
    words: dict[State, str] = {"holds": "reliable", "does_not_hold": "unreliable"}
    verdicts = [
        Verdict(
            f"{row['panel']} before tuning predicts {row['panel']} after",
            row["verdict"],
            "accuracy is constant, so the correlation is undefined."
            if row["r"] is None
            else "r = {r:.2f}, 95 % interval {low:.2f} to {high:.2f}, n = 30.".format_map(row),
        )
        for row in correlations.iter_rows(named=True)
    ]
    page.verdicts(
        verdicts,
        headline="Choose by science benchmarks: all five rank models after tuning as they did "
        "before. Mathematics does not carry over, and half of the rest needs more models.",
        words=words,
    )


def _ranks(page: Page, scores: pl.DataFrame) -> None:
    section = page.section(
        "Rank before against rank after",
        "On the diagonal a model keeps its rank. Hover a point to see the model everywhere.",
    )
    section.figure(
        figures.rank_scatter(scores),
        "Ranks of 30 models before and after tuning, one panel per benchmark; 1 is the best.",
        alt="Twenty scatter plots of rank before against rank after.",
    )
    many = pl.concat(
        [scores.with_columns(panel=pl.col("panel") + f" ({shots} shots)") for shots in (0, 5)]
    )
    section.figure(
        figures.rank_scatter(many.with_columns(group=pl.col("family"))),
        "The same with shots apart, by family; choose one of 40 benchmarks.",
    )


def _forest(page: Page, correlations: pl.DataFrame) -> None:
    section = page.section("Correlations", "How much of the order survives, with intervals.")
    section.figure(
        figures.forest(
            correlations.select(
                "low", "high", label="panel", estimate="r", group="category", state="verdict"
            ),
            threshold=0.5,
            words={"holds": "reliable", "does_not_hold": "unreliable"},
        ),
        "Correlation of accuracy before with accuracy after; the dashed lines are 0 and the "
        "threshold of 0.5.",
    )
    draw = np.random.default_rng(1)
    left_out = pl.DataFrame(
        [
            {
                "benchmark": b,
                "unit": f"model-{u:02d}",
                "r_without": r + draw.normal(0, 0.02),
                "r": r,
            }
            for b, r in correlations.select("panel", "r").drop_nulls().rows()
            for u in range(30)
        ]
    )
    section.figure(
        figures.influence(left_out, threshold=0.5),
        "Each point leaves one model out; the bar is the correlation with all.",
    )


def _matrices(page: Page, scores: pl.DataFrame) -> None:
    section = page.section("Coherence", "Which benchmarks move together, before and after.")
    wide = {
        k: scores.pivot("panel", index="label", values=k).drop("label") for k in ("before", "after")
    }
    names = wide["before"].columns
    cells = []
    for panel, (one, two) in {
        "before": ("before", "before"),
        "after": ("after", "after"),
        "across": ("before", "after"),
    }.items():
        matrix = np.corrcoef(wide[one].to_numpy().T, wide[two].to_numpy().T)[:20, 20:]
        cells += [
            {
                "panel": panel,
                "row": a,
                "column": b,
                "value": None if "qqp" in (a, b) else float(matrix[i, j]),
            }
            for i, a in enumerate(names)
            for j, b in enumerate(names)
        ]
    frame = pl.DataFrame(cells)
    section.figure(
        figures.heatmap(frame),
        "Correlations between benchmarks over models. Grey, dashed cells are undefined.",
        wide=True,
    )
    some = frame.filter(
        pl.col("row").is_in(names[9:16]), pl.col("column").is_in(names[9:16]), panel="before"
    )
    section.figure(figures.heatmap(some.drop("panel")), "A small matrix has its numbers written.")


def _curves(page: Page, scores: pl.DataFrame) -> None:
    section = page.section("Decisions and calibration", "What a gap before tuning is worth.")
    gap = np.linspace(0.5, 12, 12)
    agreement = 0.5 + 0.48 * (1 - np.exp(-gap / 4))
    section.figure(
        figures.decision_curve(
            pl.DataFrame(
                {
                    "gap": gap,
                    "agreement": agreement,
                    "low": agreement - 0.05,
                    "high": np.minimum(agreement + 0.05, 1),
                    "n": 36,
                }
            ),
            gap_title="Gap before tuning, percentage points",
        ),
        "Share of pairs of models that keep their order, against the gap before tuning.",
    )
    confidence = np.linspace(0.1, 0.95, 10)
    bins = [
        {
            "panel": panel,
            "series": series,
            "confidence": float(c),
            "accuracy": float(c**power),
            "count": int(40 + 300 * c),
        }
        for panel in ("arc_easy", "hellaswag", "piqa")
        for series, power in (("before", 1.1), ("after", 1.6))
        for c in confidence
    ]
    section.figure(
        figures.reliability_diagram(pl.DataFrame(bins)),
        "Below the diagonal a model is more confident than right.",
    )
    section.figure(
        figures.scatter(
            scores.filter(panel="arc_easy").select("label", x="before", y="after", group="family"),
            x_title="Accuracy before",
            y_title="Accuracy after",
            identity=True,
        ),
        "Accuracy on arc_easy.",
    )
    section.figure(
        figures.bars(
            pl.DataFrame({"label": CATEGORIES, "value": [0.91, 0.62, 0.4, -0.1]}).with_columns(
                low=pl.col("value") - 0.1, high=pl.col("value") + 0.08
            ),
            title="Mean correlation",
        ),
        "Mean correlation of a category.",
    )
    section.figure(
        figures.histogram_null(
            np.random.default_rng(2).normal(0, 0.18, 5000),
            0.62,
            title="Correlation",
            null="permuted labels",
        ),
        "Permuting the models' labels gives correlations like these.",
    )


def _tables(page: Page, scores: pl.DataFrame, correlations: pl.DataFrame) -> None:
    section = page.section("Tables")
    section.table(
        correlations,
        "Correlations by benchmark",
        formats={"verdict": "state", "p": "p", "r": "+.2f"},
        columns={"panel": "benchmark"},
    )
    section.table(scores, "All scores", hidden_after=6, formats={"before": ".1%"})
    method = page.section("Method and manifest")
    method.text("Intervals are Fisher's at 95 %. Undefined correlations are counted, not dropped.")
    part = method.details("Settings", "Everything that changes what the numbers mean.")
    part.facts({"seed": 0, "threshold": 0.5, "input": "results/models-2024/leaderboard.parquet"})
    part.code("imprint transfer scores.csv --design design.yaml --out runs/transfer")
