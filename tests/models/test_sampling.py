"""Sampling: inverse CDF, caches that samples share, batches of any size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import chisquare

from imprint.errors import ConfigError
from imprint.models import load
from imprint.models.batching import OutOfMemoryError
from imprint.models.inverse_cdf import choose, key, uniforms
from imprint.models.sampling import Row, Sampler
from models_support import tiny, torch, transformers

PROMPTS = ["a cat", "the dog is", "b", "where is the red house"]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load(tiny(tmp_path_factory.mktemp("model")))


def rows(prompts: int, samples: int, seed: int = 0) -> list[Row]:
    return [Row(p, s, key(seed, p, s)) for p in range(prompts) for s in range(samples)]


def texts(sampler: Sampler, asked: list[Row], **options: Any) -> list[str]:
    return [g.text for g in sampler.draw(sampler.read(PROMPTS), asked, **options)]


def test_uniform_numbers_are_uniform_and_depend_on_key_and_step_alone() -> None:
    keys = np.array([key(0, "fact", n) for n in range(4000)], dtype=np.uint64)
    drawn = np.concatenate([uniforms(keys, step) for step in range(5)])
    assert 0 <= drawn.min() <= drawn.max() < 1
    assert chisquare(np.histogram(drawn, 20, (0, 1))[0]).pvalue > 1e-4
    assert abs(np.corrcoef(uniforms(keys, 0), uniforms(keys, 1))[0, 1]) < 0.06
    assert (uniforms(keys[7:9], 3) == uniforms(keys, 3)[7:9]).all()


@pytest.mark.parametrize("vocabulary", [5, 128, 300, 5000])
def test_inverse_cdf_equals_the_plain_way(vocabulary: int) -> None:
    generator = np.random.default_rng(vocabulary)
    logits = generator.normal(size=(700, vocabulary)).astype(np.float32) * 3
    numbers = generator.random(700)
    weights = np.exp((logits.astype(np.float64) - logits.max(1, keepdims=True)) / 0.7)
    ends = weights.cumsum(1) / weights.sum(1, keepdims=True)
    expected = (ends > numbers[:, None]).argmax(1)
    found = choose(torch.from_numpy(logits), numbers, 0.7).numpy()
    assert (found == expected).mean() > 0.998  # a number within rounding of a border may go over
    assert (np.abs(found - expected) <= 1).all()


def test_inverse_cdf_never_draws_what_has_no_probability() -> None:
    logits = torch.full((4, 300), -float("inf"))
    logits[:, 7] = logits[:, 290] = 0.0
    numbers = np.array([0.0, 0.4999, 0.5, 1 - 2**-53])
    assert choose(logits, numbers, 1.0).tolist() == [7, 7, 290, 290]
    assert choose(logits, numbers, 0.0).tolist() == [7, 7, 7, 7]


def test_texts_do_not_depend_on_the_batch(loaded: Any) -> None:
    asked = rows(len(PROMPTS), 6)
    expected = texts(Sampler(loaded, max_new_tokens=9), asked)
    for size in (1, 5, 7, 24):
        assert texts(Sampler(loaded, max_new_tokens=9, rows=size), asked) == expected
    assert texts(Sampler(loaded, max_new_tokens=9), asked[::-1]) == expected[::-1]
    assert len(set(expected)) > 12
    assert texts(Sampler(loaded, max_new_tokens=9), rows(4, 6, seed=1)) != expected


def test_greedy_is_that_of_transformers(loaded: Any) -> None:
    found = texts(Sampler(loaded, temperature=0, max_new_tokens=8), rows(len(PROMPTS), 1))
    for prompt, text in zip(PROMPTS, found, strict=True):
        ids = torch.tensor([loaded.tokenizer(prompt)["input_ids"]])
        plain = loaded.model.generate(
            ids, do_sample=False, max_new_tokens=8, attention_mask=torch.ones_like(ids),
            pad_token_id=0, eos_token_id=1,
        )  # fmt: skip
        written = loaded.tokenizer.decode(plain[0, ids.shape[1] :], skip_special_tokens=True)
        assert text == written


def test_first_tokens_follow_the_model(loaded: Any) -> None:
    found = Sampler(loaded, temperature=0.7, max_new_tokens=1)
    read = found.read(["a cat"])
    drawn = found.draw(read, rows(1, 4000))
    ids = torch.tensor([loaded.tokenizer("a cat")["input_ids"]])
    with torch.inference_mode():
        p = (loaded.model(ids).logits[0, -1] / 0.7).softmax(-1).double().numpy()
    names = [loaded.tokenizer.decode([n], skip_special_tokens=True) for n in range(len(p))]
    texts_ = [g.text for g in drawn]
    likely = [n for n in np.argsort(-p)[:8] if names[n].strip()]
    counts = [texts_.count(names[n]) for n in likely]
    rest = 4000 - sum(counts)
    expected = [4000 * p[n] for n in likely]
    assert chisquare([*counts, rest], [*expected, 4000 - sum(expected)]).pvalue > 1e-4


def test_settled_samples_end_early_and_change_no_other(loaded: Any) -> None:
    asked = rows(len(PROMPTS), 6)
    sampler = Sampler(loaded, max_new_tokens=16)
    whole = sampler.draw(sampler.read(PROMPTS), asked)
    found = sampler.draw(sampler.read(PROMPTS), asked, lambda row, text: row % 3 != 0)
    for number, (a, b) in enumerate(zip(whole, found, strict=True)):
        assert a.text.startswith(b.text)
        assert b.tokens == (a.tokens if number % 3 == 0 else min(4, a.tokens))
    assert {b.ended for b in found[1::3]} <= {"stop", "end"}


def test_stop_texts_are_cut_off(loaded: Any) -> None:
    asked = rows(len(PROMPTS), 6)
    whole = texts(Sampler(loaded, max_new_tokens=16), asked)
    found = texts(Sampler(loaded, max_new_tokens=16, stop=["a", "e"]), asked)
    assert found == [
        text[: min([*(text.find(c) for c in "ae" if c in text), 99])] for text in whole
    ]


def test_a_long_prompt_is_cut_and_counted(loaded: Any) -> None:
    sampler = Sampler(loaded, max_new_tokens=8)
    read = sampler.read(["a" * 100, "b"])
    assert sampler.cut == 1
    assert read.lengths.tolist() == [24, 1 if loaded.tokenizer("")["input_ids"] == [] else 2]


def test_memory_that_runs_out_makes_batches_smaller(
    loaded: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = rows(len(PROMPTS), 6)
    expected = texts(Sampler(loaded, max_new_tokens=5), asked)
    forward = Sampler._forward

    def scarce(self: Sampler, ids: Any, mask: Any, cache: Any) -> Any:
        if len(ids) > most:
            raise MemoryError
        return forward(self, ids, mask, cache)

    monkeypatch.setattr(Sampler, "_forward", scarce)
    most = 3
    assert texts(Sampler(loaded, max_new_tokens=5), asked) == expected
    assert "memory ran out" in capsys.readouterr().err
    most = 0
    with pytest.raises(OutOfMemoryError, match="a single sample"):
        texts(Sampler(loaded, max_new_tokens=5, quiet=True), asked)


def test_sliding_windows_and_absolute_positions(tmp_path: Path, loaded: Any) -> None:
    from dataclasses import replace

    torch.manual_seed(0)
    small = {"num_hidden_layers": 2, "num_attention_heads": 2, "initializer_range": 0.3}
    configs = [
        transformers.MistralConfig(
            vocab_size=32, hidden_size=16, intermediate_size=24, num_key_value_heads=1,
            sliding_window=4, max_position_embeddings=64, eos_token_id=1, **small,
        ),
        transformers.GPT2Config(
            vocab_size=32, n_embd=16, n_layer=2, n_head=2, n_positions=64, eos_token_id=1,
            bos_token_id=0, initializer_range=0.3,
        ),
    ]  # fmt: skip
    for config in configs:
        model = transformers.AutoModelForCausalLM.from_config(config).eval()
        other = replace(loaded, model=model)
        greedy = Sampler(other, temperature=0, max_new_tokens=10)
        for prompt, text in zip(PROMPTS, texts(greedy, rows(4, 1)), strict=True):
            ids = torch.tensor([loaded.tokenizer(prompt)["input_ids"]])
            plain = model.generate(
                ids, do_sample=False, max_new_tokens=10, pad_token_id=0,
                attention_mask=torch.ones_like(ids),
            )  # fmt: skip
            assert text == loaded.tokenizer.decode(
                plain[0, ids.shape[1] :], skip_special_tokens=True
            )


def test_a_recurrent_model_is_refused(loaded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(loaded.model), "_is_stateful", True)
    with pytest.raises(ConfigError, match="recurrent state"):
        Sampler(loaded)


@pytest.mark.shared
def test_a_real_model_samples_alike_in_any_batch(shared: Path) -> None:
    real = load(shared / "models" / "stories260K")
    prompts = ["Once upon a time", "The cat sat on the", "Lily and Ben went"]
    found = []
    for size in (2, 30):
        sampler = Sampler(real, rows=size, max_new_tokens=12)
        found.append([g.text for g in sampler.draw(sampler.read(prompts), rows(3, 10))])
    assert found[0] == found[1]
    assert any("was" in text for text in found[0])


def test_letters_are_as_frequent_as_with_generate(loaded: Any) -> None:
    sampler = Sampler(loaded, temperature=0.7, max_new_tokens=6)
    ours = [g.text for g in sampler.draw(sampler.read(["a cat"]), rows(1, 1500))]
    ids = torch.tensor([loaded.tokenizer("a cat")["input_ids"]])
    torch.manual_seed(0)
    plain = loaded.model.generate(
        ids, do_sample=True, temperature=0.7, top_k=0, top_p=1.0, max_new_tokens=6,
        num_return_sequences=1500, attention_mask=torch.ones_like(ids), pad_token_id=1,
        eos_token_id=1,
    )  # fmt: skip
    theirs = loaded.tokenizer.batch_decode(plain[:, ids.shape[1] :], skip_special_tokens=True)
    for letter in "abcdefghij":
        a, b = (np.array([letter in text for text in texts]) for texts in (ours, theirs))
        spread = np.sqrt((a.var() + b.var()) / 1500)
        assert abs(a.mean() - b.mean()) <= 4.5 * spread


def test_bfloat16_samples_alike_in_equal_batches(loaded: Any) -> None:
    from dataclasses import replace

    half = replace(loaded, model=loaded.model.to(torch.bfloat16))
    try:
        first, again = (texts(Sampler(half, max_new_tokens=6), rows(4, 5)) for _ in range(2))
    finally:
        loaded.model.to(torch.float32)
    assert first == again
