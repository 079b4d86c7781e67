"""Choice scoring beside lm-eval's `hf` backend, on the same requests in the same process.

A generated Llama of 15 million parameters with 2,048 positions and a tokenizer of 4,096 tokens,
trained on the spot. Timed is `loglikelihood` on lm-eval's own request objects, tokenizing included:

- *400* and *30*: contexts of about so many tokens, nothing in common, four options of a few words.
- *ARC-challenge, MMLU, BoolQ*: questions of `../shared/data` with five common examples, where that
  folder is at hand. MMLU's options are single letters, which `hf` too scores in one pass.

Speed is measured in bfloat16 (the best of `--repeats`, turn about); equality in float32 on the same
requests: log-likelihoods within 1e-4, greedy flags and chosen options equal, or the run fails.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/evaluate_choices.py
    OMP_WAIT_POLICY=PASSIVE python benchmarks/evaluate_choices.py --questions 24 --repeats 1
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(__file__).parents[2] / "shared" / "data" / "multiple_choice" / "olmo_hf_jsonl"
FILES = {
    "ARC-challenge": "ai2_arc_ARC-Challenge.validation.jsonl.gz",
    "MMLU": "mmlu_all.jsonl.gz",
    "BoolQ": "boolq.validation.jsonl.gz",
}
WANTED = {"400": 3.3, "30": 2.0}
POSITIONS, VOCABULARY = 2048, 4096
Item = tuple[str, list[str]]  # a context and its options


def words(count: int, draw: random.Random) -> str:
    """Make up a text of common syllables."""
    syllables = ["ka", "lo", "mi", "ren", "sol", "ta", "vu", "pre", "ster", "on", "e", "al"]
    return " ".join("".join(draw.choices(syllables, k=draw.randint(1, 4))) for _ in range(count))


def corpus() -> list[str]:
    """Give texts to train the tokenizer on."""
    draw = random.Random(0)  # noqa: S311
    texts = [words(60, draw) for _ in range(400)]
    for name in FILES.values():
        if (DATA / name).is_file():
            texts += first_lines(name, 1500)
    return texts


def first_lines(name: str, count: int) -> list[str]:
    """Read the first lines of a file of questions."""
    with gzip.open(DATA / name, "rt") as lines:
        return list(itertools.islice(lines, count))


def make_model(folder: Path) -> Path:
    """Save the model and its tokenizer."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=["<s>"], initial_alphabet=alphabet
    )
    inner.train_from_iterator(corpus(), trainer)
    special = {"bos_token": "<s>", "eos_token": "<s>"}
    make: Any = PreTrainedTokenizerFast
    tokenizer = make(tokenizer_object=inner, model_max_length=POSITIONS, **special)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=384,
        intermediate_size=1024,
        num_hidden_layers=8,
        num_attention_heads=6,
        max_position_embeddings=POSITIONS,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        initializer_range=0.06,
    )
    model = LlamaForCausalLM(config)
    print(f"Llama of {model.num_parameters() / 1e6:.1f} M parameters, vocabulary {VOCABULARY}")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def of_length(tokens: int, count: int, tokenizer: Any) -> list[Item]:
    """Make up questions whose contexts have about so many tokens and nothing in common."""
    draw = random.Random(tokens)  # noqa: S311
    found = []
    for _ in range(count):
        length = draw.randint(round(tokens * 0.85), round(tokens * 1.15))
        context = tokenizer.decode(tokenizer(words(length, draw))["input_ids"][:length])
        found.append((context, [" " + words(draw.randint(1, 4), draw) for _ in range(4)]))
    return found


def benchmark(name: str, count: int) -> list[Item]:
    """Read questions of a benchmark, each after the same five answered ones."""
    rows = [json.loads(line) for line in first_lines(FILES[name], count + 5)]
    asked = [_asked(name, row) for row in rows]
    shots = "".join(f"{context}{options[gold]}\n\n" for context, options, gold in asked[:5])
    return [(shots + context, options) for context, options, _ in asked[5:]]


