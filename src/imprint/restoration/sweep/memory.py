"""A model in memory whose weights move between the tuned checkpoint and restorations of it.

What is held at any point equals, bit for bit, what the restored checkpoint would hold when loaded
in the same type. A move writes only the weights that differ from those held before: of a larger
share, those that it adds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from imprint.checkpoints import Checkpoint, Merged
from imprint.checkpoints.dtypes import Array
from imprint.checkpoints.names import plain
from imprint.checkpoints.regions import is_buffer
from imprint.errors import CheckpointError, require
from imprint.restoration.parts import Chunk, Part, chunks, same_bits
from imprint.restoration.rules import Rule

CHUNK = 1 << 20
Squares = dict[str, float]


class Memory:
    """The weights of a loaded model, addressed by the names of its checkpoint.

    Args:
        model: as ``transformers`` loaded it from the tuned checkpoint (of an adapter, its base).
        base, tuned: the two checkpoints.

    Raises:
        CheckpointError: a weight of the checkpoint is not found in the model, or not as stored.
    """

    def __init__(self, model: Any, base: Checkpoint, tuned: Checkpoint):
        self.base, self.tuned = base, tuned
        self.torch = require("torch", "models")
        self.written = 0
        self._parts: tuple[Part, ...] = ()
        self._rule: Rule | None = None
        self._held = _held(model, tuned)
        self._match()

    def become(self, parts: Sequence[Part], rule: Rule | None) -> Squares:
        """Move to a restoration.

        Args:
            parts: the weights it may touch; all others become those of the tuned checkpoint.
            rule: gives their values; ``None`` for the tuned ones.

        Returns:
            What remains of the change: name of the pair → Σ(value − base)².

        Raises:
            CheckpointError: values that are not finite.
        """
        parts = tuple(parts)
        if parts == self._parts:
            remaining = self._move(parts, self._rule, rule)
        else:
            self._move(self._parts, self._rule, None)
            remaining = self._move(parts, None, rule)
        self._parts, self._rule = parts, rule
        return remaining

    def _move(self, parts: Iterable[Part], before: Rule | None, after: Rule | None) -> Squares:
        remaining: Squares = {}
        for part in parts:
            total = 0.0
            for chunk in chunks(self.base, self.tuned, part, CHUNK):
                old, new = _values(before, chunk), _values(after, chunk)
                self._write(chunk, old, new)
                name = part.pair.tuned.name
                now = self.tuned.to_float32(name, new).astype(np.float64)
                total += float(np.square(now - chunk.base).sum())
            remaining[part.pair.name] = total
        return remaining

    def _write(self, chunk: Chunk, old: Array, new: Array) -> None:
        at = np.flatnonzero(~same_bits(old, new))
        name = chunk.part.pair.tuned.name
        if not len(at) or is_buffer(name):
            return
        start = chunk.part.pair.tuned.start + chunk.start
        values = self._tensor(new[at], name)
        with self.torch.no_grad():
            for held in self._held[name]:
                where = self.torch.from_numpy(at + start).to(held.device)
                held[where] = values.to(held.device, held.dtype)
        self.written += len(at)

    def _tensor(self, values: Array, name: str) -> Any:
        kind = self.tuned.info(name).dtype
        plain_values = np.array(values.view(np.int16) if kind == "BF16" else values)
        found = self.torch.from_numpy(plain_values)
        return found.view(self.torch.bfloat16) if kind == "BF16" else found

    def _match(self) -> None:
        """Take over merged weights; refuse a model that holds others than its checkpoint."""
        for name, held in self._held.items():
            stored = self._tensor(self.tuned.raw(name).reshape(-1), name)
            for tensor in held:
                values = stored.to(tensor.device, tensor.dtype)
                if isinstance(self.tuned, Merged):
                    tensor.copy_(values)
                elif not self.torch.equal(tensor, values):
                    raise CheckpointError(
                        "the model in memory holds other values than the checkpoint",
                        where=f"{self.tuned.path}, tensor {name!r}",
                        remedy="transformers rearranges the weights of this architecture when it "
                        "loads them; write checkpoints with --top and evaluate them yourself.",
                    )


def _held(model: Any, tuned: Checkpoint) -> dict[str, list[Any]]:
    """Find the flat tensors that hold each weight of the checkpoint, each memory once."""
    state = model.state_dict()
    by_plain: dict[str, list[str]] = {}
    for name in state:
        by_plain.setdefault(plain(name), []).append(name)
    found: dict[str, list[Any]] = {}
    missing = []
    for name, info in tuned.tensors.items():
        names = [name, *(alias for alias, to in tuned.aliases.items() if to == name)]
        tensors = [state[held] for n in names if (held := _named(n, state, by_plain))]
        tensors = [t for t in tensors if tuple(t.shape) == info.shape and t.is_contiguous()]
        if tensors:
            unique = {t.data_ptr(): t.detach().view(-1) for t in tensors}
            found[name] = list(unique.values())
        elif not is_buffer(name):
            missing.append(name)
    _refuse_missing(missing, tuned)
    return found


def _named(name: str, state: Any, by_plain: dict[str, list[str]]) -> str | None:
    if name in state:
        return name
    same = by_plain.get(plain(name), [])
    return same[0] if len(same) == 1 else None


def _refuse_missing(names: Sequence[str], tuned: Checkpoint) -> None:
    if names:
        raise CheckpointError(
            f"{len(names)} weights have no place in the model that transformers loads",
            where=f"{tuned.path}, tensor {names[0]!r}",
            remedy="write checkpoints with --top and evaluate them yourself.",
        )


def _values(rule: Rule | None, chunk: Chunk) -> Array:
    return chunk.stored if rule is None else rule(chunk)[0]
