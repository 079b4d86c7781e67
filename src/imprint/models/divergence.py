"""How far two next-token distributions lie apart, over the whole vocabulary, block by block.

Logits come in blocks of positions from a function, so that neither the logits of a text nor their
softmax is ever held whole: a few arrays of [block, vocabulary] in float32 are all the memory added.
On a CPU compiled loops do the sums (``divergence_cpu``), elsewhere torch does.
All divergences are in nats; P is the base's distribution, Q the tuned model's.

- ``kl`` = KL(P‖Q) = Σ p·(log p − log q), ``reverse_kl`` = KL(Q‖P);
- ``js`` = ½·KL(P‖M) + ½·KL(Q‖M) with M = ½·(P + Q), at most log 2;
- the log-probability and rank (1 the most likely) of the observed token under both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from imprint.errors import DataError, require
from imprint.models.divergence_cpu import row_divergences

BLOCK = 32  # positions whose distributions are compared at once
HEAD_BLOCK = 128  # positions that go through an output head at once: it is read once for all
LOG_2 = math.log(2)
# logits [stop − start, vocabulary] of the positions from start up to stop, of any floating type
Logits = Callable[[int, int], Any]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Divergences:
    """What is known of every position; all arrays are [N].

    Attributes:
        kl, reverse_kl, js: nats, in float32 accuracy; never negative, 0 for equal logits.
        top1_same: whether both find the same token most likely, the first of equal ones.
        base_logprob, tuned_logprob: of the observed token, nats.
        base_rank, tuned_rank: 1 + the number of tokens that are more likely than the observed one.
    """

    kl: Floats
    reverse_kl: Floats
    js: Floats
    top1_same: Bools
    base_logprob: Floats
    tuned_logprob: Floats
    base_rank: Ints
    tuned_rank: Ints

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """Give the arrays by their names."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def divergences(base: Logits, tuned: Logits, targets: Any, *, block: int = BLOCK) -> Divergences:
    """Compare two models at every position.

    Where one vocabulary is padded beyond the other, both distributions are those over the tokens
    that both models have.

    Args:
        base, tuned: give logits of a range of positions.
        targets: [N] the observed tokens, integers.
        block: positions compared at once; no result depends on it beyond rounding.

    Raises:
        DataError: logits that are not numbers.
    """
    torch = require("torch", "models")
    columns: list[list[Any]] = []
    room: list[Any] = []
    with torch.inference_mode():
        for start in range(0, len(targets), HEAD_BLOCK):
            stop = min(start + HEAD_BLOCK, len(targets))
            one, other = same_width(base(start, stop), tuned(start, stop))
            # a GPU is idle in small blocks, a CPU's cache too small for large ones
            size = HEAD_BLOCK if one.is_cuda else block
            columns += _compared(torch, one, other, targets[start:stop], size, room)
    joined = [torch.cat(found).cpu() for found in zip(*columns, strict=True)]
    found = Divergences(*(_plain(values) for values in joined)) if joined else _none()
    _refuse_nan(found)
    return found


def same_width(one: Any, other: Any) -> tuple[Any, Any]:
    """Leave out the logits of tokens that only one of two models has."""
    width = min(one.shape[-1], other.shape[-1])
    return one[..., :width], other[..., :width]


def _compared(
    torch: Any, one: Any, other: Any, targets: Any, size: int, room: list[Any]
) -> Iterator[list[Any]]:
    if one.device.type == "cpu" and _readable(torch, one, other):
        size = len(one)
    elif one.device.type == "cpu" and not room:
        # the same two arrays for all blocks: an allocator may not find large freed ones again
        room += [torch.empty((size, one.shape[-1])) for _ in range(2)]
    for start in range(0, len(one), size):
        part = slice(start, start + size)
        seen = torch.as_tensor(targets[part], device=one.device, dtype=torch.long)
        yield list(_block(torch, one[part], other[part].to(one.device), seen, room))


def _readable(torch: Any, one: Any, other: Any) -> bool:
    """Whether compiled loops read such logits as they are."""
    known = one.dtype == other.dtype and one.dtype in (torch.float32, torch.bfloat16)
    return known and one.is_contiguous() and other.is_contiguous()


def _block(torch: Any, one: Any, other: Any, targets: Any, room: list[Any]) -> tuple[Any, ...]:
    if one.device.type != "cpu":
        return _by_torch(torch, one, other, targets)
    if not _readable(torch, one, other):
        one, other = (r[: len(x)].copy_(x) for r, x in zip(room, (one, other), strict=True))
    return _compiled(torch, one, other, targets)


