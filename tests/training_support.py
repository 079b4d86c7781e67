"""A tiny model with words and a chat template, and sets to train it on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("trl", reason="trl is not installed")

COLOURS = ("red", "blue", "green", "white")
THINGS = ("bak", "dom", "fip", "gul", "hov", "jaz", "kel", "lum", "mip", "nor")
SPECIAL = ("<|bos|>", "<|eos|>", "<|pad|>", "<|user|>", "<|assistant|>", "<|unk|>")
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}<|user|> {{ m['content'] }} "
    "{% else %}<|assistant|> {% generation %}{{ m['content'] }} {{ eos_token }}{% endgeneration %}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def word_tokenizer(template: str | None = TEMPLATE) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    words = [*SPECIAL, *COLOURS, *THINGS, "what", "colour", "is", "?"]
    inner = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, SPECIAL[-1]))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.decoder = decoders.WordPiece(prefix="##")
    made = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token=SPECIAL[0],
        eos_token=SPECIAL[1],
        pad_token=SPECIAL[2],
        unk_token=SPECIAL[-1],
        additional_special_tokens=list(SPECIAL[3:5]),
    )
    made.chat_template = template
    return made


def word_model(folder: Path, *, seed: int = 0, template: str | None = TEMPLATE) -> Path:
    tokenizer = word_tokenizer(template)
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def colour(thing: str) -> str:
    return COLOURS[THINGS.index(thing) % len(COLOURS)]


def chats(count: int = 40) -> list[dict[str, Any]]:
    things = [THINGS[at % len(THINGS)] for at in range(count)]
    return [
        {
            "messages": [
                {"role": "user", "content": f"what colour is {thing} ?"},
                {"role": "assistant", "content": colour(thing)},
            ],
            "skill": "colour",
            "domain": "things",
        }
        for thing in things
    ]


def accuracy(model: Path) -> float:
    """Share of things whose colour the model finds the most likely one."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(model).eval()
    right = 0
    for thing in THINGS:
        asked = [{"role": "user", "content": f"what colour is {thing} ?"}]
        ids = tokenizer.apply_chat_template(
            asked, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        with torch.no_grad():
            right += tokenizer.decode(loaded(**ids).logits[0, -1].argmax()).strip() == colour(thing)
    return right / len(THINGS)


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
