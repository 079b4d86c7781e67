"""A tokenizer of our own for small vocabularies, in the form that ``AutoTokenizer`` reads."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from imprint.errors import CheckpointError, ConfigError, DataError, require

BOS, EOS, PAD, USER, ASSISTANT = SPECIAL = (
    "<|bos|>",
    "<|eos|>",
    "<|pad|>",
    "<|user|>",
    "<|assistant|>",
)
BYTES = 256
COVERED = 0.98  # share of a text that whole words must make up
Kind = Literal["auto", "words", "bpe"]
# the markers around "generation" tell trainers which tokens to learn
CHAT = (
    "{{- bos_token }}"
    "{%- for message in messages %}"
    "{%- if message['role'] == 'assistant' %}"
    "{{- '<|assistant|>' }}"
    "{%- generation %}{{- message['content'] + eos_token }}{%- endgeneration %}"
    "{%- else %}{{- '<|user|>' + message['content'] }}"
    "{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|assistant|>' }}{%- endif %}"
)


def train_tokenizer(texts: Iterable[str], vocabulary: int, out: Path, kind: Kind = "auto") -> Path:
    """Make a tokenizer from texts and write it.

    Any text can be encoded: all 256 bytes are tokens. A text begins with ``<|bos|>``; the chat
    template puts ``<|user|>`` and ``<|assistant|>`` before turns and ``<|eos|>`` after answers.

    Args:
        texts: to learn from.
        vocabulary: tokens in all, at most.
        out: the folder.
        kind: ``words`` makes the most frequent words tokens and spells all others in bytes: best
            for a closed lexicon, where merges would fill a small vocabulary with parts of words.
            ``bpe`` merges bytes. ``auto`` takes words where those that fit make up 98 % of the
            texts.

    Returns:
        The folder.

    Raises:
        ConfigError: the vocabulary does not hold the bytes and the five special tokens.
        DataError: there is no text.
        DependencyError: transformers is not installed.
    """
    room = vocabulary - BYTES - len(SPECIAL)
    if room < 0:
        problem = f"a vocabulary of {vocabulary} does not hold 256 bytes and {len(SPECIAL)} marks"
        raise ConfigError(problem, where="vocabulary", remedy="give at least 261.")
    tokenizers, transformers = require("tokenizers", "lab"), require("transformers", "lab")
    level = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=True)
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(piece for piece, _ in level.pre_tokenize_str(text))
    if not counts:
        raise DataError("there is no text to learn a tokenizer from")
    chosen = [word for word, _ in _ranked(counts) if len(word) > 1][:room]
    if kind == "auto":
        covered = sum(counts[word] for word in chosen) + sum(counts[b] for b in level.alphabet())
        kind = "words" if covered >= COVERED * counts.total() else "bpe"
    if kind == "words":
        made = _of_words(tokenizers, chosen, counts)
    else:
        made = _of_merges(tokenizers, counts, vocabulary)
    made.pre_tokenizer, made.decoder = level, tokenizers.decoders.ByteLevel()
    _mark(tokenizers, made)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        additional_special_tokens=[USER, ASSISTANT],
        chat_template=CHAT,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    ).save_pretrained(out)
    return out


def open_tokenizer(given: str | Path) -> Any:
    """Open a tokenizer of transformers, a folder or the name of a repository.

    Raises:
        CheckpointError: it cannot be found or read.
        DependencyError: transformers is not installed.
    """
    transformers = require("transformers", "lab")
    try:
        return transformers.AutoTokenizer.from_pretrained(given, trust_remote_code=False)
    except (OSError, ValueError) as failed:
        reason = (str(failed).strip() or repr(failed)).splitlines()[0]
        raise CheckpointError(f"no tokenizer can be read: {reason}", where=str(given)) from failed


def copy_tokenizer(given: str | Path, out: Path) -> Path:
    """Write a given tokenizer to a folder of its own; errors as of :func:`open_tokenizer`."""
    open_tokenizer(given).save_pretrained(out)
    return out


def _ranked(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _of_words(tokenizers: Any, chosen: list[str], counts: Counter[str]) -> Any:
    """Give a unigram model: a word costs less than its spelling, whatever its letters."""
    total = counts.total()
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    rare = 2 * math.log(1 / total)
    pieces = [(mark, 0.0) for mark in SPECIAL]
    pieces += [(letter, rare) for letter in letters]
    pieces += [(word, math.log(counts[word] / total)) for word in chosen]
    return tokenizers.Tokenizer(tokenizers.models.Unigram(pieces, None, False))


def _of_merges(tokenizers: Any, counts: Counter[str], vocabulary: int) -> Any:
    """Give a model of byte pairs. The text was already split: words come as often as they did."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.Split("\n", "removed")
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    made.train_from_iterator(_repeated(counts), trainer)
    return made


def _repeated(counts: Counter[str]) -> Iterator[str]:
    for word, count in _ranked(counts):
        for start in range(0, count, 1000):
            yield "\n".join([word] * min(1000, count - start))


def _mark(tokenizers: Any, made: Any) -> None:
    """Make the marks special, and begin each text with the first."""
    made.add_special_tokens(list(SPECIAL))
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single=f"{BOS} $A",
        pair=f"{BOS} $A $B",
        special_tokens=[(BOS, made.token_to_id(BOS))],
    )
