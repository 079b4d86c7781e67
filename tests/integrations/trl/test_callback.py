"""The callback in real trainings: what it measures, what it leaves alone, when it warns."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from imprint.errors import ConfigError, DataError
from imprint.integrations.trl.following import Following
from imprint.integrations.trl.measuring import Measured
from models_support import same
from tests_support import HOSTILE
from training_support import (
    COLOURS,
    THINGS,
    chats,
    colour,
    lines,
    torch,
    transformers,
    word_model,
    word_tokenizer,
)

trl = pytest.importorskip("trl", reason="trl is not installed")
datasets = pytest.importorskip("datasets", reason="datasets is not installed")

from imprint.integrations.trl import ImprintCallback, measuring  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
ASK = "<|user|> what colour is {} ? <|assistant|>"
TEXTS = [f"{thing} is {colour(thing)} ? what colour is {thing} ?" for thing in THINGS]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return word_model(tmp_path_factory.mktemp("base"))


@pytest.fixture
def probes(tmp_path: Path) -> dict[str, Any]:
    facts = [
        {"relation": "colour", "subject": t, "answers": [colour(t)], "prompts": [ASK.format(t)]}
        for t in THINGS
    ]
    questions = [
        {"question": ASK.format(t), "choices": list(COLOURS), "answer": COLOURS.index(colour(t))}
        for t in THINGS
    ]
    rows = [
        {"domain": domain, "prompt": ASK.format(t), "answer": colour(t)}
        for domain, part in (("early", THINGS[:5]), ("late", THINGS[5:]))
        for t in part
    ]
    return {
        "texts": TEXTS,
        "facts": lines(tmp_path / "facts.jsonl", facts),
        "choices": lines(tmp_path / "questions.jsonl", questions),
        "domains": lines(tmp_path / "domains.jsonl", rows),
        "quiet": True,
    }


def trainer(base: Path, out: Path, callbacks: list[Any], **more: Any) -> Any:
    from imprint.lab.encoding import encode

    arguments = {
        "output_dir": str(out),
        "max_steps": 12,
        "per_device_train_batch_size": 10,
        "learning_rate": 3e-3,
        "use_cpu": True,
        "bf16": False,
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "seed": 0,
        **more.pop("arguments", {}),
    }
    model = more.pop("model", None) or transformers.AutoModelForCausalLM.from_pretrained(
        base, dtype=torch.float32
    )
    rows = encode(word_tokenizer(), chats(), 64).rows
    return transformers.Trainer(
        model=model,
        args=transformers.TrainingArguments(**arguments),
        train_dataset=datasets.Dataset.from_list(rows),
        data_collator=transformers.DataCollatorForSeq2Seq(word_tokenizer()),
        processing_class=word_tokenizer(),
        callbacks=callbacks,
        **more,
    )


def test_follows_a_training_and_leaves_it_alone(
    base: Path, probes: dict[str, Any], tmp_path: Path
) -> None:
    following = ImprintCallback(every=4, **probes)
    followed = trainer(base, tmp_path / "followed", [following])
    alone = trainer(base, tmp_path / "alone", [])
    followed.train()
    alone.train()
    assert same(dict(followed.model.state_dict()), dict(alone.model.state_dict()))
    assert [row["step"] for row in following.rows] == [0, 4, 8, 12]
    first, last = following.rows[0], following.rows[-1]
    assert first["drift"] == pytest.approx(0, abs=1e-6)
    assert last["drift_low"] > 0
    assert last["mastery"] > first["mastery"]
    assert last["loss_change/early"] < 0
    assert last["ece_null"] > 0
    assert sum(last[f"level_{at}"] for at in range(5)) == pytest.approx(1)
    assert 0 < following.share < 1
    logged = [row for row in followed.state.log_history if "imprint/drift" in row]
    assert [row["step"] for row in logged] == [0, 4, 8, 12]
    written = (tmp_path / "followed" / "imprint_callback.jsonl").read_text().splitlines()
    assert [json.loads(line)["drift"] for line in written] == [r["drift"] for r in following.rows]
    run = tmp_path / "followed" / "imprint_callback"
    table = pl.read_parquet(run / "tables" / "measurements.parquet")
    assert table["step"].to_list() == [0, 4, 8, 12]
    assert len(pl.read_parquet(run / "tables" / "domains.parquet")) == 8
    assert "Expected calibration error" in (run / "report.html").read_text()
    assert json.loads((run / "manifest.json").read_text())["job"] == "callback"


def plain_logprobs(model: Any, ids: list[int]) -> Any:
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(-1)


def test_values_are_those_of_a_plain_reference(
    base: Path, probes: dict[str, Any], tmp_path: Path
) -> None:
    following = ImprintCallback(every=100, **probes)
    done = trainer(base, tmp_path, [following])
    done.train()
    before = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    after, words, last = done.model.eval(), word_tokenizer(), following.rows[-1]
    divergences, chances, picked = [], [], []
    for thing, text in zip(THINGS, TEXTS, strict=True):
        ids = [0, *words(text)["input_ids"]]
        p, q = plain_logprobs(before, ids)[:-1], plain_logprobs(after, ids)[:-1]
        divergences.append(float((p.exp() * (p - q)).sum(-1).mean()))
        asked = words(ASK.format(thing))["input_ids"]
        found = plain_logprobs(after, asked)[-1]
        chances.append(float(found[words.convert_tokens_to_ids(colour(thing))].exp()))
        options = [float(found[words.convert_tokens_to_ids(one)]) for one in COLOURS]
        picked.append(COLOURS[int(np.argmax(options))] == colour(thing))
    assert last["drift"] == pytest.approx(np.mean(divergences), rel=1e-4)
    assert last["mastery"] == pytest.approx(np.mean(chances), rel=1e-4)
    assert last["accuracy"] == np.mean(picked)
    assert last["loss/early"] == pytest.approx(-np.mean(np.log(chances[:5])), rel=1e-4)


def test_little_memory_gives_a_lower_bound(
    base: Path, probes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "KEPT", 4)
    whole, part = ImprintCallback(every=100, **probes), ImprintCallback(
        every=100, memory=1, **{**probes, "out": tmp_path / "part"}
    )  # fmt: skip
    trainer(base, tmp_path / "whole", [whole]).train()
    trainer(base, tmp_path / "other", [part]).train()
    assert 0 < part.rows[-1]["drift"] < whole.rows[-1]["drift"]
    assert "at least" in (tmp_path / "part" / "imprint_callback" / "report.html").read_text()
    monkeypatch.setattr(measuring, "KEPT", 10**6)
    more = ImprintCallback(every=100, memory=1, **probes)
    trainer(base, tmp_path / "more", [more]).train()
    assert more.rows[-1]["drift"] == pytest.approx(whole.rows[-1]["drift"], rel=1e-3)


def test_an_adapter_is_its_own_base(base: Path, probes: dict[str, Any], tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules="all-linear"))
    following = ImprintCallback(every=6, **probes)
    trainer(base, tmp_path, [following], model=adapted).train()
    assert [row["step"] for row in following.rows] == [0, 6, 12]
    assert following.rows[0]["drift"] == pytest.approx(0, abs=1e-6)
    assert following.rows[-1]["drift"] > 0
    assert not (tmp_path / "imprint_callback_base.npz").exists()


def test_a_resumed_training_keeps_its_base(
    base: Path, probes: dict[str, Any], tmp_path: Path
) -> None:
    saving = {"save_strategy": "steps", "save_steps": 6}
    whole = ImprintCallback(every=3, **probes)
    trainer(base, tmp_path / "whole", [whole], arguments=saving).train()

    class Kill(transformers.TrainerCallback):  # type: ignore[name-defined, misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == 8:
                raise KeyboardInterrupt

    first, again = ImprintCallback(every=3, **probes), ImprintCallback(every=3, **probes)
    with pytest.raises(KeyboardInterrupt):
        trainer(base, tmp_path / "cut", [first, Kill()], arguments=saving).train()
    trainer(base, tmp_path / "cut", [again], arguments=saving).train(resume_from_checkpoint=True)
    assert [row["step"] for row in again.rows] == [0, 3, 6, 9, 12]
    for name in ("drift", "mastery", "accuracy", "loss_change/late"):
        ours, theirs = again.rows[-1][name], whole.rows[-1][name]
        assert ours == pytest.approx(theirs, rel=1e-4)
    other = ImprintCallback(every=3, **{**probes, "texts": TEXTS[:3]})
    with pytest.raises(ConfigError, match="other texts"):
        trainer(base, tmp_path / "cut", [other], arguments=saving).train(
            resume_from_checkpoint=True
        )


def test_works_in_trl(base: Path, probes: dict[str, Any], tmp_path: Path) -> None:
    from imprint.lab.sft import SftSettings, sft

    following = ImprintCallback(every=2, out=tmp_path / "followed", **probes)
    how = SftSettings(steps=4, batch=10, dtype="fp32", device="cpu")
    sft(base, chats(), tmp_path / "out", how, [following])
    assert [row["step"] for row in following.rows] == [0, 2, 4]
    assert (tmp_path / "followed" / "imprint_callback" / "summary.md").exists()


def measured(drift: float, right: float, count: int = 100, noise: float = 0.0) -> Measured:
    rng = np.random.default_rng(int(1000 * drift))
    hits = np.zeros(count)
    hits[: round(right * count)] = 1
    if noise:
        hits = rng.permutation(hits)
    values = drift * (1 + 0.1 * np.arange(50) / 50)
    return Measured(values, np.empty(0), np.empty(0), np.full(count, 0.5), hits, {})


def test_warns_once_when_drift_goes_on_without_a_gain() -> None:
    following, told = Following(patience=2, gain=0.05), []
    for step, (drift, right) in enumerate(
        [(0.0, 0.2), (0.1, 0.5), (0.2, 0.7), (0.3, 0.7), (0.4, 0.7), (0.5, 0.7), (0.6, 0.7)]
    ):
        following.add(step, measured(drift, right))
        told.append(following.warning())
    assert [at for at, text in enumerate(told) if text] == [4]
    assert following.warned == 4
    assert "moving away from its base" in str(told[4])
    assert "+0.0 points, at most +3.0" in str(told[4])


def test_intervals_of_shares_end_at_one() -> None:
    known = np.array([1.0] * 39 + [0.6])
    found = Following(2, 0.05).add(0, replace(measured(0.0, 0.5), facts=known, facts_right=known))
    assert found["mastery_high"] == found["fact_accuracy_high"] == 1
    assert found["mastery_low"] < found["mastery"] < 1


@pytest.mark.parametrize(
    "course",
    [
        [(0.1 * at, 0.1 * at) for at in range(7)],  # accuracy rises
        [(0.3, 0.5)] * 7,  # drift stands still
        [(0.3 - 0.01 * at, 0.5) for at in range(7)],  # drift falls
    ],
)
def test_does_not_warn(course: list[tuple[float, float]]) -> None:
    following = Following(patience=2, gain=0.05)
    for step, one in enumerate(course):
        following.add(step, measured(*one))
        assert following.warning() is None


def test_noise_does_not_fire_the_warning() -> None:
    """Few items, or answers that come and go: a gain cannot be ruled out."""
    few, noisy = Following(patience=2, gain=0.05), Following(patience=2, gain=0.05)
    for step in range(7):
        few.add(step, measured(0.1 * step, 0.5, count=20))
        noisy.add(step, measured(0.1 * step, 0.5, noise=1.0))
        assert few.warning() is None
        assert noisy.warning() is None


def test_stops_at_the_warning(base: Path, probes: dict[str, Any], tmp_path: Path) -> None:
    """A learning rate that wrecks the model while nothing is learnt: random answers."""
    following = ImprintCallback(
        every=2, stop=True, patience=1, gain=0.9, **{**probes, "domains": None}
    )
    wrong = trainer(base, tmp_path, [following], arguments={"max_steps": 40, "learning_rate": 0.0})
    wrong.train()
    assert wrong.state.global_step == 40
    assert not following.warnings
    other = ImprintCallback(every=2, stop=True, patience=1, gain=0.9, texts=TEXTS,
                            choices=probes["choices"], out=tmp_path / "w", quiet=True)  # fmt: skip
    other.following.warning = lambda: "enough" if len(other.rows) == 2 else None  # type: ignore
    stopped = trainer(base, tmp_path / "s", [other])
    stopped.train()
    assert stopped.state.global_step == 4
    assert other.warnings == ["enough"]


def test_facts_are_asked_by_so_many_prompts(base: Path, tmp_path: Path) -> None:
    prompts = [f"{word} is" for word in THINGS]
    fact = {"relation": "r", "subject": "s", "answers": ["red"], "prompts": prompts}
    following = ImprintCallback(
        facts=lines(tmp_path / "facts.jsonl", [fact]), prompts=3, every=99, quiet=True
    )
    trainer(base, tmp_path / "out", [following], arguments={"max_steps": 1}).train()
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    words = word_tokenizer()
    red = words.convert_tokens_to_ids("red")
    chances = [
        float(plain_logprobs(model, words(prompts[at])["input_ids"])[-1][red].exp())
        for at in (0, 3, 6)
    ]
    assert following.rows[0]["mastery"] == pytest.approx(np.mean(chances), rel=1e-4)


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        ({}, "nothing to follow"),
        ({"texts": ["a"], "every": 0}, "every is 0"),
        ({"texts": ["a", " "]}, "text 2 is empty"),
        ({"texts": "nowhere.txt"}, "nowhere"),
        ({"facts": "nowhere.jsonl"}, "no such file"),
        ({"choices": "nowhere.jsonl"}, "nowhere"),
        ({"domains": [{"prompt": "a"}]}, "no domain"),
        ({"texts": ["a"], "gain": 0.0}, "gain is 0"),
    ],
)
def test_bad_inputs_are_refused_before_training(bad: dict[str, Any], problem: str) -> None:
    with pytest.raises((ConfigError, DataError), match=f"(?i){problem}"):
        ImprintCallback(**bad)


def test_a_trainer_without_a_tokenizer_is_told_so(base: Path, tmp_path: Path) -> None:
    made = trainer(base, tmp_path, [ImprintCallback(texts=TEXTS, quiet=True)])
    made.callback_handler.processing_class = None
    with pytest.raises(ConfigError, match="no tokenizer"):
        made.train()
    assert made.state.global_step == 0


def test_hostile_names_are_escaped(base: Path, tmp_path: Path) -> None:
    rows = [{"domain": name, "text": TEXTS[0]} for name in HOSTILE]
    trainer(base, tmp_path, [ImprintCallback(domains=rows, quiet=True)]).train()
    page = (tmp_path / "imprint_callback" / "report.html").read_text()
    assert not [name for name in HOSTILE if name.startswith("<") and name in page]


def test_trackers_get_the_values(base: Path, probes: dict[str, Any], tmp_path: Path) -> None:
    seen: list[tuple[int, dict[str, Any]]] = []

    class Tracker(transformers.TrainerCallback):  # type: ignore[name-defined, misc]
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            seen.append((state.global_step, logs))

    following = ImprintCallback(every=6, **probes)
    made = trainer(base, tmp_path, [following])
    following_begin = following.on_train_begin

    def begin(*given: Any, **more: Any) -> None:
        following_begin(*given, **more)
        following._trackers = [Tracker()]

    following.on_train_begin = begin  # type: ignore[method-assign]
    made.train()
    assert [step for step, _ in seen] == [6, 12]
    assert "imprint/drift" in seen[0][1]
