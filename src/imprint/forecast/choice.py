"""Which predictor the headline is about, and whether any is validated here."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import polars as pl

from imprint.errors import ConfigError, nearest
from imprint.forecast.history import Record

# in the order of preference where nothing is known of them
PREFERRED = ("sts_icl", "sts_act", "gradient", "icl_gain", "rds_max")
LEVEL = 0.05  # of the adjusted permutation p
# whose direction is told, in the order in which trials found them to hold (docs/predictors.md)
SIGNED = ("gradient", "gradient_sign", "sts_signed", "icl_gain")
UNPROVEN = "unproven here"
HELD = "validated on past forecasts"


@dataclass(frozen=True)
class Choice:
    """The predictor that the headline is about.

    Attributes:
        name: of it.
        why: in half a sentence.
    """

    name: str
    why: str


def choose(
    names: Sequence[str],
    asked: str | None,
    record: Record | None,
    *,
    partly: Collection[str] = (),
) -> Choice:
    """Choose the headline's predictor: the user's, the past's best, or the first at hand.

    Args:
        names: of all predictors.
        asked: the user's.
        record: of the past.
        partly: predictors that cannot judge all domains; taken last.

    Raises:
        ConfigError: the user's is not among them.
    """
    if asked is not None:
        if asked not in names:
            raise ConfigError(f"--score {asked!r}: {nearest(asked, names)}")
        return Choice(asked, "as asked for")
    if record is not None and record.best in names:
        return Choice(str(record.best), "which did best on past forecasts")
    whole = [name for name in names if name not in partly] or list(names)
    first = next((name for name in PREFERRED if name in whole), whole[0])
    return Choice(first, UNPROVEN)


def choose_direction(signed: Sequence[str], choice: Choice, record: Record | None) -> Choice | None:
    """Choose the predictor whose direction is told beside the headline's amounts.

    The headline's own where it is signed; else the one that the past validates; else the first at
    hand of those that trials found best.

    Args:
        signed: names of the signed predictors at hand.
        choice: the headline's.
        record: of the past, of signed predictors alone.

    Returns:
        ``None`` where none is signed.
    """
    if choice.name in signed:
        return choice
    if record is not None and record.validated and record.best in signed:
        return Choice(str(record.best), HELD)
    named = next((name for name in SIGNED if name in signed), signed[0] if signed else None)
    return None if named is None else Choice(named, UNPROVEN)


def validated(evaluation: pl.DataFrame) -> list[str]:
    """Name the predictors that follow the observed changes, the surest first.

    The interval of Pearson's r lies above 0, its permutation p is below .05 after adjusting for
    all predictors of all SFT sets, and it does not rest on one domain.
    """
    passed = evaluation.filter(
        (pl.col("low") > 0) & (pl.col("p_adjusted") <= LEVEL) & ~pl.col("one_domain")
    )
    return passed.sort("low", descending=True, maintain_order=True)["predictor"].to_list()
