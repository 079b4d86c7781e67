"""Reinforcement in the lab: what is rewarded grows, and the same again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imprint.errors import ConfigError, DataError
from imprint.formats.questions import Prompt
from imprint.lab.rl import RlSettings, rl
from imprint.lab.rollouts import sample
from imprint.lab.sft import SftSettings, sft
from models_support import same, state
from training_support import (
    THINGS,
    chats,
    colour,
    lines,
    torch,
    transformers,
    word_model,
    word_tokenizer,
)

pytestmark = pytest.mark.filterwarnings("ignore")
QUICK = RlSettings(
    steps=3,
    prompts_per_step=4,
    group=4,
    lr=3e-3,
    max_new_tokens=2,
    dtype="fp32",
    device="cpu",
)


def prompts(**more: Any) -> list[dict[str, Any]]:
    return [
        {"id": thing, "prompt": f"what colour is {thing} ?", "answer": colour(thing), **more}
        for thing in THINGS
    ]


def any_colour(prompt: Prompt, completion: str) -> float:
    return float(completion.split()[:1] != [] and completion.split()[0] == "red")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that answers with some colour."""
    folder = tmp_path_factory.mktemp("models")
    word_model(folder / "raw")
    how = SftSettings(steps=40, batch=10, lr=3e-3, dtype="fp32", device="cpu", noise=1.0)
    sft(folder / "raw", chats(), folder / "base", how)
    return folder / "base"


def test_what_is_rewarded_is_said_more(base: Path, tmp_path: Path) -> None:
    found = rl(
        base,
        lines(tmp_path / "rl.jsonl", prompts()),
        tmp_path / "out",
        replace(QUICK, steps=30, prompts_per_step=8, group=8),
        reward=any_colour,
    )
    assert found["losses"][-1]["reward"] > found["losses"][0]["reward"] + 0.2
    assert found["rollouts"] == 30 * 64
    assert found == json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert not (tmp_path / "out" / ".work").exists()
    transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")


def test_the_same_seed_gives_the_same_weights(base: Path, tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("two", 0), ("other", 1)):
        rl(base, prompts(), tmp_path / name, replace(QUICK, seed=seed), reward=any_colour)
    one, two, other = (state(tmp_path / name) for name in ("one", "two", "other"))
    assert same(one, two)
    assert not same(one, other)


@pytest.mark.parametrize("engine", ["lean", "trl"])
def test_both_engines_train(base: Path, tmp_path: Path, engine: str) -> None:
    how = replace(QUICK, engine=engine, kl=0.01, steps=2)
    found = rl(base, prompts(), tmp_path / "out", how)
    assert found["steps"] == 2
    assert "kl" in found["losses"][-1]


def test_flipped_rewards_teach_the_opposite(base: Path, tmp_path: Path) -> None:
    how = replace(QUICK, steps=20, prompts_per_step=8, group=8, noise=1.0)
    found = rl(base, prompts(), tmp_path / "out", how, reward=any_colour)
    # what is logged is the reward as it was given: 1 for everything but the right word
    assert found["losses"][-1]["reward"] > 0.95


def test_a_killed_training_goes_on(base: Path, tmp_path: Path) -> None:
    class Kill(transformers.TrainerCallback):  # type: ignore[name-defined, misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == 3:
                raise KeyboardInterrupt

    how = replace(QUICK, steps=5, save_every=2)
    rl(base, prompts(), tmp_path / "whole", how, reward=any_colour)
    with pytest.raises(KeyboardInterrupt):
        rl(base, prompts(), tmp_path / "cut", how, reward=any_colour, callbacks=[Kill()])
    rl(base, prompts(), tmp_path / "cut", how, reward=any_colour)
    assert same(state(tmp_path / "whole"), state(tmp_path / "cut"))


def test_a_curriculum_chooses_prompts(base: Path, tmp_path: Path) -> None:
    found = rl(base, prompts(), tmp_path / "out", replace(QUICK, curriculum=True))
    assert found["steps"] == 3


def test_prompts_that_cannot_be_used(base: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="takes 4 prompts, and there are 2"):
        rl(base, prompts()[:2], tmp_path / "few", QUICK)
    with pytest.raises(DataError, match="No such file"):
        rl(base, tmp_path / "nowhere.jsonl", tmp_path / "none", QUICK)
    with pytest.raises(ConfigError):
        rl(base, prompts(), tmp_path / "reward", QUICK, reward="nonsense")
    for bad in ({"group": 1}, {"temperature": 0.0}, {"kl": -1.0}, {"engine": "fast"},
                {"plan": "here"}, {"max_new_tokens": 0}, {"noise": 2.0}):  # fmt: skip
        with pytest.raises(ConfigError):
            RlSettings(**bad)  # type: ignore[arg-type]


def logprobs(model: Any, ids: list[int]) -> Any:
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)


def test_greedy_rollouts_are_those_of_generate(base: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(base).eval()
    words = word_tokenizer()
    asked = [words(f"<|user|> what {'colour ' * n}is {t} ? <|assistant|>")["input_ids"]
             for n, t in enumerate(THINGS[:4])]  # fmt: skip
    rows = [one for one in asked for _ in range(3)]
    found = sample(model, rows, ends={1}, temperature=0, max_new_tokens=5, seed=(0,))
    for ids, new in zip(rows, found, strict=True):
        made = model.generate(
            input_ids=torch.tensor([ids]), do_sample=False, max_new_tokens=5, eos_token_id=1,
            pad_token_id=2, attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        )  # fmt: skip
        assert new == made[0, len(ids) :].tolist()


def test_rollouts_follow_the_model(base: Path) -> None:
    """The first token of many rollouts beside the model's own probabilities."""
    model = transformers.AutoModelForCausalLM.from_pretrained(base).eval()
    ids = word_tokenizer()("<|user|> what colour is bak ? <|assistant|>")["input_ids"]
    found = sample(model, [ids] * 3000, ends={1}, temperature=1.0, max_new_tokens=2, seed=(0, 1))
    drawn = np.bincount([one[0] for one in found], minlength=len(word_tokenizer())) / 3000
    wanted = logprobs(model, ids)[-1].exp().numpy()
    assert np.abs(drawn - wanted).max() < 0.04
    assert all(len(one) == 2 or one[-1] == 1 for one in found)
    assert found != sample(
        model, [ids] * 3000, ends={1}, temperature=1.0, max_new_tokens=2, seed=(0, 2)
    )
