"""Chapter 1: do rankings of mixtures survive SFT, and RL?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from imprint.lab.chapters.chapter import Agreement, Chapter, Material, Stance, lacking, measured
from imprint.lab.chapters.part import interval
from imprint.lab.chapters.rankings_pair import changes, pair_chapter
from imprint.lab.chapters.rankings_signal import signal, signal_words
from imprint.report import Section, State
from imprint.report.figures import forest

NUMBER, TITLE = 1, "Do rankings survive SFT, and RL?"
CALLED: dict[str, State] = {
    "reliable": "holds",
    "unreliable": "does_not_hold",
    "undetermined": "undetermined",
}
FEWEST = 3  # units that are ranked, benchmarks of a mean that decides
# arXiv 2602.11217, by a secondary reading (section 7 of the sheet): mean over 20 benchmarks
PAPER = {"accuracy": {"small": 0.49, "large": 0.60}, "confidence": {"small": 0.68, "large": 0.39}}


def run(material: Material) -> Chapter:
    """Write the chapter from the folder of the transfer analysis."""
    lacks = _lacks(material)
    with measured() as cost:
        if lacks or material.transfer is None:
            chapter = _unranked(material, lacks)
        else:
            chapter = _written(_tables(material.transfer), material)
    chapter.seconds, chapter.peak_bytes = cost["seconds"], int(cost["peak_bytes"])
    return chapter


def _unranked(material: Material, lacks: list[str]) -> Chapter:
    """Say what is lacking, and what is known of the pairs that there are."""
    if material.items is not None:
        table = changes(material.items, material.categories)
        if len(table):
            return pair_chapter(NUMBER, TITLE, " ".join(lacks), table)
    return lacking(NUMBER, TITLE, lacks)


def _lacks(material: Material) -> list[str]:
    if not material.benchmarks:
        return ["Benchmarks are missing (--benchmarks)."]
    units = 0 if material.checkpoints is None else material.checkpoints["unit"].n_unique()
    if 0 < units < FEWEST:
        return [f"Rankings need several units; there {'is' if units == 1 else 'are'} {units}."]
    if material.transfer is None or not (material.transfer / "tables").is_dir():
        return ["Scores of two stages of one scale are missing, before and after post-training."]
    return []


def _tables(folder: Path) -> dict[str, pl.DataFrame]:
    return {path.stem: pl.read_parquet(path) for path in (folder / "tables").glob("*.parquet")}


def _written(tables: dict[str, pl.DataFrame], material: Material) -> Chapter:
    pooled = tables.get("cross_stage_category", pl.DataFrame())
    judged = tables.get("reliability", pl.DataFrame())
    regret = regrets(tables.get("decision_accuracy", pl.DataFrame()))
    headline = _judged(_row(pooled, "accuracy", "all"))
    counts = counted(judged)
    chapter = Chapter(NUMBER, TITLE, _verdict(headline, counts, regret))
    chapter.state = (
        CALLED.get(str(headline["verdict"]), "undetermined") if headline else chapter.state
    )
    chapter.decided = counts["reliable"] + counts["unreliable"]
    chapter.undecided = counts["undetermined"]
    chapter.agreement = agreements(tables)
    kept = {
        "rankings_category": pooled,
        "rankings_benchmarks": tables.get("cross_stage"),
        "rankings_verdicts": judged,
        "rankings_regret": regret,
        "rankings_scale_shift": tables.get("scale_shift"),
        "rankings_above_chance": _above(material.scores),
    }
    kept["rankings_signal"] = signal(judged, kept["rankings_above_chance"])
    chapter.tables = {name: t for name, t in kept.items() if t is not None and len(t)}
    if "rankings_signal" in chapter.tables:
        chapter.details = signal_words(chapter.tables["rankings_signal"], material.scores)
    chapter.sections = [_section(chapter, tables)]
    return chapter


def regrets(decisions: pl.DataFrame) -> pl.DataFrame:
    """Average over benchmarks what it costs to take the mixture that looks best before.

    Points of accuracy below the best mixture after, by comparison, scale and measure, with a normal
    interval over benchmarks; and the share of pairs that keep their order.
    """
    if not len(decisions):
        return decisions
    by = ["comparison", "scale", "metric"]
    found = decisions.filter(pl.col("top1_regret_pp").is_not_null()).group_by(
        by, maintain_order=True
    )
    table = found.agg(
        pl.len().alias("benchmarks"),
        pl.col("top1_regret_pp").mean().alias("regret_pp"),
        (pl.col("top1_regret_pp").std() / pl.len().sqrt()).alias("se"),
        pl.col("da").mean().alias("pairs_kept"),
    )
    spread = 1.96 * pl.col("se")
    return table.with_columns(
        low=(pl.col("regret_pp") - spread).clip(0), high=pl.col("regret_pp") + spread
    ).drop("se")


def counted(judged: pl.DataFrame) -> dict[str, int]:
    """Count verdicts on accuracy by their state."""
    known = dict.fromkeys(CALLED, 0)
    if len(judged):
        rows = judged.filter(pl.col("metric") == "accuracy")["verdict"].value_counts()
        known |= dict(rows.iter_rows())
    return known


def agreements(tables: dict[str, pl.DataFrame]) -> list[Agreement]:
    """Set the paper's claims beside the lab's numbers."""
    pooled = tables.get("cross_stage_category", pl.DataFrame())
    found = []
    if len(pooled):
        for metric in ("accuracy", "confidence"):
            row = _row(pooled, metric, "all")
            if row is not None:
                paper = PAPER[metric]
                told = f"mean r {paper['small']} at 240M, {paper['large']} at 1B (2602.11217)"
                claim = f"Rankings by {metric} persist through SFT (mean correlation above 0)"
                found.append(Agreement(claim, told, _span(row), _stance(row, above=0.0)))
    shift = tables.get("scale_shift", pl.DataFrame())
    if len(shift):
        for words, metric, sign in (
            ("Transfer of accuracy grows with scale", "accuracy", 1),
            ("Transfer of confidence falls with scale", "confidence", -1),
        ):
            found += _shifted(shift, words, metric, sign)
    return found


def _shifted(shift: pl.DataFrame, words: str, metric: str, sign: int) -> list[Agreement]:
    kept = shift.filter(
        pl.col("quantity") == "r_stage", pl.col("category") == "all", pl.col("metric") == metric
    )
    kept = kept.filter(pl.col("comparison").str.contains("sft"))
    if not len(kept):
        return []
    row = kept.row(0, named=True)
    paper = f"{PAPER[metric]['small']} to {PAPER[metric]['large']} (2602.11217)"
    if any(row[n] is None or row[n] != row[n] for n in ("diff", "ci_lo", "ci_hi")):
        return [Agreement(words, paper, "undefined", "cannot tell")]
    ends = sorted(sign * row[name] for name in ("ci_lo", "ci_hi"))
    stance: Stance = "agrees" if ends[0] > 0 else "disagrees" if ends[1] < 0 else "cannot tell"
    told = f"change {row['diff']:+.2f} [{row['ci_lo']:+.2f}, {row['ci_hi']:+.2f}]"
    return [Agreement(words, paper, told, stance)]


def _row(pooled: pl.DataFrame, metric: str, category: str) -> dict[str, Any] | None:
    """Take the pooled row of SFT at the largest scale."""
    if not len(pooled):
        return None
    kept = pooled.filter(pl.col("metric") == metric, pl.col("category") == category)
    kept = kept.filter(pl.col("r_mean").is_finite())
    sft = kept.filter(pl.col("comparison").str.contains("sft"))
    kept = sft if len(sft) else kept
    return kept.row(-1, named=True) if len(kept) else None


def _judged(row: dict[str, Any] | None) -> dict[str, Any] | None:
    """Let a mean over too few benchmarks decide nothing, however narrow its interval."""
    if row is None or row["n_defined"] >= FEWEST:
        return row
    return {**row, "verdict": "undetermined"}


def _span(row: dict[str, Any]) -> str:
    if row["r_mean"] is None or row["ci_lo"] is None:
        return "undefined"
    at = f" at {row['scale']}" if row.get("scale") else ""
    return f"mean r {row['r_mean']:.2f} [{row['ci_lo']:.2f}, {row['ci_hi']:.2f}]{at}"


def _stance(row: dict[str, Any], *, above: float) -> Stance:
    low, high = row["ci_lo"], row["ci_hi"]
    undefined = any(value is None or value != value for value in (low, high))
    if undefined or row["n_defined"] < FEWEST:
        return "cannot tell"
    return "agrees" if low > above else "disagrees" if high < above else "cannot tell"


def _verdict(row: dict[str, Any] | None, counts: dict[str, int], regret: pl.DataFrame) -> str:
    if row is None:
        return "No correlation is defined: scores do not vary over units."
    words = {
        "reliable": "Rankings of mixtures survive SFT",
        "unreliable": "Rankings of mixtures do not survive SFT",
    }.get(str(row["verdict"]), "It cannot be told whether rankings of mixtures survive SFT")
    parts = [
        f"{words}: {_span(row)} over {row['n_defined']} benchmark{'s'[: row['n_defined'] != 1]}."
    ]
    known = regret.filter(pl.col("metric") == "accuracy") if len(regret) else regret
    if len(known):
        last = known.row(-1, named=True)
        cost = interval(last["regret_pp"], last["low"], last["high"], ".1f")
        parts.append(
            f"Acting now on the best-looking mixture costs {cost} points against the best after."
        )
    decided = counts["reliable"] + counts["unreliable"]
    parts.append(f"{decided} verdicts on benchmarks are decided, {counts['undetermined']} are not.")
    return " ".join(parts)


def _above(scores: pl.DataFrame | None) -> pl.DataFrame | None:
    """Say how far each benchmark's mean accuracy is above chance, by scale and stage."""
    if scores is None or "chance" not in scores.columns:
        return None
    by = [name for name in ("scale", "stage", "benchmark") if name in scores.columns]
    found = scores.group_by(by, maintain_order=True).agg(
        pl.len().alias("models"),
        pl.col("accuracy").mean(),
        pl.col("chance").mean(),
        # all models answer the same items, so that their mean is hardly surer than each
        pl.col("accuracy_se").mean().alias("se"),
    )
    margin = pl.col("accuracy") - pl.col("chance")
    return found.with_columns(above=margin, clearly=margin > 1.96 * pl.col("se"))


