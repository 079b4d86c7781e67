"""From a query to the tokens that a model reads, and which of them are the query's own.

What stands before the query, the query and what stands behind it are encoded apart and put side by
side. So the query's tokens are the same whatever stands before it; in return no token reaches over
its edges, which a tokenizer that reads the whole text at once might have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from imprint.errors import DataError
from imprint.forecast.material import Text
from imprint.models.prompting import Prompter

MARK = "QUERY5c1e9ae4STANDS1d7bHERE"  # stands for the query while a template is rendered
EMPTY = range(0)


@dataclass(frozen=True, slots=True)
class Rendered:
    """A query as the model reads it.

    Attributes:
        ids: all tokens.
        query: positions of the query's own content.
        answer: positions of the answer behind it, where there is one.
        place: where the query comes from, for messages.
    """

    ids: tuple[int, ...]
    query: range
    answer: range | None = None
    place: str = ""

    @property
    def content(self) -> tuple[int, ...]:
        """The query's own tokens."""
        return self.ids[self.query.start : self.query.stop]


def render(
    tokenizer: Any,
    prompter: Prompter,
    query: Text,
    demonstrations: Sequence[Text] = (),
    answer: str | None = None,
    *,
    bos: bool = True,
) -> Rendered:
    """Render a query, bare or behind demonstrations.

    Args:
        tokenizer: of the model.
        prompter: chat template or plain text, and the system prompt.
        query: its prompt alone is rendered; its own answer never enters unless it is given.
        demonstrations: answered examples before it, turns of the chat where there is a template.
        answer: what stands behind the query's context.
        bos: begin with the start-of-text token where the tokenizer has one.

    Returns:
        Never cut: the caller compares its length with the context.

    Raises:
        DataError: the template changes the words of the prompt.
        ConfigError: the template cannot render these turns.
    """
    before, after = _around(prompter, query, demonstrations)
    head = _encode(tokenizer, before)
    start = tokenizer.bos_token_id
    if bos and start is not None and head[:1] != [start]:
        head.insert(0, start)
    own = _encode(tokenizer, query.prompt)
    tail = _encode(tokenizer, after)
    told = [] if answer is None else _encode(tokenizer, prompter.delimiter + answer)
    ids = (*head, *own, *tail, *told)
    span = range(len(head), len(head) + len(own))
    answered = None if answer is None else range(len(ids) - len(told), len(ids))
    return Rendered(ids, span, answered, query.place or query.name)


def scrambled(rendered: Rendered, special: Sequence[int], chances: np.random.Generator) -> Rendered:
    """Shuffle what stands before the query; its length and its special tokens stay in place.

    A context of equal length that says nothing. With equally seeded chances, renderings that share
    what stands before the query share it still.
    """
    before = np.array(rendered.ids[: rendered.query.start], dtype=np.int64)
    free = np.flatnonzero(~np.isin(before, np.array(list(special), dtype=np.int64)))
    before[free] = before[chances.permutation(free)]
    return replace(rendered, ids=(*before.tolist(), *rendered.ids[rendered.query.start :]))


def check_aligned(bare: Rendered, shown: Rendered) -> None:
    """Check that a query has the same tokens in both contexts.

    Raises:
        DataError: it has not.
    """
    if bare.content != shown.content:
        raise DataError(
            "the prompt has other tokens behind demonstrations than without them",
            where=bare.place,
            remedy="use another --chat-template.",
        )


def _around(prompter: Prompter, query: Text, demonstrations: Sequence[Text]) -> tuple[str, str]:
    """Give the text before and behind the query."""
    shots = [(one.prompt, one.answer or "") for one in demonstrations]
    whole = prompter.context(MARK, shots)
    before, mark, after = whole.rpartition(MARK)
    if not mark or MARK in before:
        raise DataError(
            "the chat template changes the words of the prompt or repeats them",
            where=query.place or None,
            remedy="use --chat-template none, or a template that leaves prompts as they are.",
        )
    return before, after


def _encode(tokenizer: Any, text: str) -> list[int]:
    if not text:
        return []
    return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
