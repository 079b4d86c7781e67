"""Whether two checkpoints number their tokens alike: rows of embeddings meet only then."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imprint.checkpoints.index import read_object
from imprint.findings import Finding


def compare_tokenizers(base: Mapping[str, Path], tuned: Mapping[str, Path]) -> list[Finding]:
    """Compare the ``tokenizer.json`` of two checkpoints, where both have one.

    Args:
        base, tuned: carried files by name.

    Returns:
        A finding where an id stands for different tokens, the merges differ, or a file is laid out
        in another way than is known; nothing where the tokenizers agree on the ids that both have.
    """
    name = "tokenizer.json"
    if name not in base or name not in tuned:
        return []
    one, other = read_object(base[name]), read_object(tuned[name])
    try:
        return _differences(one, other)
    except (AttributeError, IndexError, KeyError, TypeError):
        # no reason to refuse the weights, which can be read all the same
        detail = f"whether token ids agree is not known: {name} is laid out in an unknown way"
        return [Finding("tokenizers_unknown", detail)]


def _differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[Finding]:
    tokens, others = _tokens(one), _tokens(other)
    moved = [i for i in tokens.keys() & others.keys() if tokens[i] != others[i]]
    if moved:
        first = min(moved)
        return [
            Finding(
                "tokenizers_differ",
                f"{len(moved)} token ids stand for different tokens in the two checkpoints "
                f"(first {first}: {tokens[first]!r} and {others[first]!r}); their rows of the "
                "embedding are compared by number all the same",
                count=len(moved),
            )
        ]
    if _merges(one) != _merges(other):
        return [Finding("tokenizers_differ", "the tokenizers split text by different merges")]
    return []


def _tokens(tokenizer: Mapping[str, Any]) -> dict[int, str]:
    model = tokenizer.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocabulary, dict):
        found = {number: token for token, number in vocabulary.items()}
    else:  # Unigram: [[token, score], …] in order of ids
        found = {number: entry[0] for number, entry in enumerate(vocabulary or [])}
    for entry in tokenizer.get("added_tokens") or []:
        found[entry["id"]] = entry["content"]
    return found


def _merges(tokenizer: Mapping[str, Any]) -> list[str]:
    model = tokenizer.get("model")
    merges = model.get("merges") if isinstance(model, dict) else None
    return [m if isinstance(m, str) else " ".join(m) for m in merges or []]
