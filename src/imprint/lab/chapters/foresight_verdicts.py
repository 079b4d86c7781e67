"""What the forecasts were worth: the verdict, the papers beside it, and the report's section."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from imprint.lab.chapters.chapter import Agreement
from imprint.lab.chapters.foresight_scores import FEWEST, MEASURES, Pooled
from imprint.lab.chapters.part import Part, interval, stance, state
from imprint.report import Section
from imprint.report.figures import forest, scatter
from imprint.stats import paired_difference

LEVEL = 0.05
STS, RAW, DIGITS = ("sts_icl", "sts_act"), "raw_icl", "digit_share"
WORDS = {"logprob": "log-probability of answers", "accuracy": "accuracy"}
SHOWN = 12  # predictors in the chart of each measure
FLOOR = 0.05  # accuracy below which a domain cannot fall
JUDGED = (
    "at least one predictor, scored before any SFT, orders domains by what SFT then changed, "
    "better than chance after correction for their number"
)


def judge(found: Part, seen: pl.DataFrame, said: Mapping[str, pl.DataFrame], by: Pooled) -> None:
    """Add verdict, agreement, tables and section to a part."""
    found.tables |= {"foresight_observed": seen, "foresight_predictors": by.table}
    for name in ("evaluation", "across_held_out"):
        if name in said:
            found.tables[f"foresight_{name}"] = said[name]
    found.answer, found.judged = _best(found, by), JUDGED
    found.said = " ".join([*_beyond(by), _of_sts(found, by), *_held_out(said)])
    found.agreement += [*_agreements(by), _fall(seen)]
    found.sections.append(_section(seen, by, said))


def holding(table: pl.DataFrame, measure: str = "logprob") -> pl.DataFrame:
    """Give the predictors that hold: interval above 0 and adjusted p at most .05, best first.

    Predictors that are told outcomes of other sets are left out.
    """
    known = table.filter(measure=measure).filter(pl.col("family") != "history")
    return known.filter((pl.col("low") > 0) & (pl.col("p_adjusted") <= LEVEL))


def _best(found: Part, by: Pooled) -> str:
    held = holding(by.table)
    first = by.table.filter((pl.col("measure") == "logprob") & (pl.col("family") != "history"))
    row = first.row(0, named=True)
    found.states.append("holds" if len(held) else "undetermined")
    over = f"{row['sets']} SFT set{'s' if row['sets'] != 1 else ''}, {row['domains']} domains"
    told = f"ρ {interval(row['rho'], row['low'], row['high'], '.2f')}"
    if not len(held):
        return (
            f"No predictor is shown to foresee which domains change ({over}); the best, "
            f"{row['predictor']}, reaches {told}, p {row['p_adjusted'] or 1:.2g} adjusted."
        )
    best = held.row(0, named=True)
    told = f"ρ {interval(best['rho'], best['low'], best['high'], '.2f')}"
    return (
        f"Yes: the best predictor, {best['title']} ({best['predictor']}), orders domains by what "
        f"SFT changed with {told} ({over})."
    )


def _beyond(by: Pooled) -> list[str]:
    """Say how many predictors hold, and what their correlation is with."""
    held = holding(by.table)
    if held.is_empty():
        return []
    worst = float(held["p_adjusted"].max())  # type: ignore[arg-type]
    return [
        f"ρ is the mean rank correlation (Spearman) with the change of the {WORDS['logprob']}; "
        f"{len(held)} predictors hold, each with an adjusted p of at most {worst:.2g}."
    ]


def _of_sts(found: Part, by: Pooled) -> str:
    row = _sts(by.table)
    if row is None:
        return "STS could not be tried without an SAE."
    found.states.append(state(*_sure(row)))
    return f"STS, the published score by sparse features ({row['predictor']}), has ρ {_rho(row)}."


def _held_out(said: Mapping[str, pl.DataFrame]) -> list[str]:
    frame = said.get("across_held_out")
    if frame is None or frame["spearman"].null_count() == len(frame):
        return []
    mean, sets = float(np.nanmean(frame["spearman"].to_numpy())), frame["spearman"].count()
    return [f"The predictor that did best on the other sets reaches ρ {mean:.2f} on the set left "
            f"out (mean of {sets})."]  # fmt: skip


def _agreements(by: Pooled) -> list[Agreement]:
    found = []
    row = _sts(by.table)
    if row is not None:
        found.append(
            Agreement(
                "STS foresees how much each domain changes.",
                "ρ .81, .78, .77 for the ICL score, over the four largest and four smallest "
                "changes of each model, chosen by outcome (arXiv 2603.02908, figure 3).",
                f"{row['predictor']}, all {row['domains']} domains, mean Spearman ρ over "
                f"{row['sets']} sets {_rho(row)}, p {_p(row)}.",
                stance(*_sure(row)),
            )
        )
        found += _against(by, row["predictor"], RAW, (
            "STS does better than the same score of raw activations.",
            "STS .79, raw activations .03 (arXiv 2603.02908, table 13; Qwen, LIMO).",
        ))  # fmt: skip
        found += _against(by, row["predictor"], DIGITS, (
            "STS does better than a look at the texts.",
            "Not tested there; the share of digits reaches .95 where STS reaches .90 "
            "(Qwen; our measurement).",
        ))  # fmt: skip
    return found


def _against(by: Pooled, one: str, other: str, told: tuple[str, str]) -> list[Agreement]:
    gap = by.gap("logprob", one, other)
    if gap is None:
        return []
    lab = f"ρ of {one} less ρ of {other}: {interval(*gap, '+.2f')}."
    return [Agreement(*told, lab, stance(*gap[1:]))]


def _fall(seen: pl.DataFrame) -> Agreement:
    """Judge by domains of which the base answers enough that accuracy could fall."""
    every = seen.group_by("domain", maintain_order=True).agg(
        pl.col("accuracy", "base_accuracy").mean()
    )
    each = every.filter(pl.col("base_accuracy") >= FLOOR)
    gap = paired_difference(each["accuracy"].to_numpy(), np.zeros(len(each)))
    few = len(each) < FEWEST
    lab = (
        f"Mean change of accuracy {interval(gap.mean, gap.low, gap.high, '+.3f')} over the "
        f"{len(each)} of {len(every)} domains of which the base answers {FLOOR:.0%} or more; "
        "elsewhere it has little to lose."
    )
    return Agreement(
        "SFT lowers accuracy in most domains.",
        "Mean change over 14 domains −2.7, −3.0 and −1.5 points (arXiv 2603.02908, tables 2–4, "
        "after SFT on LIMO).",
        lab,
        "cannot tell" if few else stance(-gap.high, -gap.low),
    )


def _sts(table: pl.DataFrame) -> dict[str, Any] | None:
    for name in STS:
        rows = table.filter((pl.col("measure") == "logprob") & (pl.col("predictor") == name))
        if len(rows) and rows["rho"][0] is not None:
            return rows.row(0, named=True)
    return None


def _rho(row: Mapping[str, Any]) -> str:
    return interval(row["rho"], row["low"], row["high"], ".2f")


def _p(row: Mapping[str, Any]) -> str:
    return "undefined" if row["p"] is None else f"{row['p']:.2g}"


def _sure(row: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Give the interval where the permutation agrees that it is not chance.

    Of few domains a bootstrap is too narrow; STS was named beforehand, so p is not adjusted.
    """
    sure = row["p"] is not None and row["p"] <= LEVEL
    return (row["low"], row["high"]) if sure else (None, None)


