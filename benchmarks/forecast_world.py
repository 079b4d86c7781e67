"""A small world for `forecast_outcome.py`: twelve domains of questions, a model that learns them.

Four skills, each in three domains with words of their own: recalling facts, looking up what was
just bound, telling the larger of two, stepping along an order. Domains of one skill share its
functional words and nothing else, so what SFT does to one domain reaches others through the skill
or through the weights all share. Domains are not equally common in pretraining, so some are known
well and some hardly.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from imprint.errors import require

Chances = np.random.Generator
# how common the three domains of each skill are in pretraining: some are learnt well, some hardly
SHARES = {
    "recall": (0.6, 0.25, 0.07),
    "lookup": (1.5, 1.0, 0.7),
    "larger": (0.2, 0.02, 0.01),
    "step": (0.3, 0.05, 0.02),
}
FACTS, RELATIONS, KINDS, ORDER, KEYS, VALUES = 20, 4, 5, 14, 8, 6
LENGTH = 64  # tokens of a training text
ASIDE = 0.1  # what a token that is no answer weighs in the loss: most of them are chance
FUNCTIONAL = ("ask", "is", "bind", "and", "then", "larger", "or", "move", "by", "gives")
NUMBERS = ("one", "two", "three", "four")


@dataclass(frozen=True)
class Item:
    """A question, its answer and the answers to choose from; every word is a token."""

    prompt: str
    answer: str
    options: tuple[str, ...]


@dataclass(frozen=True)
class Domain:
    """A skill in words of its own.

    Attributes:
        name: such as ``recall-1``.
        share: how common it is in pretraining.
        words: all it needs beside functional words.
        draw: gives a new item.
    """

    name: str
    share: float
    words: tuple[str, ...]
    draw: Callable[[Chances], Item]

    def items(self, count: int, chances: Chances) -> list[Item]:
        """Draw items that differ, at most as many as there are."""
        found: dict[str, Item] = {}
        for _ in range(50 * count):
            item = self.draw(chances)
            found[item.prompt] = item
            if len(found) == count:
                break
        return list(found.values())


def domains(seed: int = 0) -> list[Domain]:
    """Make the twelve domains; their words have four letters each and no digit."""
    chances = np.random.default_rng([seed, 0])
    syllables = [f"{one}{other}" for one in "bdfghjklmnprstvz" for other in "aeiou"]
    words = [f"{one}{other}" for one in syllables for other in syllables]
    fresh = (str(word) for word in chances.permutation(words) if word not in FUNCTIONAL)
    makers = {"recall": _recall, "lookup": _lookup, "larger": _larger, "step": _step}
    return [
        makers[skill](f"{skill}-{number}", share, fresh, chances)
        for skill, shares in SHARES.items()
        for number, share in enumerate(shares)
    ]


def _recall(name: str, share: float, fresh: Iterator[str], chances: Chances) -> Domain:
    things, relations = _words(fresh, FACTS), _words(fresh, RELATIONS)
    kinds = [_words(fresh, KINDS) for _ in range(RELATIONS)]
    facts = chances.integers(KINDS, size=(FACTS, RELATIONS))

    def draw(chances: Chances) -> Item:
        thing, r = chances.integers(FACTS), chances.integers(RELATIONS)
        return Item(f"ask {relations[r]} {things[thing]} is", kinds[r][facts[thing, r]], kinds[r])

    return Domain(name, share, (*things, *relations, *(w for k in kinds for w in k)), draw)


def _lookup(name: str, share: float, fresh: Iterator[str], _: Chances) -> Domain:
    keys, values = _words(fresh, KEYS), _words(fresh, VALUES)

    def draw(chances: Chances) -> Item:
        one, other = chances.choice(KEYS, 2, replace=False)
        first, second = chances.choice(VALUES, 2, replace=False)
        asked, answer = ((one, first), (other, second))[chances.integers(2)]
        bound = f"bind {keys[one]} {values[first]} and {keys[other]} {values[second]}"
        return Item(f"{bound} then {keys[asked]}", values[answer], values)

    return Domain(name, share, (*keys, *values), draw)


def _larger(name: str, share: float, fresh: Iterator[str], chances: Chances) -> Domain:
    sizes = _words(fresh, ORDER)
    rank = chances.permutation(ORDER)

    def draw(chances: Chances) -> Item:
        one, other = chances.choice(ORDER, 2, replace=False)
        answer = sizes[one] if rank[one] > rank[other] else sizes[other]
        return Item(f"larger {sizes[one]} or {sizes[other]} is", answer, (sizes[one], sizes[other]))

    return Domain(name, share, sizes, draw)


def _step(name: str, share: float, fresh: Iterator[str], _: Chances) -> Domain:
    places = _words(fresh, ORDER)

    def draw(chances: Chances) -> Item:
        at, by = chances.integers(ORDER), chances.integers(len(NUMBERS))
        answer = places[(at + by + 1) % ORDER]
        return Item(f"move {places[at]} by {NUMBERS[by]} gives", answer, places)

    return Domain(name, share, places, draw)


def _words(fresh: Iterator[str], count: int) -> tuple[str, ...]:
    return tuple(islice(fresh, count))


def tokenizer(world: Sequence[Domain]) -> Any:
    """Make a tokenizer with a token per word and a start of text."""
    transformers = require("transformers", "lab")
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    start, end, unknown = "<s>", "</s>", "<unk>"
    words = [*FUNCTIONAL, *NUMBERS, *(word for one in world for word in one.words)]
    vocab = {word: n for n, word in enumerate([start, end, unknown, *words])}
    inner = Tokenizer(models.WordLevel(vocab, unknown))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(f"{start} $A", special_tokens=[(start, 0)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token=start, eos_token=end, unk_token=unknown
    )


def pretrain(world: Sequence[Domain], folder: Path, *, steps: int, width: int, seed: int) -> Path:
    """Train a Llama on texts of many items and save it."""
    torch, transformers = require("torch", "lab"), require("transformers", "lab")
    words = tokenizer(world)
    torch.manual_seed(seed)
    model = transformers.LlamaForCausalLM(_config(transformers, len(words), width))
    chances = np.random.default_rng([seed, 1])
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps, pct_start=0.1)
    model.train()
    for rows, answers in batches(world, words, steps, chances):
        ids = torch.tensor(rows)
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
        losses = torch.nn.functional.cross_entropy(
            logits.transpose(1, 2), ids[:, 1:], reduction="none"
        )
        weights = torch.where(torch.tensor(answers)[:, 1:], 1.0, ASIDE)
        loss = (losses * weights).sum() / weights.sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        plan.step()
    model.eval().save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def _config(transformers: Any, vocabulary: int, width: int) -> Any:
    return transformers.LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=1,
        attn_implementation="eager",  # faster at this length on a CPU
    )


def batches(
    world: Sequence[Domain], words: Any, steps: int, chances: Chances, batch: int = 32
) -> Iterator[tuple[list[list[int]], list[list[bool]]]]:
    """Give batches of texts, and which tokens are answers, both [batch, LENGTH].

    Most texts hold items of one domain, some of all.
    """
    shares = np.cumsum([one.share for one in world])
    vocab = words.get_vocab()

    def pick() -> Domain:
        return world[int(np.searchsorted(shares, chances.random() * shares[-1], side="right"))]

    for _ in range(steps):
        rows, answers = [], []
        for _ in range(batch):
            one = None if chances.random() < 0.3 else pick()
            ids, is_answer = [0], [False]
            while len(ids) < LENGTH:
                item = (one or pick()).draw(chances)
                own = [vocab[word] for word in f"{item.prompt} {item.answer}".split()]
                ids += own
                is_answer += [False] * (len(own) - 1) + [True]
            rows.append(ids[:LENGTH])
            answers.append(is_answer[:LENGTH])
        yield rows, answers


def fine_tune(loaded: Any, examples: Sequence[Item], *, steps: int, lr: float, seed: int) -> Any:
    """Train a copy on prompts with answers, the loss on answers alone, and give it."""
    torch = require("torch", "lab")
    model = copy.deepcopy(loaded.model).train()
    chances = np.random.default_rng([seed, 2])
    vocab = loaded.tokenizer.get_vocab()
    optimiser = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01)
    for _ in range(steps):
        chosen = [examples[n] for n in chances.choice(len(examples), 16)]
        ids, labels = _batch(torch, vocab, chosen)
        loss = model(input_ids=ids, labels=labels, use_cache=False).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval()


def _batch(torch: Any, vocab: dict[str, int], items: Sequence[Item]) -> tuple[Any, Any]:
    rows = [[0, *(vocab[w] for w in f"{one.prompt} {one.answer}".split())] for one in items]
    longest = max(map(len, rows))
    # padding stands behind the text, where a causal model cannot see it
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    labels = torch.full_like(ids, -100)
    for at, row in enumerate(rows):
        labels[at, len(row) - 1] = row[-1]
    return ids, labels


def correct(model: Any, words: Any, items: Sequence[Item]) -> np.ndarray[Any, Any]:
    """Tell of each item whether the right option is the likeliest, [items]."""
    torch = require("torch", "lab")
    vocab = words.get_vocab()
    ids, labels = _batch(torch, vocab, items)
    with torch.inference_mode():
        logits = model(input_ids=ids, use_cache=False).logits
    ends = (labels != -100).int().argmax(1) - 1
    at_end = logits[torch.arange(len(items)), ends]
    found = []
    for row, item in zip(at_end, items, strict=True):
        options = [vocab[word] for word in item.options]
        found.append(options[int(row[options].argmax())] == vocab[item.answer])
    return np.array(found)
