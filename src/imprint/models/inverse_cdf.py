"""Drawing tokens by inverse CDF with numbers that depend on nothing but a key and a step.

``torch.multinomial`` is slow over large vocabularies, and its generator makes a sample depend on
what else is in the batch. Here each row has a key, and the uniform number of a step is a hash of
both.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

from imprint.errors import require

Keys = npt.NDArray[np.uint64]
BLOCK = 128  # tokens summed before the search goes into one block
HELD_CPU = 1 << 20  # probabilities held at once: they stay in the processor's cache
HELD_GPU = 1 << 27


def key(*parts: int | str) -> int:
    """Give the 64-bit key of what tells a sample apart: seed, fact, template, sample.

    >>> key(0, "P36-x", 3, 9) == key(0, "P36-x", 3, 9) != key(0, "P36-x", 39)
    True
    """
    text = "\0".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def uniforms(keys: Keys, step: int) -> npt.NDArray[np.float64]:
    """Give a number in [0, 1) for each key at a step, [rows]; SplitMix64 of key and step."""
    golden = (step + 1) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
    z = keys + np.uint64(golden)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
    z ^= z >> np.uint64(31)
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53


def choose(logits: Any, numbers: npt.NDArray[np.float64], temperature: float) -> Any:
    """Draw one token per row: the first whose cumulated probability exceeds the row's number.

    Logits are taken to float32; probabilities are cumulated in order of the tokens' ids, over
    blocks in float64.

    Args:
        logits: [rows, vocabulary], of any floating type.
        numbers: in [0, 1), [rows].
        temperature: logits are divided by it; 0 takes the most likely token.

    Returns:
        Ids of the tokens, int64 [rows], where the logits are.
    """
    torch = require("torch", "models")
    if temperature == 0:
        return logits.argmax(-1)
    rows, vocabulary = logits.shape
    width = -(-vocabulary // BLOCK) * BLOCK
    held_at_once = HELD_CPU if logits.device.type == "cpu" else HELD_GPU
    at_once = max(1, held_at_once // width)
    held = torch.zeros((min(rows, at_once), width), dtype=torch.float32, device=logits.device)
    drawn = torch.from_numpy(numbers).to(logits.device)
    found = torch.empty(rows, dtype=torch.long, device=logits.device)
    for begin in range(0, rows, at_once):
        part = logits[begin : begin + at_once]
        weights = held[: len(part)]
        scaled = weights[:, :vocabulary]
        scaled.copy_(part)
        scaled.sub_(scaled.amax(-1, keepdim=True)).mul_(1 / temperature).exp_()
        found[begin : begin + at_once] = _search(torch, weights, drawn[begin : begin + at_once])
    return found


def _search(torch: Any, weights: Any, numbers: Any) -> Any:
    blocks = weights.view(len(weights), -1, BLOCK)
    sums = blocks.sum(-1).double()
    ends = sums.cumsum(-1)
    target = numbers[:, None] * ends[:, -1:]
    block = _first_above(torch, ends, target)
    inside = torch.take_along_dim(blocks, block[:, :, None], 1)[:, 0].double().cumsum(-1)
    rest = target - (torch.take_along_dim(ends - sums, block, 1))
    return (block * BLOCK + _first_above(torch, inside, rest))[:, 0]


def _first_above(torch: Any, ends: Any, target: Any) -> Any:
    """Find the first end above the target, or by rounding the last that adds anything."""
    found = torch.searchsorted(ends, target, right=True)
    last = torch.searchsorted(ends, ends[:, -1:].contiguous())
    return torch.minimum(found, last)
