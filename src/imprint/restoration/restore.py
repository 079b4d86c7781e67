"""Putting a share of the fine-tuned weights back to base, as a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from imprint.checkpoints import (
    Alignment,
    Checkpoint,
    Merged,
    align,
    model_card,
    weight_files,
    weights_hash,
    write_checkpoint,
)
from imprint.checkpoints.dtypes import Array
from imprint.checkpoints.writer import refuse_foreign
from imprint.executors import Executor, Threads
from imprint.findings import Finding
from imprint.progress import Bar, Silent
from imprint.restoration import compat
from imprint.restoration.folders import refuse_within
from imprint.restoration.kept import Unit, kept_cuts, kept_weights
from imprint.restoration.mask import Cut, Scores
from imprint.restoration.methods import Scorer, by_chance, by_change, by_fapm, mean_sizes
from imprint.restoration.parts import Part, chunks, parts_of, reader, refuse_float8
from imprint.restoration.patch import refuse_existing, write_patch
from imprint.restoration.restore_config import RestoreConfig as RestoreConfig
from imprint.restoration.rules import Rule, dropped, interpolated, matched_weights, selected
from imprint.restoration.spectral import Repair, piece, repaired, repairs, totals
from imprint.runs import file_identity, versions
from imprint.stats.products import one_blas_thread

Written = tuple[int, Array, Array]


@dataclass(frozen=True, eq=False)
class Plan:
    """A restoration of two checkpoints, worked out but not written.

    Attributes:
        base, tuned: the two.
        alignment: how they meet.
        parts: the region, in flat order.
        config: what to put back.
        rules: one per share (or strength); ``None`` leaves everything as it is.
        scores: the scores of the region; none for ``dare`` and ``spectral``.
        cuts: one per share: group → where the selection ends; none for ``dare`` and ``spectral``.
        weights: one per share: group → α; for ``interpolate`` only.
        repairs: what is kept of each matrix' change; for ``spectral`` only.
        tally: (number of the share, of the part) → weights put back, of parts gone through so far.
    """

    base: Checkpoint
    tuned: Checkpoint
    alignment: Alignment
    parts: tuple[Part, ...]
    config: RestoreConfig
    rules: list[Rule | None]
    scores: Scores | None = None
    cuts: list[dict[str, Cut]] = field(default_factory=list)
    weights: list[dict[str, float]] = field(default_factory=list)
    repairs: list[Repair] = field(default_factory=list)
    tally: dict[tuple[int, int], int] = field(default_factory=dict)

    @property
    def parameters(self) -> int:
        """The number of weights in the region."""
        return sum(part.pair.elements for part in self.parts)

    @cached_property
    def parents(self) -> dict[str, list[dict[str, Any]]]:
        """What tells the files of both parents apart from others, wherever they lie."""
        return {side: parent_files(c) for side, c in (("base", self.base), ("tuned", self.tuned))}

    @cached_property
    def held(self) -> dict[str, list[Part]]:
        """The parts by the tuned tensor that holds them, in flat order within it."""
        found: dict[str, list[Part]] = {}
        for part in sorted(self.parts, key=lambda part: part.pair.tuned.start):
            found.setdefault(part.pair.tuned.name, []).append(part)
        return found

    def changed(self, at: int, name: str) -> Iterator[Written]:
        """Give (flat start, tuned values, new values) of a tuned tensor's parts in the region."""
        rule = self.rules[at]
        if rule is not None:
            for part in self.held[name]:
                restored = 0
                for chunk in chunks(self.base, self.tuned, part, self._piece(part)):
                    values, count = rule(chunk)
                    restored += count
                    yield part.pair.tuned.start + chunk.start, chunk.stored, values
                self.tally[at, part.number] = restored

    def restored(self, at: int, executor: Executor | None = None) -> dict[int, int]:
        """Give the number of weights put back by the number of the part.

        They are counted while writing; what was written by an earlier run, or in other processes,
        is gone through again.
        """
        if self.rules[at] is None:
            return dict.fromkeys((part.number for part in self.parts), 0)
        names = {p.pair.tuned.name: None for p in self.parts if (at, p.number) not in self.tally}
        crew = executor or Threads(self.config.workers)
        with one_blas_thread():
            for counted in crew.map_in_order(partial(self._count, at), names):
                self.tally.update(counted)
        return {part.number: self.tally[at, part.number] for part in self.parts}

    def _count(self, at: int, name: str) -> dict[tuple[int, int], int]:
        for _ in self.changed(at, name):
            pass
        return {(at, part.number): self.tally[at, part.number] for part in self.held[name]}

    def _piece(self, part: Part) -> int:
        whole = piece(part) if self.config.by == "spectral" else None
        return whole or self.config.chunk

    def tensor(self, at: int, name: str) -> Iterator[Array] | Array | None:
        """Give a stored tensor as the writer wants it; ``None`` where nothing changes."""
        info = self.tuned.info(name)
        if self.rules[at] is not None and info.name in self.held:
            return self._pieces(at, info.name)
        return self.tuned.raw(name) if isinstance(self.tuned, Merged) else None

    def _pieces(self, at: int, name: str) -> Iterator[Array]:
        read, done, end = reader(self.tuned, name), 0, self.tuned.info(name).elements
        for start, _, values in self.changed(at, name):
            if start > done:
                yield read(done, start)
            yield values
            done = start + len(values)
        if done < end:
            yield read(done, end)

    def counts(self, at: int) -> dict[str, Any]:
        """Say what one share does, in numbers."""
        facts: dict[str, Any] = {self.config.axis: self.config.levels[at]}
        if self.config.by == "spectral":
            return {**facts, **totals(self.repairs, at)}
        if self.weights:
            found = set(self.weights[at].values())
            return {**facts, "weight": found.pop() if len(found) == 1 else self.weights[at]}
        if not self.cuts:
            return facts
        cuts = self.cuts[at].values()
        taken = sum(cut.threshold.k for cut in cuts)
        facts |= {"selected": taken, "share": taken / self.parameters}
        if self.config.by in ("relative", "absolute"):
            if len(self.cuts[at]) == 1 and taken:
                facts["threshold"] = next(iter(cuts)).threshold.value
            unchanged = [c.threshold.take_equal for c in cuts if c.threshold.value == 0]
            facts["selected_unchanged"] = sum(unchanged) if self.config.order == "top" else None
        return facts

    def findings(self) -> list[Finding]:
        """Say what a reader must know."""
        found = list(self.alignment.findings)
        for at, ratio in enumerate(self.config.levels):
            spare = self.counts(at).get("selected_unchanged")
            if spare and ratio < 1:
                detail = f"top {ratio:g} is more than what changed: {spare:,} of it did not"
                found.append(Finding("more_than_changed", detail, count=spare))
        return found


