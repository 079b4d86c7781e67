"""From rewards, counts or pass rates to n rollouts of which c passed, without guessing."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from imprint.errors import DataError
from imprint.findings import Finding
from imprint.tables import row_place

ROUNDED = 0.0051  # how far a rate written with two digits may lie from its fraction
MOST = 1_000_000  # rollouts of a prompt; more is a slip of the column
WAY_OUT = (
    "plans use verified accuracy, never a shaped reward: map the column that says right or wrong "
    "(--map correct=…), or say from which reward on a rollout is verified as right (--pass-at 1)."
)


def counted(
    frame: pl.DataFrame, path: Path, *, samples: int | None, pass_at: float | None
) -> tuple[pl.DataFrame, list[Finding]]:
    """Give each prompt its counts.

    ``correct`` may be a list per prompt or one value per rollout (rows of one ``id`` are then
    counted together); else ``c`` and ``n``; else ``pass_rate`` and ``n``; else there must be
    ``ref_nll``.

    Raises:
        DataError: rewards other than 0 and 1, rates outside [0, 1] or that no count of n gives, or
            nothing to tell difficulty by.
    """
    if "correct" in frame.columns:
        frame, findings = _from_rewards(frame, path, pass_at)
    elif {"c", "n"} <= set(frame.columns):
        frame, findings = _from_counts(frame, path), []
    elif "pass_rate" in frame.columns:
        frame, findings = _from_rates(frame, path, samples), []
    elif "ref_nll" in frame.columns:
        frame, findings = frame, []
    else:
        raise DataError(
            "nothing tells how hard the prompts are: no correct, c and n, pass_rate or ref_nll",
            where=str(path),
            remedy="map the column: --map correct=THEIR_NAME (0 or 1 per rollout).",
        )
    return _checked_likelihood(frame, path), findings


def _from_rewards(
    frame: pl.DataFrame, path: Path, pass_at: float | None
) -> tuple[pl.DataFrame, list[Finding]]:
    frame = _numeric(frame, path)
    long = not isinstance(frame.schema["correct"], pl.List)
    if long:
        frame = frame.with_columns(pl.concat_list("correct").alias("correct"))
    each = pl.col("correct").list.eval(_passes(pl.element(), pass_at))
    _refuse_unverified(frame, each, path)
    known = each.list.drop_nulls()
    lost = int(frame.select((pl.col("correct").list.len() - known.list.len()).sum()).item() or 0)
    frame = frame.with_columns(
        n=known.list.len().cast(pl.Int64).fill_null(0), c=known.list.sum().cast(pl.Int64)
    ).with_columns(pl.col("c").fill_null(0))
    if long:
        frame = _grouped(frame, path)
    told = f"{lost:,} rollouts have no verdict of a verifier; n counts the others"
    findings = [Finding("unverified_rollouts", told, "warn", lost)] if lost else []
    return frame.drop("correct"), findings


def _numeric(frame: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Make rewards numbers, also where a CSV holds them as JSON text."""
    dtype = frame.schema["correct"]
    if dtype == pl.String:
        plain = pl.col("correct").str.to_lowercase().str.replace_all("true", "1")
        plain = plain.str.replace_all("false", "0").str.strip_chars()
        parsed = plain.str.strip_chars("[] ").str.split(",")
        values = parsed.list.eval(pl.element().str.strip_chars().cast(pl.Float64, strict=False))
        given = frame.select(values.list.drop_nulls().list.len() < parsed.list.len()).to_series()
        wrong = given.fill_null(value=False).arg_true()
        if len(wrong):
            row = int(wrong[0])
            told = f"`correct` holds {frame['correct'][row]!r:.60}, no rewards"
            raise DataError(told, where=row_place(path, row), remedy=WAY_OUT)
        return frame.with_columns(values.alias("correct"))
    inner = dtype.inner if isinstance(dtype, (pl.List, pl.Array)) else dtype
    if not (inner == pl.Boolean or inner.is_numeric()):
        raise DataError(f"`correct` holds {dtype}, no rewards", where=str(path), remedy=WAY_OUT)
    if isinstance(dtype, (pl.List, pl.Array)):
        return frame.with_columns(pl.col("correct").cast(pl.List(pl.Float32)))
    return frame.with_columns(pl.col("correct").cast(pl.Float32))


def _passes(reward: pl.Expr, pass_at: float | None) -> pl.Expr:
    """Give 1, 0, null where a reward is missing, and NaN where it says neither right nor wrong."""
    if pass_at is not None:
        unclear = pl.when(reward.is_nan()).then(float("nan"))
        return unclear.when(reward.is_not_null()).then((reward >= pass_at).cast(pl.Float32))
    binary = reward.is_in([0.0, 1.0]) | reward.is_null()
    return pl.when(binary).then(reward).otherwise(float("nan"))


