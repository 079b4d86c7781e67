"""A small world for `plan_outcome.py`: six kinds of tasks on characters, each at five levels.

Every answer can be checked. Higher levels are longer and rarer in pretraining, so the model comes
out of it with pass rates from nearly 1 to nearly 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imprint.errors import require

Chances = np.random.Generator
Floats = npt.NDArray[np.float64]
LETTERS = "abcdefghij"
CHARACTERS = f"{LETTERS}0123456789+% :rsnk"
LEVELS = 5
SHARE = 0.45  # how common a level is in pretraining, beside the level below it
LENGTH = 64  # tokens of a training text
ASIDE = 0.1  # what a character of a question weighs in the loss of pretraining: it is chance


@dataclass(frozen=True)
class Item:
    """A task: what is asked, what is right, and its kind and level from 0."""

    prompt: str
    answer: str
    domain: str
    level: int

    @property
    def cell(self) -> str:
        """Kind and level in one."""
        return f"{self.domain}-{self.level}"


def _letters(level: int, chances: Chances) -> str:
    return "".join(chances.choice(list(LETTERS), 2 + level))


def _reverse(level: int, chances: Chances) -> tuple[str, str]:
    text = _letters(level, chances)
    return f"r:{text} ", text[::-1]


def _sort(level: int, chances: Chances) -> tuple[str, str]:
    text = _letters(level, chances)
    return f"s:{text} ", "".join(sorted(text))


def _next(level: int, chances: Chances) -> tuple[str, str]:
    text = _letters(level, chances)
    after = dict(zip(LETTERS, LETTERS[1:] + LETTERS[0], strict=True))
    return f"n:{text} ", "".join(after[letter] for letter in text)


def _count(level: int, chances: Chances) -> tuple[str, str]:
    text = "".join(chances.choice(list("abc"), 3 + level))
    asked = str(chances.choice(list("abc")))
    return f"k:{asked}:{text} ", str(text.count(asked))


def _add(level: int, chances: Chances) -> tuple[str, str]:
    one, other = (int(n) for n in chances.integers(2 + 12 * level, 10 + 22 * level, size=2))
    return f"{one}+{other} ", str(one + other)


def _modulo(level: int, chances: Chances) -> tuple[str, str]:
    one, by = int(chances.integers(10 * level, 12 + 18 * level)), int(chances.integers(2, 8))
    return f"{one}%{by} ", str(one % by)


DOMAINS: dict[str, Callable[[int, Chances], tuple[str, str]]] = {
    "reverse": _reverse,
    "sort": _sort,
    "next": _next,
    "count": _count,
    "add": _add,
    "modulo": _modulo,
}


def draw(domain: str, level: int, chances: Chances) -> Item:
    """Draw a task of a kind and level."""
    return Item(*DOMAINS[domain](level, chances), domain, level)


def pool_and_tests(
    pool: int, tests: int, seed: int, share: float = 0.5
) -> tuple[list[Item], list[Item]]:
    """Draw tasks to train on and tasks to test on; they share none.

    Args:
        pool: tasks of every kind and level to train on, at most; small cells have fewer.
        tests: likewise to test on.
        seed: of the draws.
        share: at most this share of the tasks found in a cell goes to the tests.
    """
    chances = np.random.default_rng([seed, 1])
    train: list[Item] = []
    test: list[Item] = []
    for domain in DOMAINS:
        for level in range(LEVELS):
            found = {}
            for _ in range(20 * (pool + tests)):
                item = draw(domain, level, chances)
                found[item.prompt] = item
                if len(found) == pool + tests:
                    break
            cell = list(found.values())
            held = min(tests, int(len(cell) * share))
            test += cell[:held]
            train += cell[held : held + pool]
    taken = {item.prompt for item in test}
    fresh = {item.prompt: item for item in train if item.prompt not in taken}
    return list(fresh.values()), list({item.prompt: item for item in test}.values())


def tokenizer() -> Any:
    """Make a tokenizer with a token per character, a start and an end."""
    transformers = require("transformers", "lab")
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors

    start, end, padding, unknown = "<s>", "</s>", "<pad>", "<unk>"
    vocab = {token: n for n, token in enumerate([start, end, padding, unknown, *CHARACTERS])}
    inner = Tokenizer(models.WordLevel(vocab, unknown))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex("."), behavior="isolated")
    inner.decoder = decoders.Fuse()
    inner.post_processor = processors.TemplateProcessing(f"{start} $A", special_tokens=[(start, 0)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token=start,
        eos_token=end,
        pad_token=padding,
        unk_token=unknown,
    )


def pretrain(folder: Path, *, steps: int, width: int, seed: int) -> Path:
    """Train a Llama on texts of tasks and save it."""
    torch, transformers = require("torch", "lab"), require("transformers", "lab")
    words = tokenizer()
    torch.manual_seed(seed)
    model = transformers.LlamaForCausalLM(_config(transformers, len(words), width)).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps, pct_start=0.1)
    for rows, weights in batches(words.get_vocab(), steps, np.random.default_rng([seed, 2])):
        ids, weight = torch.tensor(rows), torch.tensor(weights)[:, 1:]
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
        losses = torch.nn.functional.cross_entropy(
            logits.transpose(1, 2), ids[:, 1:], reduction="none"
        )
        optimiser.zero_grad()
        ((losses * weight).sum() / weight.sum()).backward()
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
        pad_token_id=2,
        attn_implementation="eager",  # faster at this length on a CPU
    )


def batches(
    vocab: dict[str, int], steps: int, chances: Chances, batch: int = 32
) -> Iterator[tuple[list[list[int]], list[list[float]]]]:
    """Give token ids and weights in the loss, both [batch, LENGTH]; a text holds several tasks."""
    shares = SHARE ** np.arange(LEVELS)
    shares /= shares.sum()
    kinds = list(DOMAINS)
    for _ in range(steps):
        rows, weights = [], []
        for _ in range(batch):
            ids: list[int] = []
            weight: list[float] = []
            while len(ids) < LENGTH:
                kind = kinds[chances.integers(len(kinds))]
                item = draw(kind, int(chances.choice(LEVELS, p=shares)), chances)
                asked, answer = ([vocab[c] for c in text] for text in (item.prompt, item.answer))
                ids += [0, *asked, *answer, 1]
                weight += [ASIDE] * (1 + len(asked)) + [1.0] * (len(answer) + 1)
            rows.append(ids[:LENGTH])
            weights.append(weight[:LENGTH])
        yield rows, weights


def measure(model: Any, words: Any, items: Sequence[Item]) -> tuple[Floats, Floats]:
    """Give each task's pass rate at temperature 1 and whether greedy decoding is right, [items].

    The pass rate is the probability of the answer and the end after it: exact, without sampling.
    """
    torch = require("torch", "lab")
    vocab = words.get_vocab()
    texts = [
        ([0, *(vocab[c] for c in one.prompt)], [*(vocab[c] for c in one.answer), 1])
        for one in items
    ]
    longest = max(len(asked) + len(answer) for asked, answer in texts)
    ids = torch.tensor([[*a, *b] + [2] * (longest - len(a) - len(b)) for a, b in texts])
    own = torch.zeros_like(ids, dtype=torch.bool)
    for row, (asked, answer) in enumerate(texts):
        own[row, len(asked) : len(asked) + len(answer)] = True
    with torch.inference_mode():
        # padding stands behind the text, where a causal model cannot see it
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
        logs = logits.log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
        rate = torch.where(own[:, 1:], logs, 0.0).double().sum(1).exp()
        greedy = ((logits.argmax(-1) == ids[:, 1:]) | ~own[:, 1:]).all(1)
    return rate.numpy(), greedy.double().numpy()
