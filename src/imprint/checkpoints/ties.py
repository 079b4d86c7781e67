"""Weights that one model uses under two names, resolved once.

Four forms are met on disk: (a) only the input embedding, with a flag in the config; (b) one copy
under either name, with a marker ``alias: stored`` in the metadata; (c) two equal copies; (d) two
different tensors, which are not tied.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from imprint.checkpoints.header import TensorInfo
from imprint.checkpoints.index import Index
from imprint.checkpoints.reading import same_values
from imprint.errors import CheckpointError

# input embedding and output head of the same model
PAIRS = (
    ("model.embed_tokens.weight", "lm_head.weight"),
    ("model.language_model.embed_tokens.weight", "lm_head.weight"),
    ("language_model.model.embed_tokens.weight", "language_model.lm_head.weight"),
    ("model.decoder.embed_tokens.weight", "lm_head.weight"),
    ("transformer.wte.weight", "lm_head.weight"),
    ("transformer.word_embeddings.weight", "lm_head.weight"),
    ("gpt_neox.embed_in.weight", "embed_out.weight"),
    ("backbone.embeddings.weight", "lm_head.weight"),
)
HEADED = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")


def find_aliases(index: Index, config: Mapping[str, Any]) -> dict[str, str]:
    """Find the names that stand for another stored tensor.

    Returns:
        Alias → the name that the weights are counted under. An alias may be stored too (form c).

    Raises:
        CheckpointError: the config ties two stored tensors that differ.
    """
    aliases = dict(_marked(index))
    aliases |= _shared(index.stored)
    tied = tie_flag(config)
    for embedding, head in PAIRS:
        if embedding not in index.stored or {embedding, head} & aliases.keys():
            continue
        if head in index.stored:
            if tied is not False and _copies(index, embedding, head, tied is True):
                aliases[head] = embedding
        elif tied or (tied is None and _has_head(config)):
            aliases[head] = embedding
    return aliases


def tie_flag(config: Mapping[str, Any]) -> bool | None:
    """Read ``tie_word_embeddings``, also of a nested text model; ``None`` where it is absent."""
    text = config.get("text_config")
    for place in (config, text if isinstance(text, dict) else {}):
        flag = place.get("tie_word_embeddings")
        if isinstance(flag, bool):
            return flag
    return None


def _marked(index: Index) -> Iterator[tuple[str, str]]:
    for metadata in (index.metadata, *(header.metadata for header in index.headers.values())):
        for alias, name in metadata.items():
            if isinstance(name, str) and name in index.stored and alias not in index.stored:
                yield alias, name


def _shared(stored: Mapping[str, TensorInfo]) -> dict[str, str]:
    """Find tensors of a ``.bin`` file that lie in the same place."""
    first: dict[tuple[object, ...], str] = {}
    aliases: dict[str, str] = {}
    heads = {head for _, head in PAIRS}
    for name, info in sorted(stored.items(), key=lambda item: item[0] in heads):
        if info.bytes:
            place = (info.file, info.start, info.shape, info.dtype)
            if (kept := first.setdefault(place, name)) != name:
                aliases[name] = kept
    return aliases


def _copies(index: Index, embedding: str, head: str, must: bool) -> bool:
    one, other = index.stored[embedding], index.stored[head]
    if same_values(one, other):
        return True
    if must:
        raise CheckpointError(
            f"{embedding!r} and {head!r} differ, but config.json says that they are tied",
            where=f"{one.where} and {other.where}",
            remedy="set tie_word_embeddings to false, or remove the copy that is not meant.",
        )
    return False


def _has_head(config: Mapping[str, Any]) -> bool:
    named = config.get("architectures")
    if not isinstance(named, list) or not named:
        return True
    return any(str(name).endswith(HEADED) for name in named)
