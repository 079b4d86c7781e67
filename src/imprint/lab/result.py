"""The result of a study: the chapters' verdicts, all tables, and the JSON twin of the report."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import polars as pl

from imprint.findings import Finding
from imprint.lab.chapters.chapter import Chapter, Material
from imprint.lab.finer import finer
from imprint.report import Shown, Verdict

if TYPE_CHECKING:
    from imprint.lab.study import Study
    from imprint.lab.unit import Unit

Json = dict[str, Any]


@dataclass(repr=False, frozen=True)
class StudyResult(Shown):
    """What a study found.

    Attributes:
        tables: ``checkpoints``, ``units`` (seconds, peak memory), ``chapters``, ``agreement``,
            ``items`` and ``scores`` (which other commands read), and the chapters' own.
        headline: how many verdicts are decided, and the first chapter's.
        verdicts: one per chapter.
        chapters: in order.
        data: the content of ``result.json``.
        findings: what is missing.
        notes: for the method section of the report.
    """

    pages: ClassVar[str] = "imprint.lab.report"

    tables: dict[str, pl.DataFrame]
    headline: str
    verdicts: list[Verdict]
    chapters: list[Chapter]
    data: Json
    findings: list[Finding]
    notes: Json = field(default_factory=dict)


def assemble(
    opened: Study,
    material: Material,
    units: Sequence[Unit],
    chapters: Sequence[Chapter],
    seconds: float,
) -> StudyResult:
    """Put tables, verdicts and JSON together."""
    tables = {
        "checkpoints": material.checkpoints,
        "items": material.items,
        "scores": material.scores,
        "units": _units(units),
        "chapters": _chapters(chapters),
        "agreement": _agreement(chapters),
    }
    kept = {name: frame for name, frame in tables.items() if frame is not None and frame.width}
    for chapter in chapters:
        kept |= chapter.tables
    findings = [
        Finding("missing", f"{one.number}. {one.title} {text}", "info")
        for one in chapters
        for text in one.missing
    ]
    config = opened.config
    words = headline(chapters, config.preset if config.trains else "")
    if (more := finer(opened, units)) is not None:
        findings.append(Finding("mixtures", more, "info"))
        words = f"{words} {more}"
    data = _json(opened, chapters, kept, words, findings, seconds)
    verdicts = [chapter.claim for chapter in chapters]
    notes = {"config": config, "seconds": seconds}
    return StudyResult(kept, words, verdicts, list(chapters), data, findings, notes)


def headline(chapters: Sequence[Chapter], preset: str) -> str:
    """Count what is decided, and name the preset that would decide more, if any is trained by."""
    decided = sum(chapter.decided for chapter in chapters)
    undecided = sum(chapter.undecided for chapter in chapters)
    written = [chapter for chapter in chapters if not _unwritten(chapter)]
    after = {"smoke": "default", "default": "standard", "standard": "gpu"}.get(preset)
    words = [
        f"{len(written)} of {len(chapters)} chapters are written; claims decided: {decided}, "
        f"undecided: {undecided}."
    ]
    if undecided and after:
        words.append(f"imprint study --preset {after} would decide more.")
    if written:
        words.append(written[0].verdict)
    return " ".join(words)


def _unwritten(chapter: Chapter) -> bool:
    return bool(chapter.missing) and not chapter.sections and not chapter.tables


def _units(units: Sequence[Unit]) -> pl.DataFrame:
    rows = [(u.name, u.key[:16], u.seconds, u.peak_bytes) for u in units]
    schema = {
        "unit": pl.String,
        "key": pl.String,
        "seconds": pl.Float64,
        "peak_bytes": pl.Int64,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def _chapters(chapters: Sequence[Chapter]) -> pl.DataFrame:
    names = ("number", "title", "state", "verdict", "decided", "undecided", "seconds", "peak_bytes")
    rows = [[getattr(chapter, name) for name in names] for chapter in chapters]
    kinds = (pl.Int64, pl.String, pl.String, pl.String, pl.Int64, pl.Int64, pl.Float64, pl.Int64)
    return pl.DataFrame(rows, schema=dict(zip(names, kinds, strict=True)), orient="row")


def _agreement(chapters: Sequence[Chapter]) -> pl.DataFrame:
    rows = [
        (chapter.number, one.claim, one.paper, one.lab, one.stance)
        for chapter in chapters
        for one in chapter.agreement
    ]
    names = ("chapter", "claim", "paper", "lab", "stance")
    schema = {name: pl.Int64 if name == "chapter" else pl.String for name in names}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _json(
    opened: Study,
    chapters: Sequence[Chapter],
    tables: dict[str, pl.DataFrame],
    words: str,
    findings: Sequence[Finding],
    seconds: float,
) -> Json:
    return {
        "job": "study",
        "format": 1,
        "imprint": importlib.metadata.version("imprint"),
        "headline": words,
        "preset": opened.config.preset,
        "seed": opened.config.seed,
        "workers": opened.workers,
        "seconds": round(seconds, 1),
        "checkpoints": tables["checkpoints"].to_dicts() if "checkpoints" in tables else [],
        "decided": sum(chapter.decided for chapter in chapters),
        "undecided": sum(chapter.undecided for chapter in chapters),
        "chapters": [_chapter(chapter) for chapter in chapters],
        "tables": {name: len(frame) for name, frame in tables.items()},
        "findings": [{"level": f.level, "check": f.check, "detail": f.detail} for f in findings],
    }


def _chapter(chapter: Chapter) -> Json:
    return {
        "number": chapter.number,
        "title": chapter.title,
        "state": chapter.state,
        "verdict": chapter.verdict,
        "judged": chapter.judged,
        "details": chapter.details,
        "decided": chapter.decided,
        "undecided": chapter.undecided,
        "agreement": [
            {"claim": a.claim, "paper": a.paper, "lab": a.lab, "stance": a.stance}
            for a in chapter.agreement
        ],
        "missing": chapter.missing,
        "tables": sorted(chapter.tables),
        "seconds": chapter.seconds,
        "peak_bytes": chapter.peak_bytes,
    }
