"""Which weights of two checkpoints belong together.

Names that agree are paired. Then names that agree when wrappers are stripped, then fused matrices
with their parts. Whatever is paired under another name is told, and what stays alone is refused or
reported, never dropped.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from imprint.checkpoints.checkpoint import Checkpoint
from imprint.checkpoints.dtypes import FLOATS
from imprint.checkpoints.fusion import CONVERT, interleaved, slices
from imprint.checkpoints.header import TensorInfo
from imprint.checkpoints.names import by_plain_name, plain, rename_all
from imprint.checkpoints.regions import is_buffer, place
from imprint.checkpoints.vocabulary import compare_tokenizers
from imprint.errors import CheckpointError
from imprint.findings import Finding

Unpaired = Literal["refuse", "report"]


@dataclass(frozen=True, slots=True)
class Span:
    """A flat range of a tensor."""

    name: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Pair:
    """Weights of base and tuned that belong together, element by element.

    Attributes:
        name: the tuned tensor's name; where one side is fused, the part's name.
        shape: of what is compared. A resized vocabulary leaves the common rows.
        base, tuned: where they lie; the ranges are equally long.
    """

    name: str
    shape: tuple[int, ...]
    base: Span
    tuned: Span

    @property
    def elements(self) -> int:
        """The number of weights compared."""
        return self.tuned.stop - self.tuned.start


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of an embedding or head that the other checkpoint does not have."""

    side: Literal["base", "tuned"]
    name: str
    start: int
    stop: int


@dataclass(frozen=True)
class Alignment:
    """How two checkpoints meet.

    Attributes:
        pairs: in the order of the tuned checkpoint's files and data.
        only_base, only_tuned: tensors without a partner.
        rest: rows of resized vocabularies without a partner.
        renamed: (tuned, base) of what was paired under another name.
        findings: what a reader must know (types, ties, tokenizers, unpaired tensors).
    """

    pairs: tuple[Pair, ...]
    only_base: tuple[str, ...]
    only_tuned: tuple[str, ...]
    rest: tuple[Rows, ...]
    renamed: tuple[tuple[str, str], ...]
    findings: tuple[Finding, ...]

    def map_lines(self) -> list[str]:
        """Describe what was renamed, one line per pattern of names, numbers written as ``*``."""
        counted = Counter(
            (re.sub(r"\d+", "*", tuned), re.sub(r"\d+", "*", base)) for tuned, base in self.renamed
        )
        return [
            f"{tuned} is compared with {base}" + (f" ({count} times)" if count > 1 else "")
            for (tuned, base), count in counted.items()
        ]


def align(
    base: Checkpoint,
    tuned: Checkpoint,
    rename: Sequence[tuple[str, str]] = (),
    *,
    unpaired: Unpaired = "refuse",
) -> Alignment:
    """Pair the weights of two checkpoints.

    Args:
        base, tuned: the two.
        rename: (regular expression, replacement), applied to the tuned checkpoint's names to give
            those of the base.
        unpaired: whether tensors without a partner are an error, or only reported. Constants and
            the copy of a tied weight are always only reported.

    Raises:
        CheckpointError: shapes that differ in more than vocabulary rows, layouts that cannot be
            aligned exactly, names without a partner, or no pair at all.
        ConfigError: a rename that cannot be applied.
    """
    work = _Work(base, tuned, rename_all(tuned.tensors, rename, str(tuned.path)))
    work.pair_names()
    work.pair_fused()
    order = {name: at for at, name in enumerate(tuned.tensors)}
    work.pairs.sort(key=lambda pair: (order[pair.tuned.name], pair.tuned.start))
    alone = (work.alone(base.tensors, "base"), work.alone(tuned.tensors, "tuned"))
    _refuse_unpaired(base, tuned, alone, work.pairs, unpaired)
    return Alignment(
        pairs=tuple(work.pairs),
        only_base=tuple(alone[0]),
        only_tuned=tuple(alone[1]),
        rest=tuple(work.rest),
        renamed=tuple(
            (p.tuned.name, p.base.name) for p in work.pairs if p.tuned.name != p.base.name
        ),
        findings=tuple(_findings(base, tuned, work, alone)),
    )