def parent_files(checkpoint: Checkpoint) -> list[dict[str, Any]]:
    """Tell a checkpoint's files apart from others, wherever they lie."""
    found = (file_identity(path) for path in weight_files(checkpoint))
    return [{**entry, "path": Path(entry["path"]).name} for entry in found]


def survey(
    base: Checkpoint, tuned: Checkpoint, config: RestoreConfig
) -> tuple[Alignment, tuple[Part, ...]]:
    """Check settings and headers, and find the region; no weights are read.

    Raises:
        ConfigError: settings that do not make sense, or an empty region.
        CheckpointError: checkpoints that do not fit, or float8.
    """
    config.check()
    for checkpoint in (base, tuned):
        refuse_float8(checkpoint)
    alignment = align(base, tuned, config.rename)
    order = compat.registered if config.compat else None
    if config.compat:
        compat.refuse_other_names(tuned.tensors)
    return alignment, parts_of(
        alignment, config.region, config.competing, compat=config.compat, order=order
    )


def plan(
    base: Checkpoint,
    tuned: Checkpoint,
    config: RestoreConfig,
    *,
    executor: Executor | None = None,
    unit: Unit | None = None,
    bar: Bar | None = None,
) -> Plan:
    """Find what goes back, for all shares in one pass over the region.

    Args:
        base, tuned, config: what to do.
        executor: works on several tensors at a time, by default as many threads as ``workers``.
        unit: keeps what was found, as `imprint.runs.Run.unit`, for the same command after a kill.
        bar: told of weights, where that takes long (``spectral``).

    Raises:
        ConfigError: settings that do not make sense, or an empty region.
        CheckpointError: checkpoints that do not fit, float8, or values that are not finite.
    """
    alignment, parts = survey(base, tuned, config)
    crew = executor or Threads(config.workers)
    if config.by == "spectral":
        found = repairs(base, tuned, parts, config.strength, crew, bar)
        cut = [
            _or_nothing(level, repaired(found, at, tuned))
            for at, level in enumerate(config.strength)
        ]
        return Plan(base, tuned, alignment, parts, config, cut, repairs=found)
    if config.by == "dare":
        shares = [_or_nothing(q, dropped(q, config.seed, tuned)) for q in config.top]
        return Plan(base, tuned, alignment, parts, config, shares)
    scorer = _scorer(base, tuned, parts, config)
    scores = Scores(base, tuned, parts, scorer, config.chunk)
    cuts = kept_cuts(
        unit, config.top, config.order, lambda: scores.cuts(config.top, config.order, crew)
    )
    if config.compat:
        compat.refuse_none(cut.threshold.k for found in cuts for cut in found.values())
    if config.by == "interpolate":
        weights = kept_weights(unit, len(config.top), lambda: matched_weights(scores, cuts, crew))
        moved: list[Rule | None] = [interpolated(weight, tuned) for weight in weights]
        return Plan(base, tuned, alignment, parts, config, moved, scores, cuts, weights)
    rules = [_or_nothing(q, selected(scorer, at)) for q, at in zip(config.top, cuts, strict=True)]
    return Plan(base, tuned, alignment, parts, config, rules, scores, cuts)


