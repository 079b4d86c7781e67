"""Scoring trees of requests, after a common beginning that was read once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imprint.errors import require
from imprint.models.batching import Batcher, padded
from imprint.models.engine import Likelihood
from imprint.models.likelihood import Answer, likelihoods, logits, weight
from imprint.models.load import Loaded
from imprint.models.plan import Family
from imprint.models.requests import Request
from imprint.models.tree import Integers, Tree, common, grow

TRUNK = 64  # tokens from which a row's common beginning is read in a pass of its own


@dataclass(frozen=True, slots=True)
class Row:
    """Requests laid out together.

    Attributes:
        requests: at least one.
        skip: tokens that were read before.
    """

    requests: list[Request]
    skip: int

    def weight(self, loaded: Loaded) -> int:
        """Give about what the row costs, in tokens; the tree itself is grown when it is needed."""
        contexts = {one.ids[: len(one.ids) - len(one.targets) + 1] for one in self.requests}
        options = sum(len(one.targets) - 1 for one in self.requests)
        tokens = sum(len(context) - self.skip for context in contexts) + options
        return self.skip + weight(loaded, tokens, len(contexts) + options)

    def trunk(self) -> tuple[int, ...]:
        """Give what all requests of the row begin with, at most all but one of a context."""
        one, other = (pick(each.ids for each in self.requests) for pick in (min, max))
        shortest = min(len(each.ids) - len(each.targets) for each in self.requests)
        return one[: common(np.array(one[:shortest]), np.array(other[:shortest]))]


def score_family(
    loaded: Loaded, family: Family, requests: Sequence[Request], batcher: Batcher
) -> dict[int, Likelihood]:
    """Give the likelihoods of a family's requests, by their numbers."""
    rows = [Row([requests[number] for number in row], family.skip) for row in family.rows]
    kept = _read(loaded, rows[0], batcher) if family.skip else []
    found = batcher.run(
        rows,
        lambda row: row.weight(loaded),
        lambda batch: _batch(loaded, batch, kept),
    )
    return {
        number: one
        for numbers, answers in zip(family.rows, found, strict=True)
        for number, one in zip(numbers, answers, strict=True)
    }


def _read(loaded: Loaded, row: Row, batcher: Batcher) -> list[tuple[Any, Any]]:
    """Read a common beginning; give the keys and values of each layer, [1, heads, skip, width]."""
    ids = row.requests[0].ids[: row.skip]
    cache = batcher.run([ids], len, lambda batch: [_prefill(loaded, batch)])[0]
    return [(layer.keys, layer.values) for layer in cache.layers]


def _prefill(loaded: Loaded, rows: Sequence[tuple[int, ...]]) -> Any:
    """Read rows of tokens, filled up on the right, and give their cache."""
    torch, transformers = require("torch", "models"), require("transformers", "models")
    cache = transformers.DynamicCache()
    ids = torch.tensor(list(padded(rows)), device=loaded.device)
    with torch.inference_mode():
        loaded.model(input_ids=ids, past_key_values=cache, use_cache=True, **loaded.keeping(1))
    return cache


def _batch(
    loaded: Loaded, batch: Sequence[Row], kept: list[tuple[Any, Any]]
) -> list[list[Likelihood]]:
    torch = require("torch", "models")
    before = [row.trunk() for row in batch]
    # plain causal attention costs half of one with a mask, so long contexts are read by it first
    first = not kept and min(map(len, before)) >= TRUNK
    skips = [len(ids) for ids in before] if first else [row.skip for row in batch]
    cache = _prefill(loaded, before) if first else _cache(kept, len(batch))
    trees = [grow(row.requests, skip) for row, skip in zip(batch, skips, strict=True)]
    keep = max(tree.wanted for tree in trees)
    ids, positions, sees = (torch.from_numpy(each) for each in _arrays(trees, skips))
    with torch.inference_mode():
        found = logits(
            loaded,
            keep,
            input_ids=ids.to(loaded.device),
            position_ids=positions.to(loaded.device),
            attention_mask=_additive(torch, sees.to(loaded.device), loaded.model.dtype),
            past_key_values=cache,
            use_cache=cache is not None,
        )
        answers = iter(likelihoods(found, list(_answers(batch, trees, keep))))
    return [[next(answers) for _ in row.requests] for row in batch]


def _arrays(
    trees: Sequence[Tree], skips: Sequence[int]
) -> tuple[Integers, Integers, npt.NDArray[np.bool_]]:
    """Put trees side by side, filled up on the left: ids, positions and what each token sees."""
    width, past = max(len(tree.tokens) for tree in trees), max(skips)
    ids = np.zeros((len(trees), width), np.int64)
    positions = np.zeros((len(trees), width), np.int64)
    sees = np.zeros((len(trees), 1, width, past + width), bool)
    # a place that only fills up sees itself, since a softmax over nothing is not defined
    sees[:, :, np.arange(width), past + np.arange(width)] = True
    for at, (tree, skip) in enumerate(zip(trees, skips, strict=True)):
        begin = width - len(tree.tokens)
        ids[at, begin:] = tree.tokens
        positions[at, begin:] = skip + tree.depths
        sees[at, 0, begin:, :skip] = True
        sees[at, 0, begin:, past + begin :] = tree.sees
    return ids, positions, sees


def _additive(torch: Any, sees: Any, dtype: Any) -> Any:
    """Give 0 where a token is seen and the least number where not, as attention adds it."""
    mask = torch.zeros(sees.shape, dtype=dtype, device=sees.device)
    return mask.masked_fill_(~sees, torch.finfo(dtype).min)


def _cache(kept: list[tuple[Any, Any]], rows: int) -> Any:
    """Give the keys and values of the beginning to each row, without changing them."""
    if not kept:
        return None
    transformers = require("transformers", "models")
    wide = [tuple(each.expand(rows, -1, -1, -1) for each in layer) for layer in kept]
    return transformers.DynamicCache(wide)


def _answers(batch: Sequence[Row], trees: Sequence[Tree], keep: int) -> Iterator[Answer]:
    for at, (row, tree) in enumerate(zip(batch, trees, strict=True)):
        last = keep - len(tree.tokens)
        for places, one in zip(tree.answers, row.requests, strict=True):
            yield at, places + last, one
