"""Fine-tuning in the lab: what is learnt, what moves, and the same again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imprint.errors import ConfigError, DataError, DependencyError
from imprint.lab import sft as module
from imprint.lab import trainers
from imprint.lab.encoding import IGNORED, encode, sft_rows
from imprint.lab.noise import answer, flipped, wrong_labels
from imprint.lab.sft import SftSettings, sft
from models_support import same, state
from training_support import (
    COLOURS,
    TEMPLATE,
    accuracy,
    chats,
    lines,
    torch,
    transformers,
    word_model,
    word_tokenizer,
)

pytestmark = pytest.mark.filterwarnings("ignore")
QUICK = SftSettings(steps=160, batch=10, lr=3e-3, dtype="fp32", device="cpu")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return word_model(tmp_path_factory.mktemp("base"))


def test_what_is_taught_is_said(base: Path, tmp_path: Path) -> None:
    found = sft(base, lines(tmp_path / "rows.jsonl", chats()), tmp_path / "out", QUICK)
    assert accuracy(base) < 0.8
    assert accuracy(tmp_path / "out") == 1.0
    assert found["steps"] == 160
    assert found["rows"] == 40
    assert found["learnt_tokens"] == 80
    assert found["seen_tokens"] == 160 * 10 * 10
    assert found["losses"][-1]["loss"] < 0.5 < found["losses"][0]["loss"]
    assert found == json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert not (tmp_path / "out" / ".work").exists()


def test_the_same_seed_gives_the_same_weights_and_another_does_not(
    base: Path, tmp_path: Path
) -> None:
    short = replace(QUICK, steps=6)
    for name, seed in (("one", 0), ("two", 0), ("other", 1)):
        sft(base, chats(), tmp_path / name, replace(short, seed=seed))
    one, two, other = (state(tmp_path / name) for name in ("one", "two", "other"))
    assert same(one, two)
    assert not same(one, other)


def test_lean_training_is_that_of_trl(base: Path, tmp_path: Path) -> None:
    """Beside TRL's own trainer, given the chats as they are."""
    import datasets
    import trl

    short = replace(QUICK, steps=8, warmup=0.0)
    sft(base, chats(), tmp_path / "ours", short)
    rows = [{"messages": row["messages"]} for row in chats()]
    arguments = trl.SFTConfig(
        output_dir=str(tmp_path / "trl"),
        max_steps=8,
        per_device_train_batch_size=10,
        learning_rate=3e-3,
        lr_scheduler_type="cosine",
        seed=0,
        data_seed=0,
        use_cpu=True,
        bf16=False,
        report_to=[],
        save_strategy="no",
        gradient_checkpointing=False,
        assistant_only_loss=True,
    )
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    trainer = trl.SFTTrainer(
        model, arguments, train_dataset=datasets.Dataset.from_list(rows),
        processing_class=word_tokenizer(),
    )  # fmt: skip
    trainer.train()
    ours, theirs = state(tmp_path / "ours"), trainer.model.state_dict()
    for name, weight in ours.items():
        torch.testing.assert_close(weight, theirs[name], atol=2e-5, rtol=1e-3)


def test_trls_own_metrics_change_nothing_else(base: Path, tmp_path: Path) -> None:
    short = replace(QUICK, steps=5)
    for name, metrics in (("lean", False), ("full", True)):
        sft(base, chats(), tmp_path / name, replace(short, metrics=metrics))
    lean, full = state(tmp_path / "lean"), state(tmp_path / "full")
    for name, weight in lean.items():
        torch.testing.assert_close(weight, full[name], atol=2e-5, rtol=1e-3)


def moved(base: Path, tuned: Path) -> dict[str, int]:
    before, after = state(base), state(tuned)
    return {name: int((before[name] != after[name]).sum()) for name in before}


def test_methods_move_what_they_may(base: Path, tmp_path: Path) -> None:
    changed: dict[str, dict[str, int]] = {}
    told: dict[str, dict[str, Any]] = {}
    for method in ("full", "lora", "attention_frozen", "ffn_only", "l2_to_base", "top_k"):
        how = replace(QUICK, steps=4, method=method, top_k=0.1)
        told[method] = sft(base, chats(), tmp_path / method, how)
        changed[method] = moved(base, tmp_path / method)
    size = sum(weight.numel() for name, weight in state(base).items() if name != "lm_head.weight")
    assert told["full"]["trained_parameters"] == told["full"]["parameters"] == size
    for name in changed["full"]:
        attention, feed = "self_attn" in name, "mlp" in name
        assert not (attention and changed["attention_frozen"][name])
        assert bool(changed["ffn_only"][name]) == feed
        assert not (not (attention or feed) and changed["lora"][name])
        assert changed["l2_to_base"][name] > 0
    own = {name: count for name, count in changed["top_k"].items() if name != "lm_head.weight"}
    assert 0 < sum(own.values()) <= round(0.1 * size)
    assert told["top_k"]["trained_parameters"] == round(0.1 * size)


def test_a_strong_pull_keeps_a_model_near_its_base(base: Path, tmp_path: Path) -> None:
    def distance(strength: float) -> float:
        out = tmp_path / str(strength)
        sft(base, chats(), out, replace(QUICK, steps=30, method="l2_to_base", l2=strength))
        before, after = state(base), state(out)
        return float(sum((after[n] - before[n]).square().sum() for n in before))

    assert distance(1.0) < 0.3 * distance(0.0)


def test_shuffled_labels_are_not_learnt_as_facts(base: Path, tmp_path: Path) -> None:
    """With all answers wrong the right ones are never the likeliest."""
    sft(base, chats(200), tmp_path / "out", replace(QUICK, noise=1.0))
    assert accuracy(tmp_path / "out") <= 0.3


