from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from imprint.errors import ConfigError, DataError
from imprint.models import (
    Engine,
    LocalEngine,
    Question,
    lm_eval_engine,
    load,
)
from models_support import tiny, torch, transformers

QUESTIONS = [
    Question("the cat sat on", (" a mat", " the dog", " zz")),
    Question("", ("a cat", "dogs")),
    Question("one two three four five six seven", (" eight", " nine"), unconditional="answer"),
    Question("a" * 60, (" b", " ccc")),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny(tmp_path_factory.mktemp("model") / "m")


@pytest.fixture(scope="module")
def engine(folder: Path) -> LocalEngine:
    return LocalEngine(load(folder, device="cpu"))


def test_it_is_an_engine_and_says_what_answers(engine: LocalEngine, folder: Path) -> None:
    assert isinstance(engine, Engine)
    told = engine.identity.record()
    assert (told["engine"], told["model"], told["dtype"]) == ("hf", str(folder), "float32")
    assert set(told["versions"]) == {"torch", "transformers"}
    assert engine.context == 32


def test_choices_are_continuations(engine: LocalEngine) -> None:
    found = list(engine.choices(QUESTIONS))
    for question, scores in zip(QUESTIONS, found, strict=True):
        alone = [engine.loglikelihoods([(question.context, o)])[0] for o in question.options]
        np.testing.assert_allclose(scores.logprobs, [one.logprob for one in alone], atol=1e-4)
        assert scores.tokens == tuple(one.tokens for one in alone)
        assert scores.greedy == tuple(one.greedy for one in alone)
        assert scores.cut == max(one.cut for one in alone)
    assert [one.cut for one in found] == [0, 0, 33 + 6 - 33, 60 + 4 - 33]
    third = [engine.loglikelihoods([("answer", o)])[0].logprob for o in QUESTIONS[2].options]
    assert found[2].unconditional == pytest.approx(third, abs=1e-4)
    assert found[0].unconditional is None


def test_every_next_letter_adds_up_to_one(engine: LocalEngine) -> None:
    (scores,) = engine.choices([Question("the cat", tuple("abcdefghijklmnopqrstuvwxyz ."))])
    assert sum(map(math.exp, scores.logprobs)) < 1
    assert set(scores.tokens) == {1}


def test_whole_texts_are_scored_in_windows(engine: LocalEngine) -> None:
    (found,) = engine.rolling(["the cat sat on the mat. " * 4])
    assert found.tokens == 96
    ids = [0, *engine.tokenizer("the cat sat on the mat. " * 4)["input_ids"]]
    total = 0.0
    for at in range(1, 97):
        last = min(96, (at - 1) // 32 * 32 + 32)
        with torch.inference_mode():
            logits = engine.loaded.model(torch.tensor([ids[last - 32 : at]])).logits[0, -1]
        total += float(torch.log_softmax(logits.double(), 0)[ids[at]])
    assert found.logprob == pytest.approx(total, abs=1e-3)
    with pytest.raises(DataError, match="text 2"):
        engine.rolling(["a", ""])


def test_generations_are_reproducible_and_stop(engine: LocalEngine) -> None:
    prompts = ["the cat", "a dog"]
    first = list(engine.generate(prompts, n=3, temperature=0.7, max_new_tokens=9, seed=1))
    assert [(g.prompt, g.sample) for g in first] == [(p, s) for p in (0, 1) for s in range(3)]
    again = list(engine.generate(prompts, n=3, temperature=0.7, max_new_tokens=9, seed=1))
    assert first == again
    other = list(engine.generate(prompts, n=3, temperature=0.7, max_new_tokens=9, seed=2))
    assert [g.text for g in other] != [g.text for g in first]
    greedy = list(engine.generate(prompts, n=2, max_new_tokens=9))
    assert greedy[0].text == greedy[1].text
    assert all(0 < g.tokens <= 9 for g in first)
    mark = greedy[0].text.strip()[2]
    (cut,) = engine.generate(prompts[:1], max_new_tokens=9, stop=[mark])
    assert cut.ended == "stop"
    assert mark not in cut.text


def test_greedy_generation_is_the_most_likely_continuation(engine: LocalEngine) -> None:
    ids = engine.encoder.encode("the cat")
    for _ in range(5):
        with torch.inference_mode():
            ids.append(int(engine.loaded.model(torch.tensor([ids])).logits[0, -1].argmax()))
    (found,) = engine.generate(["the cat"], max_new_tokens=5)
    assert found.text == engine.tokenizer.decode(ids[-5:], skip_special_tokens=True)


@pytest.mark.filterwarnings("ignore")  # those of lm-eval and what it loads
def test_a_backend_of_lm_eval_answers_the_same(engine: LocalEngine, folder: Path) -> None:
    pytest.importorskip("lm_eval")
    settings = {"device": "cpu", "dtype": "float32", "batch_size": 4}
    other = lm_eval_engine(str(folder), "hf", settings)
    assert isinstance(other, Engine)
    assert other.context == 32
    assert other.identity.details["backend"] == "hf"
    for mine, theirs in zip(engine.choices(QUESTIONS), other.choices(QUESTIONS), strict=True):
        np.testing.assert_allclose(mine.logprobs, theirs.logprobs, atol=1e-4)
        assert (mine.greedy, mine.tokens, mine.cut) == (theirs.greedy, theirs.tokens, theirs.cut)
    texts = ["the cat sat on the mat. " * 4, "a"]
    np.testing.assert_allclose(
        [one.logprob for one in engine.rolling(texts)],
        [one.logprob for one in other.rolling(texts)],
        atol=1e-3,
    )
    mine, theirs = (list(e.generate(["the cat"], max_new_tokens=6)) for e in (engine, other))
    assert [g.text for g in mine] == [g.text for g in theirs]


@pytest.mark.filterwarnings("ignore")
def test_backends_that_cannot_be_made_are_refused(folder: Path) -> None:
    pytest.importorskip("lm_eval")
    with pytest.raises(ConfigError, match="no backend 'hff'; did you mean"):
        lm_eval_engine(str(folder), "hff")
    with pytest.raises(ConfigError, match="cannot be made"):
        lm_eval_engine(str(folder / "absent"), "hf", {"device": "cpu"})


def test_draws_depend_on_seed_and_text_alone(engine: LocalEngine, capsys) -> None:
    how = {"n": 2, "temperature": 0.9, "max_new_tokens": 6, "seed": 3}
    alone = [one.text for one in engine.generate(["the cat"], **how)]
    among = list(engine.generate(["a dog", "the cat", "zz", "the cat"], **how))
    assert [one.text for one in among if one.prompt == 1] == alone
    assert [one.text for one in among if one.prompt == 3] != alone
    assert not capsys.readouterr().err
    list(engine.generate(["the cat sat on the mat " * 3, "a"], **how))
    assert "1 of 2 prompts had more than 26 tokens" in capsys.readouterr().err


def test_new_tokens_that_leave_no_room_for_a_prompt_are_refused(engine: LocalEngine) -> None:
    assert list(engine.generate(["the cat"], max_new_tokens=31))
    with pytest.raises(ConfigError, match="32 new tokens leave no room for a prompt") as found:
        engine.generate(["the cat"], max_new_tokens=32)
    assert "--max-new-tokens" in str(found.value)


def test_a_recurrent_model_generates_too(engine: LocalEngine) -> None:
    from dataclasses import replace

    torch.manual_seed(0)
    config = transformers.MambaConfig(
        vocab_size=32, hidden_size=16, num_hidden_layers=2, state_size=4, eos_token_id=1
    )
    model = transformers.MambaForCausalLM(config).eval()
    other = LocalEngine(replace(engine.loaded, model=model), max_length=32)
    how = {"n": 2, "temperature": 0.9, "max_new_tokens": 6, "seed": 3}
    found = list(other.generate(["the cat", "a dog"], **how))
    assert [(one.prompt, one.sample) for one in found] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert found == list(other.generate(["the cat", "a dog"], **how))
    greedy = list(other.generate(["the cat"], n=2, max_new_tokens=6))
    assert greedy[0].text == greedy[1].text
    scores = list(other.choices(QUESTIONS[:2]))
    assert all(
        len(one.logprobs) == len(q.options) for one, q in zip(scores, QUESTIONS, strict=False)
    )
