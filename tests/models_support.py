"""Tiny random language models on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")

LETTERS = "abcdefghijklmnopqrstuvwxyz ."
CONTEXT = 32


def tiny(
    folder: Path,
    *,
    seed: int = 0,
    dtype: str = "float32",
    tied: bool = False,
    layers: int = 2,
    near: Path | None = None,
    step: float = 0.02,
    shards: str = "5GB",
) -> Path:
    """Save a Llama with a tokenizer of letters; with ``near`` a small step away from another."""
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=tied,
        bos_token_id=0,
        eos_token_id=1,
        initializer_range=0.2,
    )
    model = transformers.LlamaForCausalLM(config)
    if near is not None:
        model.load_state_dict(transformers.LlamaForCausalLM.from_pretrained(near).state_dict())
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(step * torch.randn_like(weight))
    model.to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size=shards)
    letters_tokenizer().save_pretrained(folder)
    return folder


def letters_tokenizer(*, bos: bool = True) -> Any:
    """A token per letter; the first is the start of a text where there is one."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    vocab = {token: n for n, token in enumerate(["<s>", "</s>", "<unk>", *LETTERS])}
    inner = Tokenizer(models.WordLevel(vocab, "<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex("."), behavior="isolated")
    names = {"unk_token": "<unk>", "eos_token": "</s>", **({"bos_token": "<s>"} if bos else {})}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner, **names)


def state(folder: Path, dtype: str | None = None) -> dict[str, Any]:
    """The weights that transformers loads from a folder."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype or "auto")
    return dict(model.state_dict())


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)
