"""From texts to the tokens that are scored.

The rule is that of lm-eval (``TemplateLM._encode_pair`` and ``HFLM.tok_encode``, version 0.4.13),
so that the same requests give the same numbers: context and continuation are encoded jointly and
split at the length of the context's own encoding; blanks at the context's end go to the
continuation; an empty context is the start-of-text token, or the end-of-text token without one;
what does not fit is cut from the left.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from imprint.errors import DataError
from imprint.models.load import Loaded

UNSET = 2048  # tokens of context where neither config nor tokenizer tells
INFINITE = 10**12  # what tokenizers say where no length was set is far above


@dataclass(frozen=True, slots=True)
class Request:
    """Tokens to score after others.

    Attributes:
        ids: what the model reads, the last continuation token not among it.
        targets: the continuation's tokens; they follow the last ``len(targets)`` of ``ids``.
        cut: tokens cut from the left.
    """

    ids: tuple[int, ...]
    targets: tuple[int, ...]
    cut: int = 0


@dataclass(frozen=True)
class Encoder:
    """Encodes contexts and continuations for a model.

    Attributes:
        loaded: model and tokenizer.
        limit: tokens that the model reads at once; by default what its config or tokenizer tells.
    """

    loaded: Loaded
    max_length: int | None = None

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer.

        Raises:
            DataError: the model has none.
        """
        if self.loaded.tokenizer is None:
            raise DataError("has no tokenizer, which texts need", where=str(self.loaded.folder))
        return self.loaded.tokenizer

    @cached_property
    def limit(self) -> int:
        """The most tokens that the model reads at once."""
        told = getattr(self.tokenizer, "model_max_length", None)
        fallback = int(told) if told and told < INFINITE else UNSET
        return self.max_length or self.loaded.context or fallback

    @cached_property
    def prefix(self) -> int:
        """The token that stands for an empty context.

        Raises:
            DataError: the tokenizer knows neither a start nor an end of text.
        """
        for token in (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id):
            if token is not None:
                return int(token)
        raise DataError(
            "the tokenizer has neither a start- nor an end-of-text token for an empty context",
            where=str(self.loaded.folder),
        )

    @cached_property
    def start(self) -> str | None:
        """The text of the prefix token; a text that begins with it gets no other."""
        known = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        return None if known == (None, None) else str(self.tokenizer.decode(self.prefix))

    def encode(self, text: str, *, special: bool | None = None) -> list[int]:
        """Encode a text; special tokens as the tokenizer has it, unless told otherwise."""
        options: dict[str, bool] = {} if special is None else {"add_special_tokens": special}
        if special is None and self.start and text.startswith(self.start):
            options = {"add_special_tokens": False}
        # a text longer than the tokenizer expects is cut and counted later: no warning is due
        return list(self.tokenizer(text, verbose=False, **options)["input_ids"])

    def pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Give the tokens of a context and of what follows it.

        Raises:
            DataError: the continuation has no token of its own.
        """
        kept = context.rstrip()
        first = self.encode(kept) if context else []
        if first:
            text = kept + context[len(kept) :] + continuation
            pair = first, self.encode(text)[len(first) :]
        else:
            ids = self.encode(context + continuation, special=False)
            shared = ids[:1] == [self.prefix]
            pair = (ids[:1], ids[1:]) if shared else ([self.prefix], ids)
        if not pair[1]:
            raise DataError(
                f"the continuation {continuation[:60]!r} has no token of its own "
                f"after the context that ends {context[-60:]!r}"
            )
        return pair

    def request(self, context: str, continuation: str) -> Request:
        """Give the tokens to score a continuation by.

        Raises:
            DataError: the continuation has no token of its own, or more than the model reads.
        """
        before, ids = self.pair(context, continuation)
        if len(ids) > self.limit:
            raise DataError(
                f"the continuation {continuation[:60]!r} has {len(ids)} tokens, "
                f"the model reads {self.limit} at once",
                remedy="take a model of a longer context, or leave the question out.",
            )
        return cut(before, ids, self.limit)


def cut(context: list[int], continuation: list[int], limit: int) -> Request:
    """Cut what does not fit from the left, never the continuation.

    The last token of the continuation is only predicted, so one token more than the limit fits.

    >>> cut([1, 2, 3], [4, 5], 3)
    Request(ids=(2, 3, 4), targets=(4, 5), cut=1)

    Raises:
        DataError: the continuation is empty, or longer than the model reads.
    """
    if not 0 < len(continuation) <= limit:
        raise DataError(
            f"a continuation has {len(continuation)} tokens, the model reads 1 to {limit}"
        )
    whole = context + continuation
    kept = whole[-(limit + 1) :]
    return Request(tuple(kept[:-1]), tuple(continuation), len(whole) - len(kept))
