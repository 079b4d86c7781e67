"""A toy study for chapters that train: colours of animals, a tiny model, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from imprint.lab.chapters.chapter import Budget, Material
from imprint.lab.ledger import Ledger

torch = pytest.importorskip("torch", reason="torch is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("trl", reason="trl is not installed")

ANIMALS = ["cat", "dog", "cow", "hen", "fox", "owl", "bat", "ant", "bee", "pig", "rat", "elk"]
PLACES = ["hill", "lake", "wood", "farm", "town", "cave", "moor", "pond"]
COLOURS = ["red", "blue", "green", "white"]
DOMAINS = ["farm", "wild", "home"]
BUDGET = Budget(
    facts=2, sizes=(8, 16), seeds=1, steps=4, rl_steps=1, rl_runs=4, prompts=4, resamples=100
)


def rows() -> list[dict[str, Any]]:
    """One question per animal and place; the colour follows from both."""
    return [
        {
            "id": f"{animal}-{place}",
            "domain": DOMAINS[(a + p) % 3],
            "skill": "colour",
            "level": 1,
            "prompt": f"what colour is the {animal} of the {place} ?",
            "answer": COLOURS[(a * p) % len(COLOURS)],
        }
        for a, animal in enumerate(ANIMALS)
        for p, place in enumerate(PLACES)
    ]


def chats() -> list[dict[str, Any]]:
    """The questions as rows of SFT."""
    return [
        {
            "messages": [
                {"role": "user", "content": row["prompt"]},
                {"role": "assistant", "content": row["answer"]},
            ],
            "skill": row["skill"],
            "domain": row["domain"],
        }
        for row in rows()
    ]


def texts() -> list[dict[str, str]]:
    """The same as statements."""
    told = "the {} of the {} is {} ."
    return [
        {
            "text": told.format(*row["id"].split("-"), row["answer"]),
            "domain": row["domain"],
            "register": "web",
        }
        for row in rows()
    ]


def material(folder: Path, **changed: Any) -> Material:
    """Everything that the chapters read; the model after SFT has begun to learn."""
    from imprint.lab.tokenizer import train_tokenizer

    sources = folder / "sources"
    sources.mkdir(parents=True, exist_ok=True)
    tokenizer = sources / "tokenizer"
    if not tokenizer.exists():
        said = [row["text"] for row in texts()] + [row["prompt"] for row in rows()]
        train_tokenizer(said, 320, tokenizer)
    if not (sources / "pretrained").exists():
        _model(tokenizer, sources / "pretrained")
        _tune(sources / "pretrained", sources / "sft")
    models = [
        {
            "model": str(sources / stage),
            "unit": "a",
            "scale": "xs",
            "stage": stage,
            "replicate": "0",
            "parameters": 1000,
        }
        for stage in ("pretrained", "sft")
    ]
    shape = {"layers": 1, "width": 16, "heads": 2, "ffn": 16, "context": 32, "vocabulary": 320}
    given: dict[str, Any] = {
        "ledger": Ledger(folder / "study"),
        "checkpoints": pl.DataFrame(models),
        "sft": _written(sources / "sft.jsonl", chats()),
        "rl": _written(sources / "rl.jsonl", rows()),
        "domains": _written(sources / "domains.jsonl", rows()),
        "facts": _written(sources / "facts.jsonl", _facts()),
        "templates": _templates(sources / "templates.json"),
        "corpora": {"web": _written(sources / "web.jsonl", texts())},
        "tokenizer": tokenizer,
        "pretraining": {
            "xs": {
                "shape": shape,
                "optimiser": {"lr": 0.01, "batch": 4, "tokens": 512},
                "engine": "batched",
                "dtype": "fp32",
                "device": "cpu",
                "mixtures": {"a": {"web": 1.0}},
            }
        },
        "budget": BUDGET,
        "device": "cpu",
        "quiet": True,
    }
    return Material(**{**given, **changed})


def _facts() -> list[dict[str, Any]]:
    return [
        {
            "fact": row["id"],
            "relation": "colour",
            "subject": " of the ".join(row["id"].split("-")),
            "answers": [row["answer"]],
            "question": row["prompt"],
            "split": "test",
        }
        for row in rows()
    ]


def _templates(path: Path) -> Path:
    told = {
        "relations": {
            "colour": {
                "question": "what colour is the {subject} ?",
                "statements": ["the {subject} is", "one sees that the {subject} is"],
            }
        }
    }
    path.write_text(json.dumps(told))
    return path


def _written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _model(tokenizer: Path, out: Path) -> None:
    from imprint.lab.pretraining import Shape

    loaded = transformers.AutoTokenizer.from_pretrained(tokenizer)
    torch.manual_seed(0)
    shape = Shape(layers=1, width=16, heads=2, ffn=16, context=32, vocabulary=320)
    transformers.LlamaForCausalLM(shape.llama_config(loaded)).save_pretrained(out)
    loaded.save_pretrained(out)


def _tune(base: Path, out: Path) -> None:
    from imprint.lab.sft import SftSettings, sft

    sft(base, chats(), out, SftSettings(steps=60, lr=0.01, device="cpu"))
