"""A plan from end to end: read rollouts, estimate, choose, draw controls, write."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from imprint.configuration import build
from imprint.errors import ConfigError, DataError
from imprint.findings import Finding
from imprint.formats.rollouts import Reading, pool_from_frame, read_pool
from imprint.formats.rollouts_references import with_references
from imprint.planning.band import choose_band
from imprint.planning.config import SIZES, PlanConfig
from imprint.planning.pool import estimate, limited
from imprint.planning.result import PlanResult, assemble
from imprint.planning.sft import choose_sft
from imprint.progress import progress
from imprint.report import publish
from imprint.runs import Run, file_identity
from imprint.stats import one_blas_thread

STEPS = 5
FILES = (
    *("pool.jsonl", "sft_hard.jsonl", "sft_random.jsonl", "rl_band.jsonl", "rl_random.jsonl"),
    *("balance.json", "balance.md", "adapters", "sizes"),
)


@dataclass(frozen=True)
class Sources:
    """What a plan reads.

    Attributes:
        rollouts: run folders or files with rollouts.
        mastery: a folder of a mastery run.
        references: a table of references by id.
        rename: our column and theirs, for files of rollouts.
        frame: rollouts in memory, instead.
    """

    rollouts: tuple[Path, ...] = ()
    mastery: Path | None = None
    references: Path | None = None
    rename: tuple[tuple[str, str], ...] = ()
    frame: pl.DataFrame | None = None

    @property
    def pools(self) -> list[Path]:
        """Where the pool comes from."""
        return [*self.rollouts, *([self.mastery] if self.mastery else [])]

    @property
    def files(self) -> list[Path]:
        """Every file that the numbers depend on; of run folders the tables and manifest."""
        found: list[Path] = []
        for path in self.pools:
            parts = ("manifest.json", "tables/mastery.parquet", "tables/pass_rates.parquet",
                     "tables/rollouts.parquet")  # fmt: skip
            inside = [path / part for part in parts if (path / part).is_file()]
            found += inside if path.is_dir() else [path] if path.is_file() else []
        # one that is not there is said when it is read
        joined = self.references is not None and self.references.is_file()
        return [*found, *([self.references] if self.references and joined else [])]


def plan(
    rollouts: str | Path | Sequence[str | Path] | pl.DataFrame = (),
    config: PlanConfig | None = None,
    *,
    mastery: str | Path | None = None,
    references: str | Path | None = None,
    rename: dict[str, str] | None = None,
    out: str | Path | None = None,
    **settings: Any,
) -> PlanResult:
    """Choose SFT and RL data by what a model can already do, each set beside a random control.

    Args:
        rollouts: run folders of ``imprint evaluate --prompts``, or files
            (:func:`imprint.formats.rollouts.read_pool`), or a frame with the same columns.
        config: the rules.
        mastery: folder of a run of ``imprint mastery``.
        references: a table of reference answers by ``id``.
        rename: our column → theirs, for files of rollouts.
        out: run folder to write; without it nothing is kept.
        settings: fields of `PlanConfig`, as ``kind="skill"``.

    Raises:
        ConfigError: a setting makes no sense, or ``out`` holds something else.
        DataError: rollouts that cannot be used; the message names file and row.
    """
    checked = build(PlanConfig, settings)
    given = {name: getattr(checked, name) for name in settings}
    config = replace(config, **given) if config else checked
    frame = rollouts if isinstance(rollouts, pl.DataFrame) else None
    sources = Sources(
        _paths(rollouts),
        Path(mastery) if mastery else None,
        Path(references) if references else None,
        tuple((rename or {}).items()),
        frame,
    )
    config = settled(sources, config)
    if out is None:
        return perform(gather(sources, config), config, sources)
    run = open_run(sources, config, Path(out))
    result = perform(read(sources, config, run), config, sources)
    publish(run, result, result.files)
    return result


def _paths(
    rollouts: str | Path | Sequence[str | Path] | pl.DataFrame,
) -> tuple[Path, ...]:
    if isinstance(rollouts, pl.DataFrame):
        return ()
    return tuple(map(Path, [rollouts] if isinstance(rollouts, (str, Path)) else rollouts))


def settled(sources: Sources, config: PlanConfig) -> PlanConfig:
    """Fill in what follows from the sources; say what must be said.

    Raises:
        ConfigError: nothing to read, or no word on whether SFT is to teach a skill or facts.
    """
    if not sources.pools and sources.frame is None:
        raise ConfigError("nothing to plan from", remedy="give --rollouts PATH or --mastery RUN.")
    if config.kind is None and sources.mastery and not sources.rollouts and sources.frame is None:
        config = replace(config, kind="fact")
    if config.kind is None:
        raise ConfigError(
            "what is SFT to teach?",
            remedy="--kind skill (hard rows with a reference that shows how) or --kind fact (facts "
            "of middling mastery); the advice differs.",
        )
    return config


Read = tuple[pl.DataFrame, list[Finding]]


def gather(sources: Sources, config: PlanConfig) -> Read:
    """Read rollouts and references into one pool.

    Raises:
        ConfigError: the rollouts are of another model than RL starts from.
        DataError: something cannot be used.
    """
    reading = Reading(
        dict(sources.rename), config.samples, config.pass_at, config.model, config.stage,
        config.filter,
    )  # fmt: skip
    if sources.frame is None:
        pool, findings = read_pool(sources.pools, reading)
    elif sources.pools:
        raise ConfigError("a frame and --mastery belong to two plans")
    else:
        pool, findings = pool_from_frame(sources.frame, reading)
    if sources.references:
        pool, noticed = with_references(pool, sources.references)
        findings += noticed
    _refuse_other_model(pool, config)
    pool = limited(pool, config)
    if pool.is_empty():
        raise DataError("no prompt is left to plan with")
    return pool, findings


def read(sources: Sources, config: PlanConfig, run: Run) -> Read:
    """Read once per run: a run that was cut short takes the pool from its ledger."""

    def compute() -> dict[str, pl.DataFrame]:
        pool, findings = gather(sources, config)
        told = [(f.check, f.detail, f.level, f.count) for f in findings]
        names = {"check": pl.String, "detail": pl.String, "level": pl.String, "count": pl.Int64}
        return {"pool": pool, "findings": pl.DataFrame(told, schema=names, orient="row")}

    found = run.unit("pool", compute)
    return found["pool"], [Finding(*row) for row in found["findings"].rows()]


def open_run(sources: Sources, config: PlanConfig, out: Path) -> Run:
    """Open the run folder whose fingerprint covers rollouts, references and rules."""
    settings = {**config.settings, "rename": sources.rename}
    if sources.frame is not None:
        raw = sources.frame.serialize()
        settings["frame"] = hashlib.sha256(raw).hexdigest()
    return Run(out, "plan", settings, sources.files, seed=config.seed, parts=FILES)


def describe(sources: Sources, config: PlanConfig, out: Path) -> str:
    """Say what a run would do; the pool is read and checked."""
    pool, findings = gather(sources, config)
    estimated = estimate(pool, config)
    n = pool["n"].drop_nulls()
    lines = [
        f"{len(pool):,} prompts of {pool['domain'].n_unique()} domains from "
        f"{', '.join(map(str, sources.pools))}",
        f"{int(n.sum()):,} rollouts, {n.min()!r} to {n.max()!r} per prompt"
        if len(n)
        else "no rollouts",
        f"SFT: at most {config.size or SIZES[config.kind or 'skill']:,} rows for a {config.kind}",
    ]
    lines += [f"{f.check}: {f.detail}" for f in (*findings, *estimated.findings)]
    return "\n".join([*lines, f"would write {out}"])


def perform(gathered: Read, config: PlanConfig, sources: Sources) -> PlanResult:
    """Estimate, choose, draw controls and put the result together."""
    pool, findings = gathered
    # the optimiser's matrices are tiny: threads of BLAS would only wait for each other
    with one_blas_thread(), progress(STEPS, "plan", quiet=config.quiet) as bar:
        bar.describe("estimating pass rates")
        estimated = estimate(pool, config)
        bar.advance()
        bar.describe("choosing SFT rows")
        sft = choose_sft(estimated, config)
        bar.advance()
        bar.describe("choosing RL prompts")
        rl = choose_band(estimated, config) if estimated.rolled else None
        bar.advance()
        bar.describe("controls and balance")
        hashes = [file_identity(path) for path in sources.files]
        result = assemble(estimated, sft, rl, findings, config, hashes)
        bar.advance(2)
    return result


def _refuse_other_model(pool: pl.DataFrame, config: PlanConfig) -> None:
    if config.rl_from is None:
        return
    known = pool["model"].drop_nulls().unique().to_list() if "model" in pool.columns else []
    if known != [config.rl_from]:
        told = (
            f"of {', '.join(map(str, known[:5]))}" if known else "of a model that they do not name"
        )
        raise ConfigError(
            f"RL starts from {config.rl_from!r}, and the rollouts are {told}",
            remedy="roll out the checkpoint that RL starts from (after SFT, not the base); a pass "
            "rate is that of one checkpoint and template.",
        )