def _refuse_unverified(frame: pl.DataFrame, each: pl.Expr, path: Path) -> None:
    unclear = frame.select(each.list.eval(pl.element().is_nan()).list.any()).to_series()
    rows = unclear.fill_null(value=False).arg_true()
    if len(rows):
        row = int(rows[0])
        shown = frame["correct"][row].to_list()[:8]
        mean = " A mean over n rollouts is read by --map pass_rate=… and a column n."
        raise DataError(
            f"`correct` holds {[round(v, 6) if v is not None else v for v in shown]}: rewards that "
            f"are neither 0 nor 1 ({len(rows):,} rows)",
            where=row_place(path, row),
            remedy=WAY_OUT + (mean if len(shown) == 1 else ""),
        )


def _grouped(frame: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Count rows of one id together; what else they say must agree in the prompt."""
    named = frame.select(pl.struct("id", "prompt").n_unique()).item()
    if named != frame["id"].n_unique():
        raise DataError(
            "rows of one id differ in their prompt", where=str(path), remedy="give each its own id."
        )
    others = [name for name in frame.columns if name not in ("id", "n", "c", "correct", "tokens")]
    mean = [pl.col("tokens").mean()] if "tokens" in frame.columns else []
    first = [pl.col(name).first() for name in others]
    total = pl.col("n", "c").sum()
    found = frame.group_by("id", maintain_order=True).agg(*first, total, *mean)
    return found.with_columns(correct=pl.lit(None))


def _from_counts(frame: pl.DataFrame, path: Path) -> pl.DataFrame:
    frame = _whole(_whole(frame, "c", path), "n", path)
    _refuse(frame, (pl.col("c") < 0) | (pl.col("n") < 0), "negative", ("c", "n"), path)
    _refuse(frame, pl.col("c") > pl.col("n"), "more passes than rollouts", ("c", "n"), path)
    return frame


def _from_rates(frame: pl.DataFrame, path: Path, samples: int | None) -> pl.DataFrame:
    rate = pl.col("pass_rate").cast(pl.Float64, strict=False)
    outside = rate.is_null() | rate.is_nan() | (rate < 0) | (rate > 1)
    told = "not a share from 0 to 1 (in percent? divide by 100)"
    _refuse(frame, outside, told, ("pass_rate",), path)
    if "n" not in frame.columns:
        if samples is None:
            raise DataError(
                "pass rates without the number of rollouts have no interval",
                where=str(path),
                remedy="give a column n, or say it for all: --samples 8.",
            )
        frame = frame.with_columns(n=pl.lit(samples, dtype=pl.Int64))
    frame = _whole(frame, "n", path)
    _refuse(frame, pl.col("n") < 0, "negative", ("n",), path)
    near = (rate * pl.col("n")).round()
    off = (pl.col("n") > 0) & ((near / pl.col("n") - rate).abs() > ROUNDED)
    _refuse(frame, off, "a rate that no count of n passes gives", ("pass_rate", "n"), path)
    return frame.with_columns(c=near.cast(pl.Int64)).drop("pass_rate")


def _whole(frame: pl.DataFrame, name: str, path: Path) -> pl.DataFrame:
    number = pl.col(name).cast(pl.Float64, strict=False)
    bad = number.is_null() | number.is_nan() | number.is_infinite() | (number != number.round())
    _refuse(frame, bad, "not a whole number", (name,), path)
    _refuse(frame, number > MOST, f"more than {MOST:,} rollouts of one prompt", (name,), path)
    return frame.with_columns(number.cast(pl.Int64).alias(name))


def _checked_likelihood(frame: pl.DataFrame, path: Path) -> pl.DataFrame:
    if "ref_nll" not in frame.columns:
        return frame
    value = pl.col("ref_nll").cast(pl.Float64, strict=False)
    bad = pl.col("ref_nll").is_not_null() & (
        value.is_null() | value.is_nan() | value.is_infinite() | (value < 0)
    )
    _refuse(frame, bad, "no negative log-likelihood in nats per token", ("ref_nll",), path)
    return frame.with_columns(value.alias("ref_nll"))


def _refuse(
    frame: pl.DataFrame, bad: pl.Expr, problem: str, names: tuple[str, ...], path: Path
) -> None:
    rows = frame.select(bad.fill_null(value=False).arg_true()).to_series()
    if len(rows):
        row = int(rows[0])
        seen = ", ".join(f"{name} {frame[name][row]!r}" for name in names)
        raise DataError(
            f"{seen}: {problem} ({len(rows):,} rows)",
            where=row_place(path, row),
            remedy="mend the value or leave the row out.",
        )
