"""Questions of known answer, and the exact probability that a model answers them right.

The probability of the whole answer, its end included, is what the pass rate at temperature 1 tends
to as rollouts grow in number; one forward pass gives it without the noise of drawing. Whether the
answer is the greedy one comes from the same pass.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl

from imprint.runs import write_atomic

Message = dict[str, str]
T = TypeVar("T")
SCORES: dict[str, pl.DataType] = {
    "item": pl.String(),
    "domain": pl.String(),
    "probability": pl.Float64(),
    "greedy": pl.Boolean(),
}


@dataclass(frozen=True, slots=True)
class Item:
    """A question with its answer.

    Attributes:
        id: the start of the sha256 of question and answer.
        domain: what it belongs to; items of a domain are resampled together.
        turns: the conversation before the answer; empty for a plain text.
        text: a plain text that the answer follows, where there are no turns.
        answer: what is right.
    """

    id: str
    domain: str
    turns: tuple[Message, ...]
    text: str
    answer: str

    @property
    def asked(self) -> str:
        """The question as one text, to tell items apart."""
        return self.text or "\n".join(turn["content"] for turn in self.turns)

    @property
    def taught(self) -> dict[str, Any]:
        """The item as a row to fine-tune on."""
        said = {"role": "assistant", "content": self.answer}
        return {"messages": [*self.turns, said], "skill": self.domain, "domain": self.domain}

    @property
    def row(self) -> dict[str, Any]:
        """The item as a row of prompts, as ``imprint evaluate --prompts`` reads it."""
        prompt = list(self.turns) if self.turns else self.text
        return {"id": self.id, "domain": self.domain, "prompt": prompt, "answer": self.answer}


def chat(question: str, answer: str, domain: str) -> Item:
    """Make an item of a question and its answer."""
    turns = ({"role": "user", "content": question},)
    return Item(_id(question, answer), domain, turns, "", answer)


def plain(text: str, answer: str, domain: str) -> Item:
    """Make an item of a text and what follows it."""
    return Item(_id(text, answer), domain, (), text, answer)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def of_rows(rows: Iterable[Mapping[str, Any]], *, longest: int | None = None) -> list[Item]:
    """Make items of SFT rows (``messages``) or prompts (``prompt``, ``answer``), once each.

    Args:
        rows: with ``domain`` or else ``skill`` where they have one.
        longest: words of the answer; rows with a longer one are left out.
    """
    found: dict[str, Item] = {}
    for row in rows:
        item = _item(row)
        if item is not None and (longest is None or len(item.answer.split()) <= longest):
            found.setdefault(item.id, item)
    return list(found.values())


def split(items: Sequence[Item], held: float, seed: int) -> tuple[list[Item], list[Item]]:
    """Part items at random into those to train on and those held out.

    Items of one question stay together, so that no question is on both sides.

    Args:
        items: to part.
        held: share of the questions that is held out.
        seed: of the draw.
    """
    questions = sorted({item.asked for item in items})
    order = np.random.default_rng([seed, 11]).permutation(len(questions))
    kept = {questions[place] for place in order[: round(held * len(questions))].tolist()}
    return [i for i in items if i.asked not in kept], [i for i in items if i.asked in kept]


def take(items: Sequence[T], count: int | None, seed: int) -> list[T]:
    """Draw so many items without replacement; the first of a draw are those of a smaller one."""
    order = np.random.default_rng([seed, 13]).permutation(len(items))[:count]
    return [items[place] for place in order.tolist()]


def write_items(path: Path, items: Sequence[Item]) -> None:
    """Write items, one JSON object per line."""
    write_atomic(path, "".join(json.dumps(asdict(item)) + "\n" for item in items))


def read_items(path: Path) -> list[Item]:
    """Read what ``write_items`` wrote."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [Item(**{**row, "turns": tuple(row["turns"])}) for row in rows]


def score(model: str | Path, items: Sequence[Item], *, device: str | None = None) -> pl.DataFrame:
    """Score items with a model.

    Turns are put through the model's chat template, and the answer ends as the template ends it.

    Args:
        model: as ``imprint.models.load`` takes it.
        items: any.
        device: where it computes.

    Returns:
        One row per item, in order: ``item``, ``domain``, ``probability`` of the whole answer,
        ``greedy`` (every token of it is the most likely one).

    Raises:
        CheckpointError: the model cannot be loaded.
    """
    from imprint.models import LocalEngine, load

    loaded = load(str(model), dtype="fp32", device=device)
    engine = LocalEngine(loaded)
    asked = [_rendered(item, loaded.tokenizer) for item in items]
    found = engine.loglikelihoods(asked)
    columns = {
        "item": [item.id for item in items],
        "domain": [item.domain for item in items],
        "probability": [math.exp(one.logprob) for one in found],
        "greedy": [one.greedy for one in found],
    }
    return pl.DataFrame(columns, schema=SCORES)


def _rendered(item: Item, tokenizer: Any) -> tuple[str, str]:
    if not item.turns:
        return item.text, f" {item.answer}"
    if not getattr(tokenizer, "chat_template", None):
        return item.asked, f" {item.answer}{tokenizer.eos_token or ''}"
    said = {"role": "assistant", "content": item.answer}
    turns = list(item.turns)
    render = tokenizer.apply_chat_template
    before = str(render(turns, tokenize=False, add_generation_prompt=True))
    whole = str(render([*turns, said], tokenize=False)).rstrip()
    if whole.startswith(before):
        return before, whole[len(before) :]
    return before, f"{item.answer}{tokenizer.eos_token or ''}"


def _item(row: Mapping[str, Any]) -> Item | None:
    domain = str(row.get("domain") or row.get("skill") or "all")
    messages = row.get("messages")
    if messages:
        turns = tuple({"role": m["role"], "content": m["content"]} for m in messages)
        asked, last = turns[:-1], turns[-1]
        if last["role"] != "assistant" or not asked:
            return None
        told = "\n".join(turn["content"] for turn in asked)
        return Item(_id(told, last["content"]), domain, asked, "", last["content"])
    answer = row.get("answer")
    answer = answer[0] if isinstance(answer, list) and answer else answer
    if not isinstance(row.get("prompt"), str) or not isinstance(answer, str):
        return None
    return chat(row["prompt"], answer, domain)


def _id(question: str, answer: str) -> str:
    return hashlib.sha256(f"{question}\0{answer}".encode()).hexdigest()[:16]
