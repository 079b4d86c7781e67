"""A study on a handful of sentences: two mixtures, one small scale, all stages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

COLOURS = ("red", "blue", "green", "white")
THINGS = tuple(f"{kind}{n}" for kind in ("box", "cup", "hat", "key") for n in range(8))


def colour(thing: str) -> str:
    return COLOURS[THINGS.index(thing) % 4]


def write_study(folder: Path, **changes: Any) -> Path:
    """Write corpora, questions, SFT and RL rows, facts and the YAML; give its path."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, source in enumerate(("plain", "noisy", "notes")):
        rows = [{"text": text} for text in _documents(number)]
        _lines(folder / f"{source}.jsonl", rows)
    _lines(folder / "colours.jsonl", _questions(0))
    _lines(folder / "backwards.jsonl", _questions(1))
    _lines(folder / "sft.jsonl", [_dialogue(thing) for thing in THINGS])
    _lines(folder / "rl.jsonl", [_prompt(n, thing) for n, thing in enumerate(THINGS)])
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({**SETTINGS, **changes}, sort_keys=False))
    return path


SETTINGS: dict[str, Any] = {
    "preset": "smoke",
    "corpora": {name: f"{name}.jsonl" for name in ("plain", "noisy", "notes")},
    "vocabulary": 320,
    "scales": {
        "xs": {
            "layers": 1,
            "width": 16,
            "heads": 2,
            "ffn": 32,
            "context": 32,
            "tokens": 4096,
            "batch": 8,
        }
    },
    "mixtures": {
        "sources": {"plain": "plain", "noisy": "noisy"},
        "slot": "web",
        "proportions": [{"web": 0.8, "notes": 0.2}, {"web": 0.4, "notes": 0.6}],
    },
    "sft": {"data": "sft.jsonl", "steps": 2, "batch": 4, "max_length": 32, "rows": 16},
    "rl": {"data": "rl.jsonl", "units": 1, "steps": 1, "prompts_per_step": 2, "group": 2},
    "benchmarks": ["colours.jsonl", "backwards.jsonl"],
    "analyses": ["rankings"],
    "workers": 1,
    "quiet": True,
}


def _documents(seed: int) -> list[str]:
    random = np.random.default_rng(seed)
    found = []
    for _ in range(200):
        things = random.choice(THINGS, 6)
        wrong = seed == 1 and random.random() < 0.5
        said = [
            f"the {t} is {COLOURS[random.integers(4)] if wrong else colour(t)} ." for t in things
        ]
        found.append(" ".join(said))
    return found


def _questions(shift: int) -> list[dict[str, Any]]:
    return [
        {
            "id": f"q{n}-{shift}",
            "question": f"the {thing} is",
            "choices": [COLOURS[(k + shift) % 4] for k in range(4)],
            "answer": [COLOURS[(k + shift) % 4] for k in range(4)].index(colour(thing)),
        }
        for n, thing in enumerate(THINGS)
    ]


def _dialogue(thing: str) -> dict[str, Any]:
    asked = {"role": "user", "content": f"what is the {thing} ?"}
    told = {"role": "assistant", "content": colour(thing)}
    return {"messages": [asked, told], "skill": "colour", "domain": thing[:3]}


def _prompt(number: int, thing: str) -> dict[str, Any]:
    prompt = f"what is the {thing} ?"
    return {"id": str(number), "prompt": prompt, "answer": colour(thing), "level": 0}


def _lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