def _compiled(torch: Any, base: Any, tuned: Any, targets: Any) -> tuple[Any, ...]:
    unsigned = torch.uint16 if base.dtype == torch.bfloat16 else torch.uint32
    p, q = (x.view(unsigned).numpy() for x in (base, tuned))
    found = torch.from_numpy(row_divergences(p, q, targets.numpy(), torch.get_num_threads()))
    kl, reverse, js, same, at_p, at_q, *ranks, finite = found.unbind(-1)
    sums = kl.clamp(min=0), reverse.clamp(min=0), js.clamp(min=0, max=LOG_2)
    columns = *sums, same.bool(), at_p, at_q, *(rank.long() for rank in ranks)
    left = finite == 0
    if bool(left.any()):
        # compiled loops assume that no value is infinite
        others = _by_torch(torch, base[left], tuned[left], targets[left])
        for column, values in zip(columns, others, strict=True):
            column[left] = values.to(column.dtype)
    return columns


def _by_torch(torch: Any, one: Any, other: Any, targets: Any) -> tuple[Any, ...]:
    log_p, log_q = (torch.log_softmax(x, -1, dtype=torch.float32) for x in (one, other))
    same, seen = one.argmax(-1) == other.argmax(-1), targets[:, None]
    at_p, at_q = log_p.gather(-1, seen), log_q.gather(-1, seen)
    spare = torch.empty_like(log_p)
    # counts are exact in float32 up to 2²⁴ tokens, and summed faster than truth values
    ranks = [(torch.gt(x, x.gather(-1, seen), out=spare).sum(-1) + 1).long() for x in (one, other)]
    gap = torch.sub(log_q, log_p, out=spare)
    kl, reverse, js = _sums(torch, log_p, log_q, gap)
    return kl, reverse, js, same, at_p[:, 0], at_q[:, 0], *ranks


def _sums(torch: Any, log_p: Any, log_q: Any, gap: Any) -> tuple[Any, Any, Any]:
    """Sum up the divergences; the three arguments are overwritten.

    With d = log q − log p, JS = ½·[Σ (p + q)·(log 2 − log(1 + eᵈ)) + Σ q·d], which is 0 for d = 0.
    """
    if not bool(torch.isfinite(gap).all()):
        return _with_zeros(torch, log_p, log_q)
    p, q = log_p.exp_(), log_q.exp_()
    kl, reverse = -torch.linalg.vecdot(p, gap), torch.linalg.vecdot(q, gap)
    both = p.add_(q)
    closeness = torch.nn.functional.softplus(gap, threshold=80.0).sub_(LOG_2)
    js = (reverse - torch.linalg.vecdot(both, closeness)) / 2
    return kl.clamp_(min=0), reverse.clamp_(min=0), js.clamp_(min=0, max=LOG_2)


def _with_zeros(torch: Any, log_p: Any, log_q: Any) -> tuple[Any, Any, Any]:
    """Do the same where logits of −∞ make a probability 0: such a term is 0, or the sum is ∞."""
    log_m = torch.logaddexp(log_p, log_q) - LOG_2

    def divergence(one: Any, other: Any) -> Any:
        terms = one.exp() * (one - other)
        return torch.where(one.isneginf(), 0.0, terms).sum(-1).clamp_(min=0)

    js = (divergence(log_p, log_m) + divergence(log_q, log_m)) / 2
    return divergence(log_p, log_q), divergence(log_q, log_p), js.clamp_(max=LOG_2)


def _plain(values: Any) -> npt.NDArray[Any]:
    kinds = {"b": np.bool_, "i": np.int64, "f": np.float64}
    found: npt.NDArray[Any] = values.numpy()
    return found.astype(kinds[found.dtype.kind])


def _none() -> Divergences:
    empty, whole = np.empty(0), np.empty(0, np.int64)
    return Divergences(empty, empty, empty, np.empty(0, np.bool_), empty, empty, whole, whole)


def _refuse_nan(found: Divergences) -> None:
    bad = np.isnan(found.kl) | np.isnan(found.reverse_kl)
    if bad.any():
        raise DataError(
            f"the logits at {int(bad.sum())} positions are not numbers",
            where=f"position {int(bad.argmax())}",
            remedy="a model may overflow in float16; try --dtype bf16 or fp32.",
        )