def write(
    plan: Plan,
    out: Path,
    *,
    command: str = "imprint restore",
    patch: bool = False,
    overwrite: bool = False,
    executor: Executor | None = None,
    bar: Bar | None = None,
) -> list[Path]:
    """Write one checkpoint or patch per share (or strength).

    One share goes to ``out``, several to ``out/top-0.01`` and so on (patches:
    ``out/top-0.01.safetensors``). Each appears whole or not at all; the same command after a kill
    goes on where it stopped.

    Returns:
        What was written.

    Raises:
        ConfigError: a target holds something else, or an input.
        CheckpointError: a value does not fit the tuned type.
        DataError: the disk is full or fails.
    """
    paths = targets(plan.config, out, patch=patch)
    with one_blas_thread():
        for at, path in enumerate(paths):
            if patch:
                _write_patch(plan, at, path, command, overwrite)
            else:
                crew = executor or Threads(plan.config.workers)
                _write_whole(plan, at, path, command, overwrite, crew, bar or Silent())
    return paths


def targets(config: RestoreConfig, out: Path, *, patch: bool = False) -> list[Path]:
    """Name what each share is written to."""
    ending = ".safetensors" if patch else ""
    if len(config.levels) == 1:
        return [out]
    return [out / f"{config.axis}-{level:.12g}{ending}" for level in config.levels]


def refuse_targets(
    base: Checkpoint,
    tuned: Checkpoint,
    config: RestoreConfig,
    out: Path,
    *,
    patch: bool = False,
    overwrite: bool = False,
    run: Path | None = None,
) -> None:
    """Refuse targets that cannot be written, before any work.

    Raises:
        ConfigError: settings that do not make sense, a target that holds something else, is an
            input, holds one or lies in one, or the folder ``run`` of the run in one of all these.
    """
    config.check()
    paths = targets(config, out, patch=patch)
    for path in paths:
        if patch:
            refuse_existing(path, (base.path, tuned.path), overwrite=overwrite)
        else:
            refuse_foreign(path, (base.path, tuned.path), overwrite=overwrite)
    if run is not None:
        refuse_within(run, (*paths, base.path, tuned.path))


def _write_whole(
    plan: Plan, at: int, out: Path, command: str, overwrite: bool, executor: Executor, bar: Bar
) -> None:
    refuse_foreign(out, (plan.base.path, plan.tuned.path), overwrite=overwrite)
    facts = _facts(plan, at)
    write_checkpoint(
        out,
        plan.tuned,
        partial(plan.tensor, at),
        card=model_card(
            plan.base.reference,
            plan.tuned.reference,
            command=command,
            counts={**plan.counts(at), "region": plan.config.region, "by": plan.config.by},
            like=plan.tuned.path,
        ),
        fingerprint=f"{sorted(facts.items())} {versions()['imprint']}",
        record={"job": "restore", **facts},
        inputs=(plan.base.path,),
        overwrite=overwrite,
        executor=executor,
        bar=bar,
    )


def _write_patch(plan: Plan, at: int, out: Path, command: str, overwrite: bool) -> None:
    names = [name for name in plan.tuned.tensors if name in plan.held]
    metadata = {
        **_hashes(plan),
        "base_name": str(plan.base.reference),
        "tuned_name": str(plan.tuned.reference),
        plan.config.axis: f"{plan.config.levels[at]!r}",
        "by": plan.config.by,
        "region": plan.config.region,
        "command": command,
    }
    write_patch(out, names, partial(plan.changed, at), plan.tuned, metadata, overwrite=overwrite)


def _facts(plan: Plan, at: int) -> dict[str, Any]:
    settings = {**plan.config.settings(), plan.config.axis: plan.config.levels[at]}
    return {**settings, "parents": plan.parents, "counts": plan.counts(at)}


def _hashes(plan: Plan) -> dict[str, str]:
    return {"base": weights_hash(plan.base), "tuned": weights_hash(plan.tuned)}


def _scorer(
    base: Checkpoint, tuned: Checkpoint, parts: tuple[Part, ...], config: RestoreConfig
) -> Scorer:
    if config.compat and config.by == "random":
        return compat.by_legacy_choice(parts, config.seed)
    if config.compat:
        return compat.by_rounded_change(config.dtype)
    makers: dict[str, Callable[[], Scorer]] = {
        "random": lambda: by_chance(config.seed),
        "absolute": lambda: by_change("absolute", config.eps),
        "fapm": lambda: by_fapm(mean_sizes(base, tuned, parts), config.eps),
    }
    return makers.get(config.by, lambda: by_change("relative", config.eps))()


def _or_nothing(ratio: float, rule: Rule) -> Rule | None:
    return rule if ratio else None
