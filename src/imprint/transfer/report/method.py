"""The end of the report: how the numbers came about, what limits them, how to make them again."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from imprint.report import Page, manifest_section
from imprint.transfer.result import TransferResult


def method(page: Page, result: TransferResult) -> None:
    """Add the sections on audit, method and manifest."""
    audit = result.tables["design_audit"]
    section = page.section(
        "Audit", f"{len(audit)} findings about the input and the design that limit the conclusions."
    )
    shown = audit.select(c for c in ("level", "check", "detail", "count"))
    section.table(shown, "Findings", page_size=15)
    _method(page, result)
    manifest_section(page, result)


def _method(page: Page, result: TransferResult) -> None:
    config, design = result.notes["config"], result.notes["design"]
    section = page.section("Method and nulls")
    section.text(*_paragraphs(result))
    given = {k: v for k, v in asdict(design).items() if v not in (None, (), {}, [])}
    given.pop("read", None)
    section.facts(
        {
            "bootstrap draws": f"{config.resamples:,}",
            "permutations": f"{config.permutations:,}",
            "seed": config.seed,
            **{name: _short(value) for name, value in given.items()},
        }
    )


def _paragraphs(result: TransferResult) -> list[str]:
    design = result.notes["design"]
    panels: list[Any] = result.notes["panels"]
    clustered = any(p.clusters is not None for p in panels)
    said = [
        "A benchmark is called reliable where the whole interval of its correlation lies at or "
        f"above {design.thresholds.reliable:g}, unreliable where it lies below, and undetermined "
        "otherwise; also undetermined where the correlation is undefined, fewer than four "
        "independent units remain, the measurement's reliability is below "
        f"{design.thresholds.reliability:g}, or model size could explain the order and no "
        "covariate is declared.",
        (
            "Units of a cluster are not independent: intervals are percentiles of a bootstrap of "
            "whole clusters, shared by all benchmarks; p-values flip the sign of whole clusters."
            if clustered
            else "Units are taken as independent: Fisher intervals for correlations (BCa and "
            "percentile intervals stand beside them in the tables), permutation p-values."
        ),
        "p_adj is Benjamini–Hochberg, p_holm is Holm, each over all rows of a table: benchmarks, "
        "measures, scales and comparisons together. Undefined entries leave every mean and are "
        "counted.",
        "Reliability is one minus noise variance over variance between units, from split halves of "
        "items where they exist, else replicates, else standard errors. r_corrected divides r by "
        "the root of both reliabilities and is never clipped.",
    ]
    if design.factors:
        said.append(
            "The units form a factorial design: p is from permuting within the levels of the first "
            "factor, so that an effect of that factor on both sides is no evidence. p_within_cell "
            "also holds the second factor fixed, on few degrees of freedom. p_free treats all "
            "units as exchangeable and is shown for comparison only."
        )
    if design.covariates:
        said.append(
            f"Verdicts rest on the partial correlation given {', '.join(design.covariates)}; the "
            "plain correlation is in the column r_plain."
        )
    if "item_transitions" in result.tables:
        said.append(
            "The floor of phi is taken over all pairs of models of different clusters (or units) "
            "that answered the same benchmark, at any stage."
        )
    return said


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 300 else text[:300] + " …"
