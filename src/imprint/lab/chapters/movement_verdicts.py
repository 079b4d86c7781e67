"""What chapter 3 says of drift: by stage, by the size of the SFT set, by its level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from imprint.lab.chapters.chapter import Agreement, Material
from imprint.lab.chapters.contrast import Contrast, contrast
from imprint.lab.chapters.movement_drift import of_pair, of_sets
from imprint.lab.chapters.movement_sets import EPOCH, FEWEST, LEVEL, STEPS, Trained
from imprint.lab.chapters.part import Part, interval, stance, stance_of, state
from imprint.report import Section
from imprint.report.figures import curve, forest
from imprint.stats import bonett_wright_interval, permutation_p, spearman

Pair = tuple[dict[str, Any], dict[str, Any]]


def by_stage(material: Material, pairs: Sequence[Pair]) -> Part:
    """Measure the drift of tuned checkpoints from the base of each, beside a shuffled change."""
    if material.texts is None:
        return Part(missing=["Drift on plain texts needs texts (--texts)."])
    rows = [of_pair(material, *pair) for pair in pairs]
    frame = pl.concat(rows, how="diagonal_relaxed")
    first = frame.row(0, named=True)
    found = Part(tables={"movement_stages": frame})
    found.answer = (
        f"From {_named(pairs[0][0])} to {first['stage']}, next-token predictions moved by "
        f"{interval(first['kl'], first['low'], first['high'])} nats per token on "
        f"{first['texts']} texts."
    )
    found.said = _shuffled(first)
    found.states.append(state(first["excess_low"], first["excess_high"]))
    found.sections.append(_stage_section(frame))
    return found


def by_set(material: Material, trained: Trained) -> Part:
    """Measure how far each of the trained models moved, and what it knows of facts held out."""
    frames = of_sets(material, trained)
    summary, texts = frames["summary"], frames["texts"]
    summary = trained.about.join(summary, on="model", how="left", maintain_order="left")
    found = Part(missing=trained.missing)
    found.tables = {"movement_sets": summary}
    if "facts" in frames:
        found.tables["movement_first_token"] = frames["facts"]
    _by_size(found, summary, texts)
    _by_level(found, summary, texts)
    _against_accuracy(found, summary)
    found.sections.append(_set_section(summary, found.tables.get("movement_first_token")))
    return found


def _by_size(found: Part, summary: pl.DataFrame, texts: pl.DataFrame) -> None:
    sizes = summary.filter(pl.col("arm") == EPOCH)["size"].unique().sort().to_list()
    if len(sizes) < 2:
        found.missing.append("Drift against size needs facts for two sizes.")
        return
    many, few = pl.col("size") == sizes[-1], pl.col("size") == sizes[0]
    grown, same = (
        _contrast(summary.filter(pl.col("arm") == arm), many, few, texts) for arm in (EPOCH, STEPS)
    )
    found.said = (
        f"Size: drift after {sizes[-1]} SFT facts less drift after {sizes[0]} is {_nats(grown)} "
        f"with one epoch each, where the larger set takes more steps, and {_nats(same)} at equal "
        f"steps ({grown.each})."
    )
    found.states.append(grown.state)
    found.agreement.append(
        Agreement(
            "Drift grows with the number of SFT samples.",
            "From 240 to 1,920 samples KL rises, after a fall from 60 to 240 (arXiv 2509.16596, "
            "figures only).",
            f"{sizes[-1]} less {sizes[0]} facts: {_nats(grown)} in one epoch, {_nats(same)} at "
            f"equal steps ({grown.each}).",
            stance_of(grown.state),
        )
    )


def _by_level(found: Part, summary: pl.DataFrame, texts: pl.DataFrame) -> None:
    arm = summary.filter(pl.col("arm") == LEVEL)
    low, high = (pl.col("level").is_in(levels) for levels in ((0, 1), (3, 4)))
    if arm.filter(low).is_empty() or arm.filter(high).is_empty():
        found.missing.append("Drift against level needs sets of little known and well known facts.")
        return
    gap = _contrast(arm, low, high, texts)
    found.said += (
        " Level: drift after sets of little known facts (levels 0 and 1) less that after as many "
        f"well known ones (3 and 4) is {_nats(gap)} ({gap.each})."
    )
    found.agreement.append(
        Agreement(
            "Little known facts (levels 0 and 1) move a model most.",
            "KL rises most for D0 and D1 (arXiv 2509.16596, figures only).",
            f"Levels 0–1 less levels 3–4, equal size and steps: {_nats(gap)} ({gap.each}).",
            stance_of(gap.state),
        )
    )


def _contrast(rows: pl.DataFrame, one: pl.Expr, other: pl.Expr, texts: pl.DataFrame) -> Contrast:
    """Compare the drift of models with that of others: on the same texts, training by training."""
    pairs = []
    for seed in rows["seed"].unique().sort():
        own = rows.filter(pl.col("seed") == seed)
        sides = (own.filter(side)["model"].to_list() for side in (one, other))
        pairs.append(tuple(_by_text(texts, names) for names in sides))
    return contrast([(a, b) for a, b in pairs])


def _by_text(texts: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Give the mean drift of models on each text, in the columns that a contrast reads."""
    own = texts.filter(pl.col("model").is_in(list(names))).group_by("text", maintain_order=True)
    return own.agg(probability=pl.col("kl").mean()).select(
        item=pl.col("text").cast(pl.String), domain=pl.lit(""), probability="probability"
    )


