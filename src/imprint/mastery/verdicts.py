"""What a mastery run can claim, and whether its numbers carry the claims."""

from __future__ import annotations

import numpy as np
import polars as pl

from imprint.mastery.levels import LEVELS
from imprint.mastery.tables import mean_score
from imprint.report import State, Verdict
from imprint.stats import paired_difference

REPEATABLE = 0.8  # share of facts that would keep their level


def verdicts(mastery: pl.DataFrame) -> list[Verdict]:
    """Judge recall beside its null, and how firm the levels are."""
    if mastery["hits"].null_count() == len(mastery):
        return []
    return [_recall(mastery), _firm(mastery)]


def headline(mastery: pl.DataFrame) -> str:
    """Say in two sentences how much is known."""
    scores = mastery["score"].to_numpy()
    mean, low, high = mean_score(scores)
    shares = [(mastery["level"] == level).sum() / len(mastery) for level in range(LEVELS)]
    told = ", ".join(f"{share:.0%} at {level}" for level, share in enumerate(shares))
    score = f"{mean:.3f} [{low:.3f}, {high:.3f}]"
    return f"Mean mastery of {len(mastery):,} facts is {score}. Levels: {told}."


def _recall(mastery: pl.DataFrame) -> Verdict:
    text = "The model recalls these facts more often than it names another fact's answer."
    kept = mastery.filter(pl.col("whole") > 0)
    if len(kept) < 2:
        return Verdict(text, "undetermined", "Fewer than two facts have another answer beside.")
    ours, null = (
        kept[n].to_numpy() / kept["whole"].to_numpy() for n in ("whole_hits", "null_hits")
    )
    gap = paired_difference(ours, null)
    detail = (
        f"{ours.mean():.4f} of samples match the fact's answer, {null.mean():.4f} that of another "
        f"fact of its relation; difference {gap.mean:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}] over "
        f"{gap.n:,} facts."
    )
    state: State = "holds" if gap.low > 0 else "does_not_hold" if gap.high < 0 else "undetermined"
    return Verdict(text, state, detail + (MORE if state == "undetermined" else ""))


MORE = " More facts or samples would decide it."


def _firm(mastery: pl.DataFrame) -> Verdict:
    text = f"At least {REPEATABLE:.0%} of the facts would get the same level in another run."
    again = np.array(mastery["level_probabilities"].to_list())
    kept = again[np.arange(len(again)), mastery["level"].to_numpy()]
    mean, low, high = mean_score(kept)
    if len(kept) < 2:
        return Verdict(text, "undetermined", "There is only one fact.")
    detail = f"{mean:.1%} expected [{low:.1%}, {high:.1%}]."
    state: State = "undetermined"
    if low >= REPEATABLE:
        state = "holds"
    elif high < REPEATABLE:
        state = "does_not_hold"
        detail += " More samples per template make levels firmer."
    return Verdict(text, state, detail + (MORE if state == "undetermined" else ""))