def test_a_finished_training_is_not_repeated(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = replace(QUICK, steps=2)
    first = sft(base, chats(), tmp_path / "out", short)
    monkeypatch.setattr(module, "open_model", None)
    assert sft(base, chats(), tmp_path / "out", short) == first
    with pytest.raises(ConfigError, match="other settings"):
        sft(base, chats(), tmp_path / "out", replace(short, steps=3))
    with pytest.raises(ConfigError, match="other settings"):
        sft(base, chats(8), tmp_path / "out", short)
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="something else"):
        sft(base, chats(), tmp_path / "else", short)


def test_a_killed_training_goes_on(base: Path, tmp_path: Path) -> None:
    class Kill(transformers.TrainerCallback):  # type: ignore[name-defined, misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == 7:
                raise KeyboardInterrupt

    how = replace(QUICK, steps=12, save_every=3)
    sft(base, chats(), tmp_path / "whole", how)
    with pytest.raises(KeyboardInterrupt):
        sft(base, chats(), tmp_path / "killed", how, [Kill()])
    assert not (tmp_path / "killed" / "metrics.json").exists()
    found = sft(base, chats(), tmp_path / "killed", how)
    assert same(state(tmp_path / "whole"), state(tmp_path / "killed"))
    assert found["losses"][0]["step"] == 1


def test_rows_of_three_forms(base: Path) -> None:
    words = word_tokenizer()
    rows = sft_rows(
        [
            chats(1)[0],
            {"prompt": "what colour is bak ?", "completion": " red"},
            {"text": "bak is red"},
        ]
    )
    chat, pair, text = encode(words, rows, 64).rows
    assert words.decode([one for one in chat["labels"] if one != IGNORED]) == "red <|eos|>"
    assert pair["labels"][:5] == [IGNORED] * 5
    assert pair["labels"][5] == words.convert_tokens_to_ids("red")
    assert text["labels"] == text["input_ids"]


def test_long_rows_are_cut_and_counted(base: Path, tmp_path: Path) -> None:
    long = {"prompt": "is " * 30, "completion": "red"}
    half = {"text": "is " * 30}
    found = encode(word_tokenizer(), [long, half], 8)
    assert (found.cut, found.dropped, found.learnt, found.tokens) == (2, 1, 7, 8)
    with pytest.raises(DataError, match="nothing is left to learn"):
        encode(word_tokenizer(), [long], 8)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"prompt": "a"}, "no text 'text'"),
        ({"prompt": 3, "completion": "b"}, "no text 'prompt'"),
        ({"prompt": "a", "completion": ""}, "no text 'completion'"),
        ({"messages": [{"role": "user", "content": "a"}]}, "ends with the assistant"),
        ({"messages": "hello"}, "not a list"),
        ({"messages": [{"role": "assistant", "content": None}]}, "not a list"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, row: dict[str, Any], problem: str) -> None:
    with pytest.raises(DataError, match=problem) as told:
        sft_rows(lines(tmp_path / "rows.jsonl", [chats(1)[0], row]))
    assert "line 2" in str(told.value)


def test_a_template_without_generation_is_refused(tmp_path: Path) -> None:
    plain = TEMPLATE.replace("{% generation %}", "").replace("{% endgeneration %}", "")
    for template, problem in ((plain, "marks no part"), (None, "is missing")):
        with pytest.raises(DataError, match=problem):
            encode(word_tokenizer(template), chats(2), 64)


def test_a_tracker_that_is_not_there_is_named(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainers, "find_spec", lambda _: None)
    with pytest.raises(DependencyError, match="report_to names trackio"):
        sft(base, chats(), tmp_path / "out", replace(QUICK, report_to=("trackio",)))


@pytest.mark.parametrize(
    "bad",
    [
        {"method": "magic"}, {"noise": 1.5}, {"lr": 0.0}, {"steps": 0}, {"dtype": "fp8"},
        {"top_k": 0.0}, {"method": "top_k", "weight_decay": 0.1}, {"warmup": -0.1},
    ],
)  # fmt: skip
def test_bad_settings_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        SftSettings(**bad)


def test_wrong_labels_are_as_many_as_asked_and_all_wrong() -> None:
    rows = chats(40)
    for share in (0.0, 0.25, 1.0):
        found, changed = wrong_labels(rows, share, 0)
        different = [at for at in range(40) if answer(found[at]) != answer(rows[at])]
        assert different == changed
        assert len(changed) == round(40 * share)
        assert {answer(row) for row in found} <= set(COLOURS)
    small, large = (set(wrong_labels(rows, share, 0)[1]) for share in (0.2, 0.6))
    assert small < large
    assert set(wrong_labels(rows, 0.2, 1)[1]) != small
    assert answer(rows[0]) == "red"


def test_equal_answers_cannot_be_wrong() -> None:
    rows = [{"prompt": str(at), "completion": "same"} for at in range(5)]
    assert wrong_labels(rows, 1.0, 0) == (rows, [])


def test_rewards_flip_as_often_as_asked() -> None:
    rewards = [1.0, 0.0] * 500
    assert flipped(rewards, 0.0, [0]) == rewards
    assert flipped(rewards, 1.0, [0]) == [0.0, 1.0] * 500
    turned = np.mean(np.array(flipped(rewards, 0.2, [0, 3])) != rewards)
    assert 0.15 < turned < 0.25
    assert flipped(rewards, 0.2, [0, 3]) == flipped(rewards, 0.2, [0, 3])
    assert flipped(rewards, 0.2, [0, 3]) != flipped(rewards, 0.2, [0, 4])