def _nats(found: Contrast) -> str:
    return f"{interval(found.estimate, found.low, found.high, '+.3g')} nats per token"


def _over_trainings(summary: pl.DataFrame) -> pl.DataFrame:
    """Average the trainings of each set."""
    by = summary.group_by("arm", "size", "level", maintain_order=True)
    return by.agg(pl.col("kl", "low", "high", "logprob", "accuracy").mean())


def _against_accuracy(found: Part, summary: pl.DataFrame) -> None:
    known = _over_trainings(summary).drop_nulls(["kl", "logprob"])
    if len(known) < 5:
        return
    x, y = (known[name].to_numpy().astype(np.float64)[:, None] for name in ("kl", "logprob"))
    rho = float(spearman(x, y)[0])
    low, high = (float(end[0]) for end in bonett_wright_interval(np.array([rho]), len(known)))
    p = float(permutation_p(x, y, seed=0, ranks=True).p[0])
    found.agreement.append(
        Agreement(
            "The further a model moved, the less it knows of facts held out.",
            "Higher KL goes with lower accuracy on test facts (arXiv 2509.16596, figures only).",
            f"Spearman of KL and mean log-probability of held-out answers over {len(known)} "
            f"sets taught to one base {interval(rho, low, high, '+.2f')}, p = {p:.3f}.",
            stance(-high, -low),
        )
    )


def _stage_section(frame: pl.DataFrame) -> Section:
    section = Section(
        "How far each stage moved",
        "How differently base and tuned model continue the same texts: KL(base‖tuned), nats per "
        "token. At 0 they agree; 0.69 is a word that the base was sure of, now given one half. "
        "Beside it the base moved by the same changes, shuffled among the weights of each tensor.",
    )
    label = pl.concat_str("scale", "unit", "stage", separator=" ", ignore_nulls=True)
    parts = [
        frame.select(label=label, estimate="kl", low="low", high="high", group=pl.lit("tuned")),
        frame.select(
            label=label,
            estimate="null",
            low="null_low",
            high="null_high",
            group=pl.lit("the same change, shuffled"),
        ),
    ]
    drawn = pl.concat(parts)
    top = max(float(drawn["high"].fill_null(0).max() or 0), float(drawn["estimate"].max() or 0))  # type: ignore[arg-type]
    section.figure(
        forest(drawn, title="KL, nats per token", domain=(0.0, 1.05 * top or 1.0), zero=None),
        "With 95 % intervals over texts.",
        wide=True,
    )
    section.table(frame, "Drift of each pair")
    return section


def _set_section(summary: pl.DataFrame, first: pl.DataFrame | None) -> Section:
    section = Section(
        "Drift against size and level",
        "One base, fine-tuned on questions about facts. Sizes are trained for one epoch, where "
        "steps grow with the set, and for equal steps; levels are sets of equal size of facts "
        "that the base masters equally well.",
    )
    means = _over_trainings(summary)
    sizes = means.filter(pl.col("arm") != LEVEL)
    drawn = sizes.select(x="size", y="kl", low="low", high="high", series="arm")
    chart = curve(drawn, x_title="Facts in the SFT set", y_title="KL, nats per token", log_x=True)
    section.figure(chart, "Drift by size, with 95 % intervals over texts.", wide=True)
    levels = means.filter(pl.col("arm") == LEVEL)
    if len(levels) > 1:
        label = pl.format("level {}", "level")
        drawn = levels.select(label=label, estimate="kl", low="low", high="high")
        top = max(float(one) for one in drawn["high"].fill_null(0))
        chart = forest(
            drawn, title="KL, nats per token", domain=(0.0, 1.05 * top or 1.0), zero=None
        )
        section.figure(
            chart,
            "Drift by mastery level of the facts taught (0: never said right, 4: nearly always), "
            "with 95 % intervals over texts.",
            wide=True,
        )
    section.table(summary, "Trained sets, their drift, and answers about facts held out")
    if first is not None and (first["facts"].max() or 0) >= FEWEST:  # type: ignore[operator]
        section.table(first, "First token of facts by level, the published measure (tuned‖base)")
    return section


def _shuffled(row: Mapping[str, Any]) -> str:
    if row.get("null") is None:
        return ""
    told = interval(row["null"], row["null_low"], row["null_high"])
    return f"The same changes, shuffled among the weights of each tensor, move them by {told} nats."


def _named(row: Mapping[str, Any]) -> str:
    parts = [row.get("unit"), row.get("scale")]
    return " ".join(str(part) for part in parts if part is not None) or "the base"
