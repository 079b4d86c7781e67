"""Tokenizers of the models, compared before any model runs: equal ids must mean equal tokens."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from imprint.errors import DataError
from imprint.findings import Finding

SHOWN = 3  # differences shown of each kind


def compare(base: Any, tuned: Any, texts: Iterable[str], name: str) -> list[Finding]:
    """Compare two tokenizers by their vocabularies, and by what they make of the texts.

    Returns:
        What one has beyond the other, which does no harm where no text uses it.

    Raises:
        DataError: a token has two ids, an id two tokens, or a text is cut in two ways.
    """
    one, other = base.get_vocab(), tuned.get_vocab()
    _refuse_moved(one, other, name)
    for text in texts:
        ids, others = (t(text, verbose=False)["input_ids"] for t in (base, tuned))
        if ids != others:
            raise _cut_otherwise(base, tuned, ids, others, name)
    return _beyond(one, other, name)


def _refuse_moved(one: dict[str, int], other: dict[str, int], name: str) -> None:
    moved = [(t, one[t], other[t]) for t in one.keys() & other.keys() if one[t] != other[t]]
    tokens, others = ({at: t for t, at in v.items()} for v in (one, other))
    taken = [(tokens[i], i, others[i]) for i in tokens.keys() & others.keys()]
    renamed = [entry for entry in taken if entry[0] != entry[2]]
    if not moved and not renamed:
        return
    shown = [f"{t!r} is {a} in the base and {b} here" for t, a, b in sorted(moved)[:SHOWN]]
    by_id = sorted(renamed, key=lambda entry: entry[1])[:SHOWN]
    shown += [f"id {i} is {a!r} in the base and {b!r} here" for a, i, b in by_id]
    raise DataError(
        f"another tokenizer than the base's: {len(moved)} tokens have other ids, {len(renamed)} "
        f"ids other tokens; {'; '.join(shown[:SHOWN])}",
        where=name,
        remedy="distributions can be compared token by token only over one vocabulary.",
    )


def _cut_otherwise(base: Any, tuned: Any, ids: Any, others: Any, name: str) -> DataError:
    at = next((n for n, (a, b) in enumerate(zip(ids, others, strict=False)) if a != b), None)
    at = min(len(ids), len(others)) if at is None else at
    said = [
        t.convert_ids_to_tokens(found[at : at + 6]) for t, found in ((base, ids), (tuned, others))
    ]
    return DataError(
        f"cuts a text otherwise than the base's tokenizer, from token {at}: {said[0]} in the base, "
        f"{said[1]} here",
        where=name,
        remedy="use one tokenizer for both, or texts that both cut alike.",
    )


def _beyond(one: dict[str, int], other: dict[str, int], name: str) -> list[Finding]:
    found = []
    for side, more in (("base", one.keys() - other.keys()), (name, other.keys() - one.keys())):
        if more:
            shown = ", ".join(map(repr, sorted(more)[:SHOWN]))
            detail = (
                f"{side} has {len(more)} tokens that the other lacks ({shown}); no text uses them"
            )
            found.append(Finding("more_tokens", detail, "info", count=len(more)))
    return found
