"""Plain language-model loss of texts: how well a model predicts each token from those before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from imprint.errors import DataError, require
from imprint.models.load import Loaded

LONGEST = 2048  # tokens in a window, unless another length is asked for
LOGITS = 1 << 27  # logits held at once
TOKENS = 1 << 14  # tokens in a batch at most
Piece = tuple[int, list[int]]


def text_scores(
    loaded: Loaded, texts: Sequence[str], *, window: int | None = None
) -> npt.NDArray[np.float64]:
    """Give the mean log-probability per token of every text, in nats, [N]; higher is better.

    The start-of-text token is put before a text where the tokenizer has one; without it a text's
    first token is not scored. Longer texts are cut into windows that share one token, so that
    every token is scored exactly once. Logits are taken to float32 before the softmax.

    Args:
        loaded: model and tokenizer.
        texts: none empty.
        window: tokens the model sees at once; by default its context, at most 2,048.

    Raises:
        DataError: there is no tokenizer, or a text has no token to score.
    """
    if loaded.tokenizer is None:
        raise DataError("has no tokenizer, which texts need", where=str(loaded.folder))
    limit = min(window or LONGEST, loaded.context or LONGEST)
    pieces = [
        (number, piece)
        for number, text in enumerate(texts)
        for piece in windows(_tokens(loaded.tokenizer, text, number), limit)
    ]
    total, count = np.zeros(len(texts)), np.zeros(len(texts))
    for batch in _batches(pieces, _tokens_at_once(loaded, limit)):
        for (number, piece), found in zip(batch, _scored(loaded, batch), strict=True):
            total[number] += found
            count[number] += len(piece) - 1
    return total / count


def windows(ids: Sequence[int], limit: int) -> list[list[int]]:
    """Cut tokens so that each but the first is predicted once, from at most ``limit`` before it.

    >>> windows([1, 2, 3, 4, 5], 2)
    [[1, 2, 3], [3, 4, 5]]
    """
    return [list(ids[at : at + limit + 1]) for at in range(0, len(ids) - 1, limit)]


def _tokens(tokenizer: Any, text: str, number: int) -> list[int]:
    # a text longer than the tokenizer expects is cut into windows here: its warning would mislead
    ids = list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    if tokenizer.bos_token_id is not None:
        ids.insert(0, tokenizer.bos_token_id)
    if len(ids) < 2:
        raise DataError(f"the text {text[:40]!r} has no token to score", where=f"text {number + 1}")
    return ids


def _tokens_at_once(loaded: Loaded, limit: int) -> int:
    vocabulary = loaded.model.get_input_embeddings().weight.shape[0]
    return max(limit, min(TOKENS, LOGITS // int(vocabulary)))


def _batches(pieces: Sequence[Piece], tokens: int) -> Iterator[list[Piece]]:
    """Group pieces of like length, longest first, so that little is padded."""
    batch: list[Piece] = []
    for piece in sorted(pieces, key=lambda p: -len(p[1])):
        if batch and (len(batch) + 1) * len(batch[0][1]) > tokens:
            yield batch
            batch = []
        batch.append(piece)
    if batch:
        yield batch


def _scored(loaded: Loaded, batch: Sequence[Piece]) -> npt.NDArray[np.float64]:
    """Give the sum of the log-probabilities of each piece, [pieces]."""
    torch = require("torch", "models")
    longest = len(batch[0][1])
    # padding stands behind the text, where a causal model cannot see it
    ids = torch.zeros((len(batch), longest), dtype=torch.long)
    mask = torch.zeros((len(batch), longest), dtype=torch.long)
    for row, (_, piece) in enumerate(batch):
        ids[row, : len(piece)] = torch.tensor(piece)
        mask[row, : len(piece)] = 1
    ids, mask = ids.to(loaded.device), mask.to(loaded.device)
    with torch.inference_mode():
        found = loaded.model(
            input_ids=ids[:, :-1], attention_mask=mask[:, :-1], use_cache=False
        ).logits
        targets = ids[:, 1:].masked_fill(mask[:, 1:] == 0, -100)
        losses = torch.nn.functional.cross_entropy(
            found.float().transpose(1, 2), targets, reduction="none", ignore_index=-100
        )
        sums: npt.NDArray[np.float64] = -losses.double().sum(dim=1).cpu().numpy()
    return sums
