"""The result of a training or a check: the fit beside its controls, verdicts, JSON."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import polars as pl

from imprint.findings import Finding
from imprint.report import Shown, Verdict
from imprint.report.verdict import State
from imprint.saes.sae import Sae
from imprint.saes.training.measure import COMPONENTS, RANDOM, SAE

Json = dict[str, Any]
MORE = "More texts narrow the intervals."


@dataclass(repr=False, frozen=True)
class SaeResult(Shown):
    """How well an SAE fits texts.

    Attributes:
        tables: ``fit`` (the SAE, random directions, principal components), ``latents`` (share of
            tokens on which each fired) and ``findings``.
        headline: the answer in two sentences.
        verdicts: whether it fits, and whether it explains more than its controls.
        findings: what was noticed.
        data: the content of ``result.json``.
        files: the SAE that was trained, file name → content.
        notes: for the method section.
    """

    pages: ClassVar[str] = "imprint.saes.training.report"

    tables: dict[str, pl.DataFrame]
    headline: str
    verdicts: list[Verdict]
    findings: list[Finding]
    data: Json
    files: dict[str, bytes] = field(default_factory=dict)
    notes: Json = field(default_factory=dict)


def assemble(
    job: str,
    model: str,
    sae: Sae,
    tables: dict[str, pl.DataFrame],
    findings: Sequence[Finding],
    about: Json,
) -> SaeResult:
    """Make verdicts and JSON of what was measured.

    Args:
        job: ``sae-train`` or ``sae-check``.
        model: its name.
        sae: the SAE, an unknown scale of its input decided.
        tables: ``fit`` and ``latents``.
        findings: what was noticed; those of level ``error`` make the fit bad.
        about: ``training`` and ``config``.
    """
    rows = {row["dictionary"]: row for row in tables["fit"].iter_rows(named=True)}
    verdicts = list(_verdicts(rows, findings))
    headline = _headline(rows[SAE], findings)
    listed = [{"level": f.level, "check": f.check, "detail": f.detail} for f in findings]
    data = {
        "job": job,
        "format": 1,
        "imprint": importlib.metadata.version("imprint"),
        "headline": headline,
        "model": model,
        "sae": _described(sae),
        "fit": {name: value for name, value in rows[SAE].items() if name != "dictionary"},
        "null": {name: rows[RANDOM][name] for name in ("fvu", "fvu_low", "fvu_high", "l0")},
        "principal_components": {name: rows[COMPONENTS][name] for name in ("fvu", "l0")},
        "training": about.get("training"),
        "seed": about["config"].seed,
        "verdicts": [{"text": v.text, "state": v.state, "detail": v.detail} for v in verdicts],
        "findings": listed,
    }
    schema = {"level": pl.String, "check": pl.String, "detail": pl.String}
    whole = {**tables, "findings": pl.DataFrame(listed, schema=schema)}
    return SaeResult(whole, headline, verdicts, list(findings), data, notes=dict(about))


def _described(sae: Sae) -> Json:
    return {
        "source": sae.source,
        "format": sae.format,
        "width": sae.width,
        "latents": sae.latents,
        "activation": sae.activation,
        "layer": sae.hook.layer,
        "point": sae.hook.point,
        "module": sae.hook.module,
        "prepends_bos": sae.prepends_bos,
        "promised_l0": sae.promise.l0,
        "promised_fvu": sae.promise.fvu,
    }


def _headline(row: Json, findings: Sequence[Finding]) -> str:
    bad = any(finding.level == "error" for finding in findings)
    return (
        f"The SAE {'does not fit' if bad else 'fits'} these texts: it leaves {_fvu(row)} of the "
        f"variance unexplained, with {row['l0']:.1f} of its latents firing per token. "
        f"{row['dead']:.0%} of them never fired on {row['tokens']:,} tokens."
    )


def _verdicts(rows: dict[str, Json], findings: Sequence[Finding]) -> Iterator[Verdict]:
    levels = {finding.level for finding in findings}
    fits: State = "holds"
    if "error" in levels:
        fits = "does_not_hold"
    elif "warn" in levels:
        fits = "undetermined"
    told = " ".join(finding.detail for finding in findings if finding.level != "info")
    detail = told or f"FVU {_fvu(rows[SAE])}, L0 {rows[SAE]['l0']:.1f}."
    yield Verdict("The SAE fits these texts.", fits, detail)
    for name, what in (
        (RANDOM, "random directions of the same number, as many firing"),
        (COMPONENTS, "as many principal components as latents fire"),
    ):
        yield _beyond(rows[SAE], rows[name], what)


def _beyond(row: Json, other: Json, what: str) -> Verdict:
    low, high = row["fvu_low"], row["fvu_high"]
    there = other["fvu_low"] if other["fvu_low"] is not None else other["fvu"]
    ends = other["fvu_high"] if other["fvu_high"] is not None else other["fvu"]
    state: State = "undetermined"
    if high is not None and high < there:
        state = "holds"
    elif low is not None and low > ends:
        state = "does_not_hold"
    detail = f"FVU {_fvu(row)} against {_fvu(other)}."
    if state == "undetermined":
        detail += f" {MORE}"
    return Verdict(f"It explains more than {what}.", state, detail)


def _fvu(row: Json) -> str:
    if row["fvu_low"] is None:
        return f"{row['fvu']:.3f}"
    return f"{row['fvu']:.3f} [{row['fvu_low']:.3f}, {row['fvu_high']:.3f}]"
