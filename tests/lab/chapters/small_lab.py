"""A tiny world on disk: a model that reads words, facts, texts, SFT sets and domains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")

from imprint.lab.chapters.chapter import Budget, Material  # noqa: E402
from imprint.lab.ledger import Ledger  # noqa: E402

NAMES = [f"name{n}" for n in range(24)]
TOWNS = [f"town{n}" for n in range(6)]
DOMAINS = ["stone", "river", "bird", "fire", "wheat", "glass"]
COLOURS = ("red", "blue")
PLAIN = "where does live ? . in the of a is what colour red blue"
WORDS = [*NAMES, *TOWNS, *DOMAINS, *PLAIN.split()]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}<|user|> {{ m['content'] }} "
    "<|assistant|>{% else %}{% generation %} {{ m['content'] }}{{ eos_token }}{% endgeneration %}"
    "{% endif %}{% endfor %}"
)
BUDGET = Budget(
    facts=3, samples=2, texts=12, sizes=(8, 16), steps=4, domain_items=8, sae_tokens=2000,
    ratios=(0.2, 0.5), resamples=100, models=3,
)  # fmt: skip


def model(folder: Path, *, seed: int = 0, near: Path | None = None, chat: bool = False) -> Path:
    torch.manual_seed(seed)
    tokenizer = _tokenizer(chat)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=64,
        tie_word_embeddings=True, bos_token_id=0, eos_token_id=1, initializer_range=0.2,
    )  # fmt: skip
    made = transformers.LlamaForCausalLM(config)
    if near is not None:
        made.load_state_dict(transformers.LlamaForCausalLM.from_pretrained(near).state_dict())
        with torch.no_grad():
            for weight in made.parameters():
                weight.add_(0.02 * torch.randn_like(weight))
    made.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def material(folder: Path, *, trains: bool = False, chat: bool = False, **changed: Any) -> Material:
    base = model(folder / "base", chat=chat)
    tuned = model(folder / "tuned", seed=1, near=base, chat=chat)
    checkpoints = pl.DataFrame(
        [
            {"model": str(path), "unit": "u", "stage": stage, "scale": "s", "parameters": 5000,
             "replicate": "0"}
            for path, stage in ((base, "pretrained"), (tuned, "sft"))
        ]
    )  # fmt: skip
    found = Material(
        Ledger(folder / "study"),
        checkpoints,
        facts=lines(folder / "facts.jsonl", facts()),
        templates=_templates(folder / "templates.json"),
        texts=lines(folder / "texts.jsonl", texts()),
        sft=lines(folder / "sft.jsonl", [dialogue(row) for row in domain_rows()]),
        sft_sets={
            name: lines(folder / f"{name}.jsonl", [dialogue(r) for r in domain_rows(names)])
            for name, names in (("early", DOMAINS[:2]), ("late", DOMAINS[3:5]))
        },
        domains=lines(folder / "domains.jsonl", domain_rows()),
        pretraining={"s": {}} if trains else {},
        budget=BUDGET,
        quiet=True,
    )
    for name, value in changed.items():
        setattr(found, name, value)
    return found


def facts() -> list[dict[str, Any]]:
    return [
        {
            "fact": f"f{n}", "relation": "lives", "subject": name, "answers": [TOWNS[n % 6]],
            "question": f"where does {name} live ?", "split": "train" if n % 3 else "test",
        }
        for n, name in enumerate(NAMES)
    ]  # fmt: skip


def texts() -> list[dict[str, Any]]:
    told = [
        f"{name} is in {TOWNS[n % 6]} . the {DOMAINS[n % 6]} is {COLOURS[n % 2]} ."
        for n, name in enumerate(NAMES)
    ]
    return [{"text": " ".join(told[n:] + told[:n])} for n in range(len(told))]


def domain_rows(names: list[str] = DOMAINS) -> list[dict[str, Any]]:
    return [
        {
            "domain": name, "prompt": f"what colour is the {name} of {who} ?",
            "answer": COLOURS[(DOMAINS.index(name) + n) % 2],
        }
        for name in names
        for n, who in enumerate(NAMES[:12])
    ]  # fmt: skip


def dialogue(row: dict[str, Any]) -> dict[str, Any]:
    return {"prompt": row["prompt"], "completion": f" {row['answer']}", "domain": row["domain"]}


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _templates(path: Path) -> Path:
    told = {"lives": {"question": "where does {subject} live ?",
                      "statements": ["{subject} is in", "the {subject} is in"]}}  # fmt: skip
    path.write_text(json.dumps({"relations": told}))
    return path


def _tokenizer(chat: bool) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers

    special = ["<s>", "</s>", "<unk>", "<|user|>", "<|assistant|>"]
    inner = Tokenizer(models.WordLevel({w: n for n, w in enumerate([*special, *WORDS])}, "<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    named = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, chat_template=TEMPLATE if chat else None, **named
    )
