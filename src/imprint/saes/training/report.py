"""The report of a training or a check."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from imprint.report import Page, manifest_section, summary_html
from imprint.report import summary as markdown
from imprint.report.figures import bars
from imprint.report.section import Body
from imprint.saes.training.result import SaeResult

TITLES = {"sae-train": "An SAE was trained", "sae-check": "Does the SAE fit?"}
FORMATS = {
    **dict.fromkeys(("fvu", "fvu_low", "fvu_high"), ".4f"),
    **dict.fromkeys(("l0", "l0_low", "l0_high"), ".1f"),
    "dead": ".1%",
    "rate": ".3%",
}
LISTED = 2000


def render(result: SaeResult) -> str:
    """Render the result as one HTML page."""
    sae = result.data["sae"]
    page = Page(_title(result), f"{sae['source']} on {result.data['model']}")
    page.verdicts(result.verdicts, headline=result.headline)
    section = page.section(
        "Fit",
        "FVU is the fraction of variance unexplained: 0 is perfect, 1 no better than the mean "
        "activation. L0 is the mean number of latents that fire per token.",
    )
    _table(section, result.tables["fit"], "The SAE beside its controls")
    _latents(page, result)
    if len(result.tables["findings"]):
        _table(page.section("Findings", ""), result.tables["findings"], "Findings")
    _method(page, result)
    return page.render()


def summary(result: SaeResult) -> str:
    """Write the result as Markdown."""
    tables = {"Fit": result.tables["fit"]}
    if len(result.tables["findings"]):
        tables["Findings"] = result.tables["findings"]
    return markdown(
        _title(result), result.verdicts, tables, formats=FORMATS, headline=result.headline
    )


def fragment(result: SaeResult) -> str:
    """Show the result in a notebook."""
    return summary_html(result.headline, result.verdicts, result.tables["fit"])


def _title(result: SaeResult) -> str:
    return TITLES[result.data["job"]]


def _table(section: Body, frame: pl.DataFrame, caption: str) -> None:
    present = {name: how for name, how in FORMATS.items() if name in frame.columns}
    section.table(frame, caption, formats=present)


def _latents(page: Page, result: SaeResult) -> None:
    rates = result.tables["latents"]
    section = page.section("Latents", "How often latents fire.")
    section.figure(
        bars(_counts(rates["rate"].to_numpy()), title="Latents"),
        "Latents by the share of tokens on which they fire.",
    )
    often = rates.sort("rate", descending=True, maintain_order=True).head(LISTED)
    _table(section.details("Latents that fire most"), often, "Latents, most often first")


def _counts(rates: npt.NDArray[np.float64]) -> pl.DataFrame:
    ends = [0.0, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0]
    words = ["never", *(f"up to {100 * end:g} %" for end in ends[1:])]
    place = np.searchsorted(ends, rates)
    counts = np.bincount(place, minlength=len(ends))
    return pl.DataFrame({"label": words, "value": counts.astype(float)})


def _method(page: Page, result: SaeResult) -> None:
    section = page.section("Method")
    section.text(
        "Activations are read where the SAE reads, on windows of tokens; BOS and tokens whose norm "
        "is more than ten times the median are left out. Intervals draw windows of tokens, in 64 "
        "groups. Random directions are the null: as many as the SAE has latents, of which as many "
        "fire. Principal components are those of the same activations, as many as latents fire.",
    )
    section.facts({**result.data["sae"], **(result.data["training"] or {})})
    section.facts(result.notes["config"].settings | {"seed": result.data["seed"]})
    manifest_section(page, result)