def _section(chapter: Chapter, tables: dict[str, pl.DataFrame]) -> Section:
    kept = chapter.tables
    section = Section(
        f"{NUMBER}. {TITLE}",
        "Correlation over mixtures of scores before and after, pooled over the benchmarks of a "
        "category; intervals draw mixtures anew, jointly over benchmarks.",
        anchor="rankings",
    )
    section.text(*chapter.details)
    pooled = kept.get("rankings_category", pl.DataFrame())
    drawn = pooled.filter(pl.col("r_mean").is_finite()) if len(pooled) else pooled
    if len(drawn):
        section.figure(
            forest(_drawn(drawn), threshold=0.5),
            "Mean correlation and its interval; at the dashed line a category is trusted.",
        )
        section.table(drawn, "Pooled over the benchmarks of a category.", hidden_after=10)
    for name, caption in (
        ("rankings_regret", "What acting now costs: points below the best mixture after."),
        ("rankings_verdicts", "Every benchmark: between-mixture reliability, r and verdict."),
        ("rankings_scale_shift", "Change between scales; confounds are named."),
        ("rankings_signal", "Which benchmarks tell mixtures apart, before and after SFT."),
        ("rankings_above_chance", "Mean accuracy beside chance."),
    ):
        if name in kept:
            section.table(kept[name], caption, hidden_after=10)
    audit = tables.get("design_audit")
    if audit is not None and len(audit):
        section.details("Design audit").table(audit, "What was noticed about the design.")
    return section


def _drawn(pooled: pl.DataFrame) -> pl.DataFrame:
    place = [pl.col(name).fill_null("") for name in ("metric", "comparison", "scale")]
    return pooled.select(
        label="category",
        group=pl.concat_str(place, separator=" · "),
        estimate="r_mean",
        low="ci_lo",
        high="ci_hi",
        state=pl.col("verdict").replace(CALLED),
    )
