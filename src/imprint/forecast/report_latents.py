"""The report's sections on the SAE: its fit, its shifted latents, and what zeroing them costs."""

from __future__ import annotations

import polars as pl

from imprint.forecast.report_parts import add_table, draw_forest, of_first_set
from imprint.forecast.result import ForecastResult
from imprint.report import Page
from imprint.report.figures import bars


def latents(page: Page, result: ForecastResult) -> None:
    """List the latents that the set shifts, beside their null."""
    rows = of_first_set(result, "shifted")
    if rows is None:
        return
    section = page.section(
        "Shifted latents",
        f"The latents that {result.data['sft']} shifts most surely, found by "
        f"{result.data['shift']} and ordered by the size of t. Stability is the share of draws "
        "that find the latent again, null the share of the null's draws that find it too.",
    )
    overlap = of_first_set(result, "overlap")
    if overlap is not None:
        section.text(f"The null of every score of latents stands on {overlap['null'][0]}.")
        shown = overlap.rename({"stability": "overlap of draws"})
        add_table(section, shown, "How many are found under the null too")
    name = "label" if "label" in rows.columns else "latent"
    drawn = rows.head(30)
    if "share" in drawn.columns and len(drawn):
        label = pl.format("{} {}", "latent", name) if name == "label" else pl.col("latent")
        chart = bars(
            drawn.select(label=label.cast(pl.String), value="share"), title="Share of total shift"
        )
        section.figure(chart, "Share of the total shift, the thirty surest first.", wide=True)
    add_table(section, result.tables["shifted"], "Shifted latents")
    strongest = of_first_set(result, "strongest")
    if strongest is not None:
        add_table(section.details("Strongest texts"), strongest, "Texts that fire each latent most")


def ablation(page: Page, result: ForecastResult) -> None:
    """Say what zeroing them costs."""
    frame = of_first_set(result, "ablation")
    if frame is None:
        return
    section = page.section(
        "Ablation",
        "Loss on gold answers, nats per token, when the strongest shifted latents are zeroed (what "
        "the SAE does not reconstruct is left as it is), beside random latents of like density.",
    )
    drawn = frame.select("domain", "excess", "low", "high").drop_nulls("excess")
    draw_forest(section, drawn, ("excess", "low", "high"), "Loss beyond random latents", 0.0)
    add_table(section, frame, "Ablation")


def fit(page: Page, result: ForecastResult) -> None:
    """Say how well the SAE fits the texts."""
    frame = result.tables.get("fit")
    if frame is not None:
        section = page.section(
            "Fit of the SAE",
            "Measured on these texts: fraction of variance unexplained (0 is perfect, 1 no better "
            "than the mean), latents that fire per token (L0), latents that never fire.",
        )
        add_table(section, frame, "Fit")
