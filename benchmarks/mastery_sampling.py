"""Mastery sampling beside `generate(num_return_sequences=10)` called once per template.

A generated Llama of about 15M parameters and 32,000 tokens; the same prompts, samples and new
tokens for both, and no end by matching. Then what stopping saves, on simulated facts whose true
rates spread over (0, 1).

    OMP_WAIT_POLICY=PASSIVE python benchmarks/mastery_sampling.py [--facts 4] [--dtype bf16]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from imprint.formats.facts import own_templates
from imprint.mastery.levels import level_of, level_probabilities
from imprint.mastery.stopping import Stopping, most_saved
from imprint.models import Loaded
from imprint.models.inverse_cdf import key
from imprint.models.sampling import Row, Sampler, Settled

SUBJECTS = ("Ulm", "Lake Constance", "The Old Mill", "Ada Lovelace", "Blue Bottle", "Kant")
TEMPLATES, SAMPLES, TOKENS = 21, 10, 32


def main() -> None:
    """Measure and print."""
    asked = argparse.ArgumentParser()
    asked.add_argument("--facts", type=int, default=6)
    asked.add_argument("--dtype", default="bfloat16")
    asked.add_argument("--repeats", type=int, default=3)
    options = asked.parse_args()
    with TemporaryDirectory() as folder:
        loaded = model(Path(folder), options.dtype)
        speed(loaded, options.facts, options.repeats)
    stopping()


def speed(loaded: Loaded, facts: int, repeats: int) -> None:
    """Facts per second of both, alternating; medians."""
    prompts = [
        own_templates()["P17"].prompts(f"{SUBJECTS[n % len(SUBJECTS)]} {n}") for n in range(facts)
    ]
    ours, theirs = [], []
    for _ in range(repeats):
        begun = time.perf_counter()
        found = sample(loaded, prompts)
        ours.append(facts / (time.perf_counter() - begun))
        begun = time.perf_counter()
        other = [plain(loaded, prompt) for prompt in prompts[0]]
        theirs.append(1 / (time.perf_counter() - begun))
    a, b = statistics.median(ours), statistics.median(theirs)
    print(f"imprint      {a:.3f} facts/s ({facts} facts, {TEMPLATES * SAMPLES} samples each)")
    print(f"generate     {b:.3f} facts/s (per template, num_return_sequences={SAMPLES})")
    print(f"ratio        {a / b:.2f} (asked: 4)")
    early(loaded, prompts, facts / a)
    compare(found[: TEMPLATES * SAMPLES], [text for texts in other for text in texts])


def sample(loaded: Loaded, prompts: list[list[str]], settled: Settled | None = None) -> list[str]:
    """Draw all samples of all facts."""
    sampler = Sampler(loaded, max_new_tokens=TOKENS)
    sampler.ends = []
    read = sampler.read([text for texts in prompts for text in texts])
    rows = [
        Row(prompt, n, key(0, prompt, n))
        for prompt in range(len(prompts) * TEMPLATES)
        for n in range(SAMPLES)
    ]
    return [generated.text for generated in sampler.draw(read, rows, settled)]


def early(loaded: Loaded, prompts: list[list[str]], seconds: float) -> None:
    """What it gains where every other sample matches at once."""
    begun = time.perf_counter()
    sample(loaded, prompts, lambda row, _: row % 2 == 0)
    gain = seconds / (time.perf_counter() - begun)
    print(f"early end    {gain:.2f} times as fast, where half of the samples match at once")


def plain(loaded: Loaded, prompt: str) -> list[str]:
    """Draw the samples of one template as anyone would."""
    import torch

    ids = loaded.tokenizer(prompt, return_tensors="pt")
    with torch.inference_mode():
        found = loaded.model.generate(
            **ids,
            do_sample=True,
            temperature=0.7,
            top_k=0,
            top_p=1.0,
            max_new_tokens=TOKENS,
            min_new_tokens=TOKENS,
            num_return_sequences=SAMPLES,
            pad_token_id=0,
        )
    return list(loaded.tokenizer.batch_decode(found[:, ids["input_ids"].shape[1] :]))


def compare(ours: list[str], theirs: list[str]) -> None:
    """Hit rates of frequent words: they should differ by chance alone."""
    counts = Counter(word for text in theirs for word in set(text.split()))
    z = []
    for word, _ in counts.most_common(20):
        a, b = (sum(word in text for text in texts) for texts in (ours, theirs))
        n, m = len(ours), len(theirs)
        pooled = (a + b) / (n + m)
        spread = (pooled * (1 - pooled) * (1 / n + 1 / m)) ** 0.5
        z.append((a / n - b / m) / spread if spread else 0.0)
    print(f"hit rates    largest |z| over {len(z)} words {max(map(abs, z), default=0):.2f}")


def stopping(facts: int = 4000) -> None:
    """Samples that stopping needs where true rates are uniform, and how often levels agree."""
    total = TEMPLATES * SAMPLES
    random = np.random.default_rng(0)
    spread = np.clip(random.random((facts, 1)) + random.normal(0, 0.15, (facts, TEMPLATES)), 0, 1)
    drawn = (random.random((facts, SAMPLES, TEMPLATES)) < spread[:, None]).reshape(facts, total)
    full = level_of(drawn.sum(1), total)
    for name, rule in (("exact", Stopping()), ("95 %", Stopping(0.95))):
        used, levels = zip(*[stopped(rule, row, total) for row in drawn], strict=True)
        share, agree = np.mean(used) / total, np.mean(np.array(levels) == full)
        print(f"stop {name:7} {share:.1%} of the samples, levels agree in {agree:.2%}")
    print(f"exact bound  {most_saved(total)} of {total} samples of a fact can be saved at most")


def stopped(rule: Stopping, row: Any, total: int) -> tuple[int, int]:
    """Give samples used and level found for one fact."""
    for drawn in rule.looks(total):
        hits = int(row[:drawn].sum())
        if rule.settled(hits, drawn, total):
            break
    return drawn, int(np.argmax(level_probabilities(hits, drawn, total)))


def model(folder: Path, dtype: str) -> Loaded:
    """Generate the model and a byte-level tokenizer."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32_000,
        hidden_size=288,
        intermediate_size=768,
        num_hidden_layers=6,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        initializer_range=0.1,
        eos_token_id=None,
    )
    made = LlamaForCausalLM(config).to(getattr(torch, dtype)).eval()
    made.generation_config.eos_token_id = None
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=4000, initial_alphabet=alphabet, show_progress=False)
    inner.train_from_iterator([t for r in own_templates().values() for t in r.statements], trainer)
    inner.add_tokens([f" word{n}" for n in range(32_000 - inner.get_vocab_size())])
    print(f"model        {made.num_parameters() / 1e6:.1f}M parameters, {dtype}")
    tokenizer: Any = PreTrainedTokenizerFast
    return Loaded(made, tokenizer(tokenizer_object=inner), folder)


if __name__ == "__main__":
    main()
