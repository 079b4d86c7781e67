"""The run folder of a training that was followed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from imprint.report import Page, State, Verdict, summary
from imprint.report.figures import curve
from imprint.runs import Run, dump_json

TITLE = "A training followed"
MEANT = {
    "drift": "KL(base‖model) per token, nats",
    "mastery": "Probability of the known answer",
    "fact_accuracy": "Facts answered greedily",
    "accuracy": "Accuracy on questions",
    "confidence": "Confidence on questions",
    "ece": "Expected calibration error",
}
LOWER_BOUND = (
    "Only the base's likeliest tokens were kept, all others counted as one: drift is at least what "
    "is shown."
)


def write_run(
    folder: Path,
    rows: Sequence[Mapping[str, Any]],
    warnings: Sequence[str],
    settings: Mapping[str, Any],
    share: float,
    inexact: bool,
) -> None:
    """Write tables, report, summary and manifest.

    Args:
        folder: of the run.
        rows: a row per measurement.
        warnings: in words.
        settings: of the callback.
        share: of the time that measuring took.
        inexact: whether drift is a lower bound.
    """
    measured = pl.DataFrame(list(rows), infer_schema_length=None)
    tables = {"measurements": measured, "domains": domain_table(rows)}
    verdicts = verdicts_of(rows, warnings)
    headline = f"{len(rows)} measurements up to step {rows[-1]['step']}"
    run = Run(folder, "callback", settings)
    data = {"headline": headline, "verdicts": [one.text for one in verdicts], "last": rows[-1]}
    run.finish(
        tables={name: frame for name, frame in tables.items() if len(frame)},
        files={
            "result.json": dump_json({**data, "settings": settings, "share_of_time": share}),
            "report.html": _page(measured, tables["domains"], verdicts, headline, share, inexact),
            "summary.md": summary(
                TITLE, verdicts, {n: f for n, f in tables.items() if len(f)}, headline=headline
            ),
        },
        notes={"share_of_time": share},
    )


def verdicts_of(rows: Sequence[Mapping[str, Any]], warnings: Sequence[str]) -> list[Verdict]:
    """Say what the measurements decide."""
    last, claim = rows[-1], "Moving away from the base went together with a gain of accuracy."
    found = [Verdict(claim, "does_not_hold", text) for text in warnings]
    if "drift" in last and not warnings:
        text = (
            f"At step {last['step']} the model had moved {last['drift']:.4f} nats per token; no "
            "measurement shows that this went on without a gain."
        )
        found.append(Verdict(claim, "undetermined", text))
    if "ece" in last:
        text = (
            f"Calibration error {last['ece']:.3f} at the end; of a calibrated model chance gives "
            f"up to {last['ece_null_high']:.3f}, {last['ece_null']:.3f} on average."
        )
        off = last["ece"] > last["ece_null_high"]
        state: State = "does_not_hold" if off else "undetermined"
        found.append(Verdict("Confidence on the questions is calibrated.", state, text))
    return found


def domain_table(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Give a row per measurement and domain: loss, and its change since the start."""
    found = [
        {
            "step": row["step"],
            "domain": name.removeprefix("loss/"),
            "loss": value,
            **{
                part: row.get(name.replace("loss/", f"loss_{part}/", 1))
                for part in ("change", "change_low", "change_high")
            },
        }
        for row in rows
        for name, value in row.items()
        if name.startswith("loss/")
    ]
    return pl.DataFrame(found, infer_schema_length=None)


def _page(
    measured: pl.DataFrame,
    domains: pl.DataFrame,
    verdicts: list[Verdict],
    headline: str,
    share: float,
    inexact: bool,
) -> str:
    page = Page(TITLE, f"measuring took {100 * share:.1f} % of the time")
    page.verdicts(verdicts, headline=headline)
    section = page.section("Along the steps", "Intervals at 95 %, over texts, facts or questions.")
    if inexact:
        section.text(LOWER_BOUND)
    for name, title in MEANT.items():
        if name in measured.columns and len(measured) > 1:
            band = [end for end in ("low", "high") if f"{name}_{end}" in measured.columns]
            drawn = measured.select(x="step", y=name, **{e: f"{name}_{e}" for e in band})
            section.figure(curve(drawn, x_title="Step", y_title=title), title + ".")
    shown = [name for name in measured.columns if not name.startswith("loss")]
    section.table(measured.select(shown), "Measurements")
    if len(domains):
        section = page.section("Domains", "Loss per token in nats, and its change since the start.")
        section.table(domains, "Domains")
    return page.render()
