"""lm-eval's logged samples as rollouts: what was drawn for each document, and what was right.

lm-eval gives the metric of a document, not of each of its samples. Where a filter keeps several
(``take_first_k``) they are compared with the target here, letter for letter; where it keeps one,
the document's own accuracy is one rollout. Several files are counted together.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from imprint.errors import DataError, nearest
from imprint.findings import Finding
from imprint.formats.json_input import load_json, need, parse_lines

METRICS = ("exact_match", "acc", "math_verify", "pass@1", "pass_at_1")
LETTERS = "equal to lm-eval's target"
Row = dict[str, Any]


def is_lm_eval(path: Path) -> bool:
    """Tell lm-eval's samples by the fields of the first row."""
    if not path.is_file() or not path.name.lower().endswith((".jsonl", ".json")):
        return False
    with path.open("rb") as handle:
        start = handle.read(1 << 16)
    return b'"filtered_resps"' in start and b'"doc_id"' in start


def read_lm_eval(
    path: Path, *, filtered: str | None, pass_at: float | None
) -> tuple[pl.DataFrame, list[Finding]]:
    """Read one samples file.

    Args:
        path: ``samples_TASK_TIME.jsonl``.
        filtered: the filter to take, where there are several.
        pass_at: a metric of at least this is a pass; without it a metric must be 0 or 1.

    Returns:
        One row per document: ``id`` (its hash), ``domain`` (the task), ``prompt``, ``answer``,
        ``n``, ``c``, ``verifier``; and what was noticed.

    Raises:
        DataError: several filters and none chosen, or no accuracy of single samples.
    """
    rows = _objects(path)
    name = _filter({str(row.get("filter", "none")) for _, row in rows}, filtered, path)
    task = path.stem.removeprefix("samples_").rpartition("_")[0] or path.stem
    found: dict[str, Row] = {}
    dropped = 0
    for place, row in rows:
        if str(row.get("filter", "none")) != name:
            continue
        made = _row(row, place, task, pass_at)
        dropped += made.pop("drawn") - made["n"]
        before = found.setdefault(made["id"], made)
        if before is not made:
            before["n"], before["c"] = before["n"] + made["n"], before["c"] + made["c"]
    findings = []
    if any(made["verifier"] == LETTERS for made in found.values()):
        told = (
            f"samples of {path} are compared with lm-eval's target letter for letter: its log has "
            "no accuracy of single samples"
        )
        findings.append(Finding("compared_here", told, "info", len(found)))
    if dropped > 0:
        told = (
            f"the filter {name!r} of {path} dropped {dropped:,} samples that were drawn; a filter "
            "with take_first_k keeps them"
        )
        findings.append(Finding("dropped_samples", told, count=dropped))
    return pl.DataFrame(list(found.values()), infer_schema_length=None), findings


def _objects(path: Path) -> list[tuple[str, Row]]:
    with path.open("rb") as handle:
        if not handle.read(64).lstrip().startswith(b"["):
            handle.seek(0)
            return list(parse_lines(handle, str(path)))
    rows = load_json(path)
    return [(f"{path}, row {number}", row) for number, row in enumerate(rows, 1)]


def _filter(there: set[str], wanted: str | None, path: Path) -> str:
    if wanted is not None and wanted not in there:
        raise DataError(f"no filter {wanted!r}; {nearest(wanted, there)}", where=str(path))
    if wanted is None and len(there) > 1:
        raise DataError(
            f"rows of several filters: {', '.join(sorted(there))}",
            where=str(path),
            remedy="choose one: --filter NAME.",
        )
    return wanted or next(iter(there))


def _row(row: Row, place: str, task: str, pass_at: float | None) -> Row:
    drawn = need(row, "resps", list, place)
    kept = need(row, "filtered_resps", list, place)
    if len(drawn) != 1 or len(kept) != 1:
        raise DataError(
            "several requests per document: a multiple choice, no rollouts",
            where=place,
            remedy="plan from generated answers (generate_until).",
        )
    passes, verifier = _passes(row, kept[0], place, pass_at)
    return {
        "id": str(row.get("doc_hash") or f"doc-{need(row, 'doc_id', int, place)}"),
        "domain": task,
        "prompt": _prompt(row, place),
        "answer": str(row.get("target")),
        "n": len(passes),
        "c": sum(passes),
        "verifier": verifier,
        "drawn": len(drawn[0]) if isinstance(drawn[0], list) else 1,
    }


def _passes(row: Row, kept: Any, place: str, pass_at: float | None) -> tuple[list[int], str]:
    names = [name for name in METRICS if name in row]
    for name in names:
        if isinstance(row[name], list):
            return [_pass(value, place, name, pass_at) for value in row[name]], f"lm-eval {name}"
    if isinstance(kept, list):
        target = str(row.get("target")).strip()
        return [int(str(text).strip() == target) for text in kept], LETTERS
    if not names:
        raise DataError(
            f"no accuracy among the metrics; known: {', '.join(METRICS)}",
            where=place,
            remedy="log a task that scores exact_match or acc.",
        )
    return [_pass(row[names[0]], place, names[0], pass_at)], f"lm-eval {names[0]}"


def _pass(value: Any, place: str, name: str, pass_at: float | None) -> int:
    number = float(value) if isinstance(value, (bool, int, float)) else float("nan")
    if pass_at is not None and number == number:
        return int(number >= pass_at)
    if number not in (0.0, 1.0):
        raise DataError(
            f"{name} is {value!r:.40}, neither 0 nor 1",
            where=place,
            remedy="say from which value on a sample is right: --pass-at 1.",
        )
    return int(number)


def _prompt(row: Row, place: str) -> str:
    arguments = need(row, "arguments", (dict, list), place)
    if isinstance(arguments, dict):
        first = need(arguments, "gen_args_0", dict, place)
        return str(need(first, "arg_0", str, place))
    first = arguments[0] if arguments else None
    text = first[0] if isinstance(first, list) and first else first
    if not isinstance(text, str):
        raise DataError("the row names no prompt", where=place)
    return text
