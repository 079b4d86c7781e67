"""What a restoration did, for readers and programs: the files of its run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from imprint.checkpoints import Checkpoint, weight_files
from imprint.executors import Executor
from imprint.report import Page
from imprint.report.figures import bars, curve
from imprint.report.section import Body
from imprint.restoration.restore import Plan, RestoreConfig
from imprint.restoration.restore_tables import by_place, spectra, tensors
from imprint.runs import Run, Tables, dump_json

CHARTED = 6  # shares in one chart; more are in the tables


def open_run(base: Checkpoint, tuned: Checkpoint, config: RestoreConfig, out: Path) -> Run:
    """Open the run folder; its fingerprint covers settings and the files of both parents."""
    settings = {**config.settings(), "base": str(base.reference), "tuned": str(tuned.reference)}
    files = dict.fromkeys((*weight_files(base), *weight_files(tuned)))
    return Run(out, "restore", settings, files, seed=config.seed)


def result(plan: Plan, written: list[Path], fingerprint: str) -> dict[str, Any]:
    """Give the content of ``result.json``."""
    return {
        "job": "restore",
        "fingerprint": fingerprint,
        "base": str(plan.base.reference),
        "tuned": str(plan.tuned.reference),
        "parents": plan.parents,
        "parameters": plan.parameters,
        "settings": plan.config.settings(),
        "restored": [{**plan.counts(at), "path": str(path)} for at, path in enumerate(written)],
        "renamed": plan.alignment.map_lines(),
        "findings": [
            {"check": f.check, "level": f.level, "detail": f.detail} for f in plan.findings()
        ],
    }


def summary(plan: Plan, found: dict[str, Any]) -> str:
    """Give the result in Markdown, as in ``summary.md``."""
    columns = list(dict.fromkeys(key for row in found["restored"] for key in row))
    rows = [[_shown(row.get(key)) for key in columns] for row in found["restored"]]
    lines = [
        "# Weights put back to base",
        "",
        headline(plan),
        "",
        *(f"| {' | '.join(cells)} |" for cells in (columns, ["---"] * len(columns), *rows)),
        "",
        *(f"- {line}" for line in found["renamed"]),
        *(f"- {finding['level']}: {finding['detail']}" for finding in found["findings"]),
    ]
    return "\n".join(lines).rstrip() + "\n"


def headline(plan: Plan) -> str:
    """Say in a sentence what was asked for."""
    shares = ", ".join(f"{level:.4g}" for level in plan.config.levels)
    if plan.config.by == "spectral":
        return (
            f"{plan.tuned.reference} with the change of {len(plan.repairs):,} matrices "
            f"({plan.config.region}) cut to the singular values above {shares} times the threshold "
            f"for noise, the rest put back to {plan.base.reference}."
        )
    return (
        f"{plan.tuned.reference} with the share {shares} of {plan.parameters:,} weights "
        f"({plan.config.region}) put back to {plan.base.reference}, by {plan.config.by}, "
        f"{plan.config.order} first, over {plan.config.competing}."
        if plan.config.by not in ("interpolate", "dare")
        else f"{plan.tuned.reference} moved towards {plan.base.reference} by {plan.config.by}, "
        f"share {shares} of {plan.parameters:,} weights ({plan.config.region})."
    )


def page(plan: Plan, found: dict[str, Any], tables: Tables, manifest: dict[str, Any]) -> str:
    """Render the report."""
    report = Page("Weights put back to base", headline(plan))
    noun = "share" if plan.config.axis == "top" else "strength"
    section = report.section("Restored", f"One row per {noun}.")
    section.table(tables["restored"], f"What each {noun} did.")
    _where(report, tables)
    if found["renamed"] or found["findings"]:
        noticed = report.section("Noticed")
        noticed.text(*found["renamed"], *(f["detail"] for f in found["findings"]))
    facts = {key: _shown(value) for key, value in manifest["settings"].items()}
    report.section("Manifest").facts({**facts, "fingerprint": found["fingerprint"]})
    return report.render()


def finish(
    plan: Plan, run: Run, written: list[Path], executor: Executor | None = None
) -> dict[str, Any]:
    """Write result.json, tables, report and summary; give the content of ``result.json``."""
    found = result(plan, written, run.fingerprint)
    tables = {"restored": _frame(found), "tensors": tensors(plan, executor)}
    if plan.config.by == "spectral":
        tables["spectral"] = spectra(plan)
    files = {
        "result.json": dump_json(found),
        "summary.md": summary(plan, found),
        "report.html": page(plan, found, tables, run.manifest({})),
    }
    run.finish(tables=tables, files=files, notes={"headline": headline(plan)})
    return found


def _where(report: Page, tables: Tables) -> None:
    frame = tables.get("spectral", tables["tensors"])
    title = "Share of ‖Δ‖² removed" if "spectral" in tables else "Share of the weights put back"
    section = report.section("Where", f"{title}, by module type and by layer.")
    if (by_place(frame, "module")["share"] > 0).any():
        _modules(section, by_place(frame, "module"), title)
        _layers(section, by_place(frame, "layer").drop_nulls("layer"), title)
    folded = section.details("All tensors", "Also as Parquet in the run folder.")
    for name in ("spectral", "tensors"):
        if name in tables and len(tables[name]):
            folded.table(tables[name].head(5_000), f"Table {name}.")


def _modules(section: Body, frame: pl.DataFrame, title: str) -> None:
    level = frame.columns[0]
    shown = frame[level].unique(maintain_order=True).to_list()[:CHARTED]
    name = pl.lit(f"{level} ") + pl.col(level).cast(pl.String)
    drawn = frame.filter(pl.col(level).is_in(shown)).select(
        label=pl.col("module") + (pl.lit(", ") + name if len(shown) > 1 else pl.lit("")),
        value="share",
        group=name,
    )
    chart = bars(drawn if len(shown) > 1 else drawn.drop("group"), title=title)
    section.figure(chart, f"{title}, by module type.", wide=True)


def _layers(section: Body, frame: pl.DataFrame, title: str) -> None:
    level = frame.columns[0]
    shown = frame[level].unique(maintain_order=True).to_list()[:CHARTED]
    drawn = frame.filter(pl.col(level).is_in(shown)).select(
        x=pl.col("layer").cast(pl.Float64),
        y="share",
        series=pl.lit(f"{level} ") + pl.col(level).cast(pl.String),
    )
    if drawn["x"].n_unique() > 1:
        section.figure(
            curve(
                drawn.sort("x", maintain_order=True),
                x_title="Layer",
                y_title=title,
                y_domain=(0.0, 1.0),
            ),
            f"{title}, by layer.",
            wide=True,
        )


def _frame(found: dict[str, Any]) -> pl.DataFrame:
    rows = [
        {k: dump_json(v) if isinstance(v, dict) else v for k, v in row.items()}
        for row in found["restored"]
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, int):
        return f"{value:,}"
    return "" if value is None else str(value)