def _asked(name: str, row: dict[str, Any]) -> tuple[str, list[str], int]:
    if name == "ARC-challenge":
        options = [f" {text}" for text in row["choices"]["text"]]
        gold = row["choices"]["label"].index(row["answerKey"])
        return f"Question: {row['question']}\nAnswer:", options, gold
    if name == "MMLU":
        listed = "\n".join(f"{a}. {t}" for a, t in zip("ABCD", row["choices"], strict=True))
        return f"{row['question']}\n{listed}\nAnswer:", [" A", " B", " C", " D"], row["answer"]
    text = f"{row['passage']}\nQuestion: {row['question']}?\nAnswer:"
    return text, [" no", " yes"], int(row["answer"])


def requests(items: list[Item]) -> list[Any]:
    """Put questions as lm-eval puts them."""
    from lm_eval.api.instance import Instance

    return [
        Instance("loglikelihood", {}, (context, option), at)
        for context, options in items
        for at, option in enumerate(options)
    ]


def backends(model: Path, dtype: str, batch: int) -> dict[str, Any]:
    """Make both backends."""
    from lm_eval.models.huggingface import HFLM

    from imprint.integrations.lm_eval import ImprintLM

    how = {"pretrained": str(model), "dtype": dtype, "device": "cpu", "batch_size": batch}
    return {"hf": HFLM(**how), "imprint": ImprintLM(**how)}


def seconds(lms: dict[str, Any], asked: list[Any], repeats: int) -> dict[str, float]:
    """Time both, turn about, and give the best of each."""
    best = dict.fromkeys(lms, float("inf"))
    for _ in range(repeats):
        for name, lm in lms.items():
            begun = time.perf_counter()
            lm.loglikelihood(asked, disable_tqdm=True)
            best[name] = min(best[name], time.perf_counter() - begun)
    return best


def check_equal(lms: dict[str, Any], items: list[Item]) -> float:
    """Compare both in float32 and give the largest difference, nats."""
    theirs, mine = (lm.loglikelihood(requests(items), disable_tqdm=True) for lm in lms.values())
    difference: float = max(abs(a - b) for (a, _), (b, _) in zip(theirs, mine, strict=True))
    assert difference < 1e-4, f"log-likelihoods differ by {difference}"
    assert [g for _, g in theirs] == [g for _, g in mine], "greedy flags differ"
    assert list(chosen(theirs, items)) == list(chosen(mine, items)), "chosen options differ"
    return difference


def chosen(answers: list[tuple[float, bool]], items: list[Item]) -> Iterator[int]:
    """Give the most likely option of each question."""
    each = iter(answers)
    for _, options in items:
        yield int(np.argmax([next(each)[0] for _ in options]))


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=16, help="of hf; ours counts tokens")
    settings = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(make_model(Path(folder)), settings)


def measure(model: Path, settings: argparse.Namespace) -> None:
    """Measure all cases with one model."""
    fast = backends(model, "bfloat16", settings.batch_size)
    exact = backends(model, "float32", settings.batch_size)
    tokenizer = fast["hf"].tokenizer
    cases = {str(length): of_length(length, settings.questions, tokenizer) for length in (400, 30)}
    cases |= {n: benchmark(n, settings.questions) for n in FILES if (DATA / FILES[n]).is_file()}
    print(
        f"{'case':>14} {'tokens':>7} {'hf q/s':>8} {'ours q/s':>9} {'ratio':>6}  float32 differs by"
    )
    for name, items in cases.items():
        # what is asked first pays for warming up
        seconds(fast, requests(items[:2]), 1)
        took = seconds(fast, requests(items), settings.repeats)
        length = np.mean([len(tokenizer(context)["input_ids"]) for context, _ in items])
        rates = [len(items) / took[which] for which in ("hf", "imprint")]
        wanted = f"(wanted {WANTED[name]})" if name in WANTED else "(five common examples)"
        print(
            f"{name:>14} {length:7.0f} {rates[0]:8.1f} {rates[1]:9.1f} {rates[1] / rates[0]:6.2f}"
            f"  {check_equal(exact, items):.1e} {wanted}",
            flush=True,
        )


if __name__ == "__main__":
    main()
