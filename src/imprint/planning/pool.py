"""The pool with estimates: what each prompt's rollouts say, and which rows can be used at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from imprint.errors import DataError
from imprint.findings import Finding
from imprint.planning.config import PlanConfig
from imprint.planning.prior import Prior, fit_all
from imprint.planning.rates import posterior_columns, wilson

NO_DOMAIN = "(none)"
MOST = 5000  # domains
FEW = 16  # rollouts below which an RL band is a guess


@dataclass(frozen=True)
class Estimated:
    """A pool with what is known of each prompt.

    Attributes:
        frame: the pool's rows with the columns of ``posterior_columns``, ``length``,
            ``duplicate`` and ``row``; estimates are null without rollouts.
        priors: the pool's, then those of large domains.
        findings: what was noticed.
        rolled: whether there are rollouts, rather than likelihoods alone.
        unit: what ``length`` counts.
    """

    frame: pl.DataFrame
    priors: list[Prior]
    findings: list[Finding]
    rolled: bool
    unit: str


def limited(pool: pl.DataFrame, config: PlanConfig) -> pl.DataFrame:
    """Take ``limit`` prompts of each domain at random, in the order of the file."""
    if config.limit is None:
        return pool
    rng = np.random.default_rng([config.seed, 11])
    shuffled = pl.Series("at", rng.permutation(len(pool)))
    nth = pl.col("at").rank("ordinal").over("domain")
    return pool.with_columns(shuffled).filter(nth <= config.limit).drop("at")


def estimate(pool: pl.DataFrame, config: PlanConfig) -> Estimated:
    """Estimate every prompt's pass rate, and find duplicates.

    Args:
        pool: rows of ``formats.rollouts.read_pool``.
        config: band and group size.

    Raises:
        DataError: there is neither a rollout nor a likelihood, or there are too many domains.
    """
    bare = pool["reference"].null_count() == len(pool)
    pool = _referenced(pool, config).with_row_index("row")
    pool = pool.with_columns(pl.col("domain").fill_null(NO_DOMAIN))
    rolled = bool((pool["n"].fill_null(0) > 0).any())
    if not rolled and pool["ref_nll"].null_count() == len(pool):
        raise DataError("no prompt has a rollout with a verdict, or a likelihood")
    domains = pool["domain"].n_unique()
    if domains > MOST:
        raise DataError(
            f"{domains:,} domains of {len(pool):,} prompts are too many to balance",
            remedy="map a coarser column: --map domain=THEIR_NAME.",
        )
    length, unit = _length(pool)
    same = text(pool).str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars(" .?!")
    pool = pool.with_columns(length.alias("length"), duplicate=~same.hash().is_first_distinct())
    findings = [
        *_bare(pool, config, bare=bare),
        *_duplicates(pool),
        *_uneven(pool),
        *_untried(pool, config),
    ]
    if not rolled:
        return Estimated(pool, [], findings, rolled, unit)
    counts = pool.group_by("domain", "n", "c").agg(prompts=pl.len()).drop_nulls(["n", "c"])
    priors, noticed = fit_all(counts)
    rates = posterior_columns(
        _with_prior(counts, priors), band=config.band, group=config.group_size
    ).drop("prompts", "a", "b")
    pool = pool.join(rates, on=["domain", "n", "c"], how="left", maintain_order="left")
    return Estimated(pool, priors, [*findings, *noticed], rolled, unit)


def text(pool: pl.DataFrame) -> pl.Expr:
    """Give the prompts as texts; of messages their contents, a line each."""
    if pool.schema["prompt"] == pl.String:
        return pl.col("prompt")
    return pl.col("prompt").list.eval(pl.element().struct.field("content")).list.join("\n")


def _referenced(pool: pl.DataFrame, config: PlanConfig) -> pl.DataFrame:
    """Where there are no references, the answers that the verifier compares with stand in."""
    if config.references_verified:
        pool = pool.with_columns(reference_verified=pl.col("reference").is_not_null())
    if pool["reference"].null_count() == len(pool):
        pool = pool.with_columns(reference="answer", reference_verified=pl.lit(value=True))
    return pool


def _bare(pool: pl.DataFrame, config: PlanConfig, *, bare: bool) -> list[Finding]:
    answered = len(pool) - pool["reference"].null_count()
    if not bare or not answered or config.kind != "skill":
        return []
    told = (
        "there are no references, so SFT rows complete with the bare answers that the verifier "
        "compares with; a skill is taught by traces that show how (--references)"
    )
    return [Finding("bare_answers", told, "warn", answered)]


def _length(pool: pl.DataFrame) -> tuple[pl.Expr, str]:
    """Give what a token budget counts: tokens of the reference where known, else characters."""
    if pool["ref_tokens"].null_count() == 0:
        return pl.col("ref_tokens").cast(pl.Float64), "tokens of the reference"
    written = text(pool).str.len_chars() + pl.col("reference").str.len_chars().fill_null(0)
    return written.cast(pl.Float64), "characters of prompt and reference"


def _duplicates(pool: pl.DataFrame) -> list[Finding]:
    count = int(pool["duplicate"].sum())
    told = f"{count:,} prompts repeat another but for case and white space; the first is used"
    return [Finding("duplicate_prompts", told, count=count)] if count else []


def _uneven(pool: pl.DataFrame) -> list[Finding]:
    """Say where prompts have different numbers of rollouts, none, or few."""
    found = []
    n = pool["n"].drop_nulls()
    if len(n) and n.min() != n.max():
        told = (
            f"prompts have {n.min()!r} to {n.max()!r} rollouts; each rate has the interval of "
            "its own number, and shrinks by it"
        )
        found.append(Finding("unequal_rollouts", told, "warn", len(n)))
    none = int((pool["n"].fill_null(0) == 0).sum())
    if len(n) and none:
        told = f"{none:,} prompts have no verified rollout; they are in no set"
        found.append(Finding("no_rollouts", told, count=none))
    few = int(((n > 0) & (n < FEW)).sum())
    if few:
        least = int(n.filter(n > 0).min())  # type: ignore[arg-type]
        ends = wilson([0, least], [least, least])
        told = (
            f"{few:,} prompts have fewer than {FEW} rollouts: one unsolved in {least} may pass up "
            f"to {ends[1, 0]:.2f} of the time, one solved {least} times as seldom as "
            f"{ends[0, 1]:.2f}"
        )
        found.append(Finding("few_rollouts", told, "warn", few))
    return found


def _untried(pool: pl.DataFrame, config: PlanConfig) -> list[Finding]:
    """Name domains that the model is for and the pool lacks."""
    lacking = sorted(set(config.targets) - set(pool["domain"].unique()))
    told = f"no prompt is of the domains {', '.join(lacking)}, which --target names"
    return [Finding("target_without_prompts", told, "warn", len(lacking))] if lacking else []


def _with_prior(counts: pl.DataFrame, priors: list[Prior]) -> pl.DataFrame:
    own = {p.domain: p for p in priors[1:]}
    rows = [own.get(domain, priors[0]) for domain in counts["domain"].to_list()]
    return counts.with_columns(
        a=pl.Series([p.a for p in rows], dtype=pl.Float64),
        b=pl.Series([p.b for p in rows], dtype=pl.Float64),
    )
