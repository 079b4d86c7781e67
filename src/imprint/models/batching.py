"""Batches of like length within a budget of tokens, smaller once memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from imprint.errors import ImprintError
from imprint.progress import note

TOKENS = 1 << 13  # tokens in a batch, padding counted: a larger batch is no faster on a CPU
Item = TypeVar("Item")
Found = TypeVar("Found")


class OutOfMemoryError(ImprintError):
    """A single request does not fit into memory."""


@dataclass
class Batcher:
    """Puts requests together and runs them, halving the budget whenever memory runs out.

    Attributes:
        tokens: most tokens in a batch, padding counted; at least one request is always taken.
        quiet: say nothing when memory runs out.
    """

    tokens: int = TOKENS
    quiet: bool = False
    _said: bool = False

    @classmethod
    def on(cls, device: Any) -> Batcher:
        """Make one for a device: a GPU is busy only with larger batches."""
        return cls(TOKENS if device.type == "cpu" else 4 * TOKENS)

    def run(
        self,
        items: Sequence[Item],
        cost: Callable[[Item], int],
        work: Callable[[list[Item]], Sequence[Found]],
    ) -> list[Found]:
        """Do the work on all items, the costliest first, and give results in the order of items.

        Args:
            items: what to work on.
            cost: tokens of an item; all in a batch are padded to the largest.
            work: gives one result per item of a batch.

        Raises:
            OutOfMemoryError: a single item does not fit.
        """
        costs = [cost(item) for item in items]
        order = sorted(range(len(items)), key=lambda at: -costs[at])
        found: dict[int, Found] = {}
        while order:
            longest = max(1, costs[order[0]])
            batch = order[: max(1, self.tokens // longest)]
            done = self._try(work, [items[at] for at in batch], longest)
            if done is not None:
                found.update(zip(batch, done, strict=True))
                order = order[len(batch) :]
        return [found[at] for at in range(len(items))]

    def _try(
        self, work: Callable[[list[Item]], Sequence[Found]], batch: list[Item], longest: int
    ) -> Sequence[Found] | None:
        """Do the work, or give ``None`` and halve the budget where memory was short."""
        try:
            return work(batch)
        except (RuntimeError, MemoryError) as failed:
            if not memory_ran_out(failed):
                raise
            reason = str(failed).splitlines()[0] if str(failed) else type(failed).__name__
        if len(batch) == 1:
            raise OutOfMemoryError(
                f"a single request of {longest} tokens does not fit into memory ({reason})",
                remedy="use a smaller model, --dtype bf16, another --device, or shorter contexts.",
            )
        self._shrink(len(batch) * longest)
        return None

    def _shrink(self, used: int) -> None:
        self.tokens = max(1, used // 2)
        release()
        if not self._said:
            note(f"memory ran out; batches now hold {self.tokens:,} tokens", quiet=self.quiet)
            self._said = True


def memory_ran_out(failed: BaseException) -> bool:
    """Tell whether an error means that memory was short, on a CPU or on a GPU."""
    if isinstance(failed, MemoryError) or type(failed).__name__ == "OutOfMemoryError":
        return True
    words = str(failed).lower()
    return any(sign in words for sign in ("not enough memory", "out of memory", "can't allocate"))


def release() -> None:
    """Give memory that torch keeps for later back to the device."""
    import gc
    import sys

    gc.collect()
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def padded(rows: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Fill rows on the right to the length of the longest, with their own first token.

    What fills up is never seen; the model's padding token would only make transformers warn.
    """
    longest = max(map(len, rows))
    return ([*row, *[row[0]] * (longest - len(row))] for row in rows)
