"""Sampling groups of continuations quickly while a small model trains."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from imprint.errors import require
from imprint.models.inverse_cdf import Keys, choose, key, uniforms

CROWDED = 0.75  # rows that are done leave the batch when fewer than this share go on


def sample(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    ends: Collection[int],
    temperature: float,
    max_new_tokens: int,
    seed: Sequence[int | str],
) -> list[list[int]]:
    """Continue prompts once each; equal prompts are read together.

    Tokens are drawn by inverse CDF with numbers that depend on the seed and the row alone.

    Args:
        model: causal, of transformers; left in the mode it is in.
        prompts: tokens of each row, none empty.
        ends: tokens that end a row; kept as its last.
        temperature: of the draws; 0 is greedy.
        max_new_tokens: at which a row ends.
        seed: what the draws depend on, such as the seed and the step.

    Returns:
        The new tokens of each row.
    """
    torch = require("torch", "lab")
    keys: Keys = np.array([key(*seed, row) for row in range(len(prompts))], dtype=np.uint64)
    found: list[list[int]] = [[] for _ in prompts]
    with torch.inference_mode():
        logits, cache, mask = _read(torch, model, prompts)
        alive, going = np.arange(len(prompts)), np.ones(len(prompts), dtype=bool)
        for step in range(max_new_tokens):
            tokens = choose(logits, uniforms(keys[alive], step), temperature)
            for at in np.flatnonzero(going):
                token = int(tokens[at])
                found[alive[at]].append(token)
                going[at] = token not in ends
            if not going.any() or step + 1 == max_new_tokens:
                break
            if going.mean() < CROWDED:
                kept = torch.from_numpy(np.flatnonzero(going)).to(mask.device)
                cache.batch_select_indices(kept)
                mask, tokens = mask[kept], tokens[kept]
                alive, going = alive[going], going[going]
            mask = torch.cat([mask, mask.new_ones((len(mask), 1))], dim=1)
            logits = _forward(model, tokens[:, None], mask, cache)
    return found


def _read(torch: Any, model: Any, prompts: Sequence[Sequence[int]]) -> tuple[Any, Any, Any]:
    """Read each different prompt once; give logits, keys and values, and mask of every row."""
    different = list(dict.fromkeys(tuple(one) for one in prompts))
    at = {one: n for n, one in enumerate(different)}
    longest = max(map(len, different))
    ids = [[0] * (longest - len(one)) + list(one) for one in different]
    seen = [[0] * (longest - len(one)) + [1] * len(one) for one in different]
    device = next(model.parameters()).device
    mask = torch.tensor(seen, device=device)
    cache = require("transformers.cache_utils", "lab").DynamicCache(config=model.config)
    logits = _forward(model, torch.tensor(ids, device=device), mask, cache)
    rows = torch.tensor([at[tuple(one)] for one in prompts], device=device)
    cache.batch_select_indices(rows)
    return logits[rows], cache, mask[rows]


def _forward(model: Any, ids: Any, mask: Any, cache: Any) -> Any:
    """Give the logits after the last token, [rows, vocabulary]."""
    positions = (mask.cumsum(1) - 1).clamp_min(0)[:, -ids.shape[1] :]
    return model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits[:, -1]
