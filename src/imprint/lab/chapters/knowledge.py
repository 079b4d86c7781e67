"""Chapter 2: what does the base model know, and which SFT data helps?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from imprint.lab.chapters.chapter import Agreement, Chapter, Material, Stance, lacking, measured
from imprint.lab.chapters.knowledge_levels import known, master, scale_name
from imprint.lab.chapters.knowledge_sft import MIXED, accuracies, compared, tuned
from imprint.report import Section, State
from imprint.report.figures import bars, curve

NUMBER, TITLE = 2, "What does the base model know, and which SFT data helps?"
SHARE = 0.05  # of facts that every level should hold


def run(material: Material) -> Chapter:
    """Write the chapter: levels of base models, then SFT sets by level and by size."""
    bases = largest_of_each(material)
    lacks = [] if material.facts else ["Facts are missing (--facts)."]
    lacks += [] if bases else ["A base checkpoint is missing."]
    if lacks:
        return lacking(NUMBER, TITLE, lacks)
    with measured() as cost:
        chapter = _written(material, bases)
    chapter.seconds, chapter.peak_bytes = cost["seconds"], int(cost["peak_bytes"])
    return chapter


def largest_of_each(material: Material) -> list[dict[str, Any]]:
    """Take one base checkpoint of each scale, the same mixture where there is one; largest last."""
    rows = material.models("pretrained")
    units = [row["unit"] for row in rows]
    middle = sorted(set(units))[len(set(units)) // 2] if units else None
    found: dict[Any, dict[str, Any]] = {}
    for row in rows:
        scale = row.get("scale")
        if scale not in found or (row["unit"] == middle != found[scale]["unit"]):
            found[scale] = row
    return list(found.values())


def _written(material: Material, bases: Sequence[dict[str, Any]]) -> Chapter:
    runs = {scale_name(row): master(material, row) for row in bases}
    tables = known(runs, material.facts)
    base, unit = bases[-1], runs[scale_name(bases[-1])]
    answers = tuned(material, base, unit) if material.pretraining else None
    trains = "SFT sets could not be drawn from these facts."
    spared = "SFT by level and size trains models, which a study of given checkpoints does not."
    missing = [] if answers is not None else [trains if material.pretraining else spared]
    if answers is not None:
        tables |= {"knowledge_answers": answers, "knowledge_sft": accuracies(answers)}
    chapter = Chapter(NUMBER, TITLE, "", tables=tables, missing=missing)
    _judge(chapter, scale_name(base))
    chapter.sections = [_section(chapter)]
    return chapter


def _judge(chapter: Chapter, scale: str) -> None:
    levels = chapter.tables["knowledge_levels"].filter(pl.col("scale") == scale)
    shares = levels["share"].to_list()
    spread = all(share >= SHARE for share in shares)
    told = ", ".join(f"{level}: {share:.0%}" for level, share in enumerate(shares))
    words = [
        f"Levels of facts at {scale} are {told}; "
        + ("all five hold 5% or more." if spread else "not all five hold 5%.")
    ]
    answers = chapter.tables.get("knowledge_answers")
    if answers is not None:
        words += _told(chapter, answers)
    chapter.verdict = " ".join(words)
    states = [one.stance for one in chapter.agreement]
    chapter.decided = sum(stance != "cannot tell" for stance in states)
    chapter.undecided = len(states) - chapter.decided
    if chapter.decided:
        agrees = all(stance != "disagrees" for stance in states)
        whole: State = "holds" if agrees else "does_not_hold"
        chapter.state = "undetermined" if chapter.undecided and agrees else whole


def _told(chapter: Chapter, answers: pl.DataFrame) -> list[str]:
    mixed = pl.col("level_trained") == MIXED
    sizes = sorted(answers.filter(mixed)["trained"].unique().to_list())
    words = []
    if len(sizes) > 1:
        few, many = sizes[min(1, len(sizes) - 2)], sizes[-1]
        gap = compared(
            answers, mixed & (pl.col("trained") == few), mixed & (pl.col("trained") == many)
        )
        words += _pair(
            chapter,
            gap,
            f"SFT on {few} facts rather than {many}",
            "Beyond about 240 SFT samples accuracy falls",
            "same level, D0: 54.33 at 240, 45.47 at 1,920 (2509.16596)",
        )
    low, middle = (pl.col("level_trained") == level for level in ("0", "2"))
    gap = compared(answers, middle, low)
    words += _pair(
        chapter,
        gap,
        f"SFT on {_count(answers, '2')} facts of level 2 rather than {_count(answers, '0')} of "
        "level 0",
        "Facts of middle mastery train better than unknown ones",
        "57.53 (D2) against 45.47 (D0) at 1,920 samples (2509.16596)",
    )
    return words


def _count(answers: pl.DataFrame, level: str) -> str:
    """Say how many facts of a level were trained on; levels have unequally many."""
    found = answers.filter(pl.col("level_trained") == level)["trained"]
    return f"{found[0]:,}" if len(found) else "no"


def _pair(chapter: Chapter, gap: Any, what: str, claim: str, paper: str) -> list[str]:
    if gap is None or not np.isfinite(gap.low):
        chapter.agreement.append(Agreement(claim, paper, "no such sets", "cannot tell"))
        return []
    mean, low, high = 100 * gap.mean, 100 * gap.low, 100 * gap.high
    lab = f"{mean:+.1f} points [{low:+.1f}, {high:+.1f}]".replace("-", "−")
    stance: Stance = "agrees" if gap.low > 0 else "disagrees" if gap.high < 0 else "cannot tell"
    chapter.agreement.append(Agreement(claim, paper, f"{lab} over {gap.n:,} facts", stance))
    return [f"{what}: {lab}."]


def _section(chapter: Chapter) -> Section:
    section = Section(
        f"{NUMBER}. {TITLE}",
        "Levels by sampling every statement template; then SFT on sets of one level or of all, "
        "asked closed-book on facts that were not trained on.",
        anchor="knowledge",
    )
    levels, frequency = (chapter.tables.get(f"knowledge_{n}") for n in ("levels", "frequency"))
    if levels is not None:
        label = pl.concat_str([pl.col("scale"), pl.lit(" level "), pl.col("level").cast(pl.String)])
        drawn = levels.select(label.alias("label"), "low", "high", value="share", group="scale")
        section.figure(bars(drawn, title="Share of facts"), "Facts at each level, by scale.")
    if frequency is not None:
        drawn = frequency.select(x="frequency", y="score", low="low", high="high", series="scale")
        chart = curve(drawn, x_title="Mentions", y_title="Mastery score", log_x=True)
        section.figure(chart, "Mastery against a fact's frequency, by fifths of the facts.")
        section.table(frequency, "Mastery by fifth of the facts by frequency, and scale.")
    if "knowledge_sft" in chapter.tables:
        table = chapter.tables["knowledge_sft"]
        drawn = table.filter(pl.col("level_trained") == MIXED).select(
            x="trained", y="macro", series="split"
        )
        if len(drawn):
            chart = curve(drawn, x_title="SFT facts", y_title="Macro accuracy", log_x=True)
            section.figure(chart, "Accuracy, mean over levels, against the size of the SFT set.")
        section.table(table, "Accuracy by SFT set and split, in and out of domain.")
    return section
