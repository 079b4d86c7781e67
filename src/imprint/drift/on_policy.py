"""Drift where the tuned model itself goes: completions drawn from it, and how the base sees them.

At every drawn position KL(tuned‖base) is computed exactly over the vocabulary. Beside it stand two
estimators that know only the drawn token x and r = base(x) / tuned(x): k1 = −log r, and
k3 = r − 1 − log r, which is never negative; the mean of both over draws is KL(tuned‖base).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import polars as pl

from imprint.drift.pieces import Cutter, Ids, Piece, contexts, encode
from imprint.drift.texts import Sample
from imprint.errors import DataError, require
from imprint.models import Loaded

SEQUENCE = ("kl_tuned_base", "kl_base_tuned", "k1_tuned_base", "k3_tuned_base")
PROMPTS = 32  # prompts whose completions are drawn, and kept, together


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt as both models read it."""

    base: Ids
    tuned: Ids


def asked(samples: Sequence[Sample], cutter: Cutter, room: int) -> list[Asked]:
    """Encode prompts for both models; what does not fit beside the completion is cut off in front.

    Raises:
        DataError: a prompt without a token, or no room for any.
    """
    if cutter.limit - room < 1:
        raise DataError(
            f"--max-new-tokens {room} leaves no room for a prompt in {cutter.limit} tokens",
            remedy="ask for fewer.",
        )
    found = []
    for sample in samples:
        given = zip((cutter.base, cutter.tuned), contexts(sample, cutter.prompters), strict=True)
        sides = [encode(tokenizer, context) for tokenizer, context in given]
        if not all(sides):
            raise DataError("has no token", where=sample.place)
        cutter.noted["prompt_cut"] += max(map(len, sides)) > cutter.limit - room
        kept = [ids[-(cutter.limit - room) :] for ids in sides]
        found.append(Asked(*kept))
    return found


def draw(
    loaded: Loaded, prompts: Sequence[Ids], *, samples: int, length: int, seed: int, first: int = 0
) -> pl.DataFrame:
    """Draw completions at temperature 1 from the whole distribution.

    Draws depend on the seed and the prompt's number alone. A completion ends with the end-of-text
    token, which is kept, or at the length.

    Args:
        loaded: the model.
        prompts: token ids.
        samples: completions of each.
        length: tokens of a completion at most.
        seed: of the draws.
        first: number of the first prompt.

    Returns:
        One row per completion: ``prompt``, ``sample``, ``ids``.
    """
    torch = require("torch", "models")
    rows = []
    with _plain_sampling(loaded) as ends:
        for number, ids in enumerate(prompts, first):
            with torch.random.fork_rng(), torch.inference_mode():
                torch.manual_seed(int(np.random.SeedSequence([seed, number]).generate_state(1)[0]))
                given = torch.tensor([ids], device=loaded.device)
                out = loaded.model.generate(
                    given,
                    attention_mask=torch.ones_like(given),
                    num_return_sequences=samples,
                    max_new_tokens=length,
                )
            for sample, drawn in enumerate(out[:, len(ids) :].tolist()):
                rows.append({"prompt": number, "sample": sample, "ids": _ended(drawn, ends)})
    kinds = pl.Schema({"prompt": pl.Int64(), "sample": pl.Int64(), "ids": pl.List(pl.Int64())})
    return pl.DataFrame(rows, schema=kinds)


def pieces_of(drawn: pl.DataFrame, prompts: Sequence[Asked]) -> list[Piece]:
    """Put prompts and their completions together; a piece's sample is the completion's number."""
    found = []
    for number, (prompt, _, ids) in enumerate(drawn.iter_rows()):
        one, count = prompts[prompt], len(ids)
        found.append(
            Piece(
                number,
                (*one.base, *ids),
                (*one.tuned, *ids),
                tuple(ids),
                tuple(range(len(one.base), len(one.base) + count)),
                tuple(range(len(one.tuned), len(one.tuned) + count)),
                tuple(range(count)),
            )
        )
    return found


def estimates(tokens: pl.DataFrame, drawn: pl.DataFrame) -> pl.DataFrame:
    """Give every drawn position its exact divergences and estimators, direction in each name."""
    numbered = drawn.with_row_index("at").select(pl.col("at").cast(pl.Int64), "prompt", "sample")
    ratio = pl.col("base_logprob") - pl.col("tuned_logprob")
    return (
        tokens.rename({"sample": "at"})
        .join(numbered, on="at", how="left")
        .select(
            "prompt",
            "sample",
            "position",
            "token_id",
            kl_tuned_base="reverse_kl",
            kl_base_tuned="kl",
            k1_tuned_base=-ratio,
            k3_tuned_base=ratio.exp() - 1 - ratio,
            base_logprob="base_logprob",
            tuned_logprob="tuned_logprob",
            top1_same="top1_same",
        )
    )


def sequences(tokens: pl.DataFrame) -> pl.DataFrame:
    """Sum up the tokens of each completion: an exact sum has less noise than k1 alone."""
    return tokens.group_by("prompt", "sample", maintain_order=True).agg(
        pl.len().cast(pl.Int64).alias("tokens"), *(pl.col(name).sum() for name in SEQUENCE)
    )


@contextmanager
def _plain_sampling(loaded: Loaded) -> Iterator[set[int]]:
    """Set aside what the checkpoint says about sampling (top-k, penalties); give its end tokens."""
    transformers = require("transformers", "models")
    model, kept = loaded.model, loaded.model.generation_config
    told = kept.eos_token_id
    told = getattr(model.config, "eos_token_id", None) if told is None else told
    ends = [] if told is None else [told] if isinstance(told, int) else list(told)
    pad = getattr(loaded.tokenizer, "pad_token_id", None)
    model.generation_config = transformers.GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        eos_token_id=ends or None,
        pad_token_id=pad if pad is not None else (ends or [0])[0],
    )
    try:
        yield set(ends)
    finally:
        model.generation_config = kept


def _ended(ids: list[int], ends: set[int]) -> list[int]:
    stop = next((n for n, token in enumerate(ids) if token in ends), len(ids) - 1)
    return ids[: stop + 1]