class _Work:
    """The pairs found so far."""

    def __init__(self, base: Checkpoint, tuned: Checkpoint, spelled: Mapping[str, str]):
        self.base, self.tuned = base, tuned
        self.spelled = dict(spelled)  # the tuned names as the base would write them → as they are
        self.pairs: list[Pair] = []
        self.rest: list[Rows] = []
        self.base_keys = {**base.aliases, **{name: name for name in base.tensors}}
        self.base_plain = by_plain_name(self.base_keys, str(base.path))
        self.tuned_plain = by_plain_name(self.spelled, str(tuned.path))

    def pair_names(self) -> None:
        for spelled, name in self.spelled.items():
            key = spelled if spelled in self.base_keys else self.base_plain.get(plain(spelled))
            if key is not None:
                self._pair(self.base.tensors[self.base_keys[key]], self.tuned.tensors[name])

    def pair_fused(self) -> None:
        base_alone = set(self.alone(self.base.tensors, "base"))
        tuned_alone = set(self.alone(self.tuned.tensors, "tuned"))
        for spelled, name in self.spelled.items():
            if name in tuned_alone:
                self._split(self.tuned.tensors[name], plain(spelled), "tuned", base_alone)
        for name in sorted(base_alone):
            self._split(self.base.tensors[name], plain(name), "base", tuned_alone)

    def alone(self, names: Iterable[str], side: Literal["base", "tuned"]) -> list[str]:
        met = {(pair.base if side == "base" else pair.tuned).name for pair in self.pairs}
        return [name for name in names if name not in met]

    def _split(
        self, fused: TensorInfo, key: str, side: Literal["base", "tuned"], others: set[str]
    ) -> None:
        def find(part: str) -> TensorInfo | None:
            if side == "tuned":
                name = self.base_plain.get(part)
                return self.base.tensors[name] if name in others and name else None
            spelled = self.tuned_plain.get(part)
            name = self.spelled[spelled] if spelled else None
            return self.tuned.tensors[name] if name in others and name else None

        for piece in slices(fused, key, find) or []:
            inside = Span(fused.name, piece.start, piece.stop)
            whole = Span(piece.part, 0, piece.stop - piece.start)
            other = self.base if side == "tuned" else self.tuned
            _refuse_packed(fused, other.tensors[piece.part])
            spans = (whole, inside) if side == "tuned" else (inside, whole)
            self.pairs.append(Pair(piece.part, other.tensors[piece.part].shape, *spans))

    def _pair(self, base: TensorInfo, tuned: TensorInfo) -> None:
        _refuse_packed(base, tuned)
        shape = base.shape
        if base.shape != tuned.shape:
            _refuse_other_shape(base, tuned)
            common = min(base.shape[0], tuned.shape[0])
            shape = (common, *base.shape[1:])
            longer, side = (base, "base") if base.shape[0] > common else (tuned, "tuned")
            self.rest.append(Rows(side, longer.name, common, longer.shape[0]))  # type: ignore[arg-type]
        count = base.elements if shape == base.shape else tuned.elements
        spans = (Span(base.name, 0, count), Span(tuned.name, 0, count))
        self.pairs.append(Pair(tuned.name, shape, *spans))


def _refuse_packed(base: TensorInfo, tuned: TensorInfo) -> None:
    """Refuse integers that stand for packed weights, or meet floats; others are constants."""
    for info, other in ((base, tuned), (tuned, base)):
        if info.dtype not in FLOATS and (info.name.endswith(".weight") or other.dtype in FLOATS):
            raise CheckpointError(
                f"is stored as {info.dtype}, {other.name!r} of the other checkpoint as "
                f"{other.dtype}; weights are floating-point numbers",
                where=info.where,
                remedy="if it is quantised, use the checkpoint it was quantised from.",
            )


def _refuse_other_shape(base: TensorInfo, tuned: TensorInfo) -> None:
    rows = base.shape[1:] == tuned.shape[1:] and len(base.shape) == len(tuned.shape) > 0
    if not rows or place(tuned.name).module not in ("embedding", "head"):
        raise CheckpointError(
            f"has the shape {tuned.shape}, the base's {base.name!r} {base.shape}",
            where=tuned.where,
            remedy="only the rows of embedding and head may differ; are they of one model?",
        )


def _refuse_unpaired(
    base: Checkpoint,
    tuned: Checkpoint,
    alone: tuple[list[str], list[str]],
    pairs: Sequence[Pair],
    unpaired: Unpaired,
) -> None:
    unknown = [
        (side, other, [n for n in names if not is_buffer(n) and n not in other.aliases])
        for side, other, names in ((base, tuned, alone[0]), (tuned, base, alone[1]))
    ]
    for side, other, names in unknown:
        if names and (unpaired == "refuse" or not pairs):
            fused = interleaved(dict.fromkeys(names))
            raise CheckpointError(
                f"{len(names)} tensors have no partner in {str(other.path)!r}"
                + (f" ({fused!r} may be interleaved)" if fused else ""),
                where=f"{side.path}, tensor {names[0]!r}",
                remedy=CONVERT if fused else "name the partner with --rename REGEX=NEW.",
            )


def _findings(
    base: Checkpoint, tuned: Checkpoint, work: _Work, alone: tuple[list[str], list[str]]
) -> Iterable[Finding]:
    yield from compare_tokenizers(base.extra_files, tuned.extra_files)
    kinds = Counter(
        (base.tensors[p.base.name].dtype, tuned.tensors[p.tuned.name].dtype) for p in work.pairs
    )
    for (one, other), count in kinds.items():
        if one != other:
            detail = f"{count} tensors are {one} in the base and {other} in the tuned checkpoint"
            yield Finding("types_differ", detail, "info", count)
    if bool(base.aliases) != bool(tuned.aliases):
        tied, untied = (base, tuned) if base.aliases else (tuned, base)
        detail = f"{tied.path} ties embedding and head, {untied.path} does not"
        yield Finding("ties_differ", detail)
    for rows in work.rest:
        detail = f"rows {rows.start} to {rows.stop - 1} of {rows.name!r} are only in {rows.side}"
        yield Finding("vocabulary_differs", detail, "info", rows.stop - rows.start)
    for side, names in (("base", alone[0]), ("tuned", alone[1])):
        if names:
            detail = f"only in {side}: {', '.join(names[:5])}"
            detail += f", … ({len(names)} in all)" if len(names) > 5 else ""
            yield Finding("unpaired_tensors", detail, count=len(names))