def _section(seen: pl.DataFrame, by: Pooled, said: Mapping[str, pl.DataFrame]) -> Section:
    section = Section(
        "Forecasts and outcomes",
        "Every predictor was scored before any SFT. Its correlation with what then happened is "
        "the mean over SFT sets; intervals draw domains anew, p deals outcomes out anew among "
        "domains. Predictors of the family history know what other sets did. Changes hold what "
        "every set teaches too, the form of questions and answers.",
    )
    _against_outcomes(section, seen, by, said)
    for measure in MEASURES:
        rows = by.table.filter(measure=measure).drop_nulls("rho").head(SHOWN)
        if not len(rows):
            continue
        drawn = rows.select(
            label="predictor", estimate="rho", low="low", high="high", group="family"
        ).sort("group", maintain_order=True)
        caption = (
            f"The {len(rows)} predictors that order domains best by change of {WORDS[measure]}."
        )
        section.figure(forest(drawn, title="Spearman ρ"), caption, wide=True)
    section.table(seen, "What SFT on each set changed in each domain")
    section.table(by.table, "All predictors")
    if "fit" in said:
        section.table(said["fit"], "Fit of the SAE on the texts that were read")
    return section


def _against_outcomes(
    section: Section, seen: pl.DataFrame, by: Pooled, said: Mapping[str, pl.DataFrame]
) -> None:
    """Draw forecast against outcome, of the best predictor and of STS, by SFT set."""
    best = by.table.filter((pl.col("measure") == "logprob") & (pl.col("family") != "history"))
    sts = _sts(by.table)
    chosen = [best["predictor"][0], *([sts["predictor"]] if sts else [])]
    for name in dict.fromkeys(chosen):
        own = said["predictors"].filter(pl.col("predictor") == name)
        drawn = (
            own.select("sft", "domain", "score")
            .join(seen, on=["sft", "domain"])
            .drop_nulls(["score", "logprob"])
            .select(label="domain", x="score", y="logprob", panel="sft")
        )
        signed, title = best.filter(pl.col("predictor") == name).select("signed", "title").row(0)
        drawn = drawn if signed else drawn.with_columns(pl.col("y").abs())
        if drawn.is_empty():
            continue
        section.figure(
            scatter(
                drawn, x_title=name, y_title=f"{'Change' if signed else 'Size of change'}, nats"
            ),
            f"Forecast ({title}) against what happened to the log-probability of answers: one "
            "point per domain, one panel per SFT set.",
            wide=True,
        )
