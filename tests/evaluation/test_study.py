"""The whole job: tables, resuming, rollouts, lm-eval's tasks and files, and on to transfer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import polars as pl
import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import imprint
from completions_server import NAME, serving
from imprint import EvaluateConfig
from imprint.errors import ConfigError, DataError
from imprint.evaluation import study
from imprint.evaluation.lm_eval_files import write
from imprint.evaluation.subjects import subjects
from imprint.formats.evaluation import read_runs
from models_support import tiny
from tests_support import HOSTILE

ROWS = [
    {"prompt": f"{'abcdefghij'[n % 10]} cat {n % 5 * 'is '}", "choices": ["big", "so small", "red"],
     "answer": n % 3}
    for n in range(30)
]  # fmt: skip
SUMS = [{"id": str(n), "prompt": "abc"[n % 3], "answer": "a", "domain": "x"} for n in range(6)]


def lines(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("models")
    base = tiny(folder / "base")
    return str(base), str(tiny(folder / "tuned", seed=1, near=base))


@pytest.fixture
def table(models: tuple[str, str], tmp_path: Path) -> Path:
    path = tmp_path / "models.csv"
    base, tuned = models
    path.write_text(
        "model,unit,stage,scale,parameters,recipe\n"
        f"{base},mix,pretrained,10k,10000,plain\n{tuned},mix,sft,10k,10000,plain\n"
    )
    return path


@pytest.fixture
def zoo(tmp_path: Path) -> str:
    return lines(tmp_path / "zoo.jsonl", ROWS)


def settings(**given: Any) -> EvaluateConfig:
    return EvaluateConfig(**{"quiet": True, "max_new_tokens": 4, "samples": 3, **given})


def test_labels_and_the_way_of_asking_travel_into_every_row(table: Path, zoo: str) -> None:
    config = settings(benchmarks=(zoo,), num_fewshot=1, system_prompt=("sft=be kind",))
    found = imprint.evaluate([], config, models_table=table)
    items, scores = found.tables["items"], found.tables["scores"]
    assert len(items) == 2 * 29
    assert items.select("unit", "scale", "parameters", "recipe").unique().row(0) == (
        "mix", "10k", 10000.0, "plain",
    )  # fmt: skip
    told = items.select("stage", "system_prompt", "shots", "chat_template").unique(
        maintain_order=True
    )
    assert told.rows() == [("pretrained", None, 1, "none"), ("sft", "be kind", 1, "none")]
    assert scores["stage"].to_list() == ["pretrained", "sft"]
    assert scores["chance"].to_list() == pytest.approx([1 / 3, 1 / 3])
    own = items.filter(pl.col("stage") == "sft")
    assert scores["accuracy"][1] == pytest.approx(own["correct"].mean())
    assert scores["confidence"][1] == pytest.approx(own["confidence"].mean())
    error = own["confidence"].std() / len(own) ** 0.5
    assert scores["confidence_se"][1] == pytest.approx(error)
    assert found.data["benchmarks"][0]["items"] == 29
    assert set(items.filter(pl.col("stage") == "pretrained")["item"]) == set(own["item"])


def test_the_result_follows_its_schema(table: Path, zoo: str, tmp_path: Path) -> None:
    prompts = lines(tmp_path / "sums.jsonl", SUMS)
    found = imprint.evaluate([], settings(benchmarks=(zoo,), prompts=prompts), models_table=table)
    schema = json.loads(
        (resources.files("imprint.evaluation") / "evaluate.schema.json").read_text()
    )
    jsonschema.validate(json.loads(found.json()), schema)
    assert {row["benchmark"] for row in found.data["benchmarks"]} == {"zoo"}


def test_a_label_may_be_empty_for_some_models(
    models: tuple[str, str], zoo: str, tmp_path: Path
) -> None:
    table = tmp_path / "sizes.csv"
    base, tuned = models
    table.write_text(f"model,unit,stage,size\n{base},mix,pretrained,\n{tuned},mix,sft,60\n")
    found = imprint.evaluate([], settings(benchmarks=(zoo,)), models_table=table)
    assert found.tables["scores"]["size"].to_list() == [None, "60"]


def test_calibration_waits_for_enough_items(models: tuple[str, str], tmp_path: Path) -> None:
    rows = [{**ROWS[n % 30], "prompt": f"{n % 26 * 'a'} {n // 26 * 'b'}"} for n in range(160)]
    config = settings(benchmarks=(lines(tmp_path / "many.jsonl", rows),))
    (row,) = imprint.evaluate(models[:1], config).data["calibration"]
    assert 0 <= row["null_mean"] <= row["null_high"] <= 1
    assert 0 < row["p"] <= 1
    few = settings(benchmarks=(lines(tmp_path / "few.jsonl", rows[:20]),))
    (row,) = imprint.evaluate(models[:1], few).data["calibration"]
    assert row["ece"] is None
    assert "20 items are fewer than 150" in row["reason"]


def test_an_interrupted_run_resumes_with_the_same_numbers(
    table: Path, zoo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = lines(tmp_path / "sums.jsonl", SUMS)
    monkeypatch.setattr(study, "BLOCK", 10)
    monkeypatch.setattr(study, "PROMPTS", 2)
    config = settings(benchmarks=(zoo,), prompts=prompts)
    whole = imprint.evaluate([], config, models_table=table, out=tmp_path / "whole")
    scored = study.score_items
    for stop in (1, 3, 5):
        left = [stop]

        def interrupted(*given: Any, left: list[int] = left, **named: Any) -> pl.DataFrame:
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            return scored(*given, **named)

        out = tmp_path / f"cut-{stop}"
        monkeypatch.setattr(study, "score_items", interrupted)
        with pytest.raises(KeyboardInterrupt):
            imprint.evaluate([], config, models_table=table, out=out)
        assert not (out / "result.json").exists()
        monkeypatch.setattr(study, "score_items", scored)
        again = imprint.evaluate([], config, models_table=table, out=out)
        for name, frame in whole.tables.items():
            assert frame.equals(again.tables[name]), name
        assert len(json.loads((out / "manifest.json").read_text())["resumed"]) >= stop


def test_rollouts_are_verified_and_counted(models: tuple[str, str], tmp_path: Path) -> None:
    prompts = lines(tmp_path / "sums.jsonl", [{**row, "answer": "[abc]"} for row in SUMS])
    config = settings(prompts=prompts, samples=8, verify="regex")
    found = imprint.evaluate(models[:1], config)
    rollouts, rates = found.tables["rollouts"], found.tables["pass_rates"]
    assert len(rollouts) == 48
    assert rollouts["sample"].to_list() == list(range(8)) * 6
    for row in rollouts.iter_rows(named=True):
        assert row["passed"] == any(letter in row["completion"] for letter in "abc")
        assert row["reward"] == row["passed"]
    assert 0 < rates["c"].sum() < 48
    assert rates["item"].to_list() == [row["id"] for row in SUMS]
    assert rates["pass_rate"].to_list() == pytest.approx((rates["c"] / 8).to_list())
    assert (rates["ci_low"] <= rates["pass_rate"]).all()
    assert rates["answers"][0].to_list() == ["[abc]"]
    assert rates["k"][0].to_list() == [1, 2, 4, 8]
    means = found.tables["pass_at_k"]
    assert means["pass_at_k"][0] == pytest.approx(rates["pass_rate"].mean())
    assert means["pass_at_k"].is_sorted()
    score = found.tables["scores"].row(0, named=True)
    assert (score["benchmark"], score["metric"], score["items"]) == ("sums", "pass@1", 6)
    again = imprint.evaluate(models[:1], config)
    assert again.tables["rollouts"].equals(rollouts)
    other = imprint.evaluate(models[:1], settings(prompts=prompts, samples=8, seed=1))
    assert other.tables["rollouts"]["completion"].to_list() != rollouts["completion"].to_list()


def test_examples_stand_before_prompts(models: tuple[str, str], tmp_path: Path) -> None:
    rows = [{"id": letter, "question": letter, "answer": letter * 2} for letter in "abcd"]
    prompts = lines(tmp_path / "letters.jsonl", rows)
    found = imprint.evaluate(models[:1], settings(prompts=prompts, num_fewshot=1, samples=1))
    rollouts = found.tables["rollouts"]
    assert len(rollouts) == 3
    (shot,) = set("abcd") - set(rollouts["item"])
    for row in rollouts.iter_rows(named=True):
        before = f"Question: {shot}\nAnswer: {shot * 2}\n\n"
        assert row["prompt"] == f"{before}Question: {row['item']}\nAnswer:"
        assert "\n" not in row["completion"]
        assert row["shots"] == 1
    with pytest.raises(ConfigError, match="leaves none of 4 prompts"):
        imprint.evaluate(models[:1], settings(prompts=prompts, num_fewshot=4))


def test_a_conversation_needs_a_template(models: tuple[str, str], tmp_path: Path) -> None:
    row = {"prompt": [{"role": "user", "content": "a"}], "answer": "b"}
    prompts = lines(tmp_path / "talk.jsonl", [row])
    with pytest.raises(ConfigError, match=r"line 1 of the prompts: .*no chat template"):
        imprint.evaluate(models[:1], settings(prompts=prompts))
    template = tmp_path / "template.jinja"
    template.write_text("{% for m in messages %}{{ m.role }} {{ m.content }} {% endfor %}")
    config = settings(prompts=prompts, chat_template=(str(template),))
    found = imprint.evaluate(models[:1], config).tables["rollouts"]
    assert found["prompt"][0].startswith("user a")
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    bad = lines(tmp_path / "bad.jsonl", [{"prompt": turns, "answer": "b"}])
    with pytest.raises(DataError, match="must alternate"):
        imprint.evaluate(models[:1], settings(prompts=bad, chat_template=(str(template),)))


@pytest.fixture(scope="module")
def url(models: tuple[str, str]) -> Iterator[str]:
    with serving(Path(models[0])) as address:
        yield address


def test_a_server_gives_the_tables_that_the_model_gives_here(
    models: tuple[str, str], zoo: str, tmp_path: Path, url: str
) -> None:
    prompts = lines(tmp_path / "sums.jsonl", SUMS)
    here = imprint.evaluate(models[:1], settings(benchmarks=(zoo,), limit=10, dtype="fp32"))
    there = imprint.evaluate(
        [NAME], settings(benchmarks=(zoo,), prompts=prompts, limit=10, engine=url)
    )
    ours, theirs = here.tables["items"], there.tables["items"]
    assert ours["selected"].to_list() == theirs["selected"].to_list()
    for one, other in zip(ours["logprobs"], theirs["logprobs"], strict=True):
        assert one.to_list() == pytest.approx(other.to_list(), abs=1e-4)
    assert theirs["engine"].unique().to_list() == ["endpoint"]
    assert len(there.tables["rollouts"]) == 6 * 3


def test_a_server_that_dies_leaves_what_is_done(
    models: tuple[str, str], zoo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "BLOCK", 5)
    out = tmp_path / "out"
    with serving(Path(models[0]), "--die-after", "14") as first:
        port = first.rpartition(":")[2].removesuffix("/v1")
        config = settings(benchmarks=(zoo,), engine=first, retries=1)
        with pytest.raises(DataError, match="the same command resumes"):
            imprint.evaluate([NAME], config, out=out)
    with serving(Path(models[0]), "--port", port) as second:
        assert second == first
        imprint.evaluate([NAME], config, out=out)
    resumed = json.loads((out / "manifest.json").read_text())["resumed"]
    assert {"m000-asked", "m000-b000-0000", "m000-b000-0001"} <= set(resumed)


def test_lm_eval_files_are_read_back_to_the_same_items(
    table: Path, models: tuple[str, str], zoo: str, tmp_path: Path
) -> None:
    blanks = [
        {"sentence": f"a _ is {word}.", "option1": "cat", "option2": "bee", "answer": "2"}
        for word in ("big", "red", "so small")
    ]
    files = (zoo, lines(tmp_path / "blanks.jsonl", blanks))
    config = settings(benchmarks=files, num_fewshot=1, normalisation="raw")
    inputs = study.open_inputs(subjects([], table), config, table)
    found = study.perform(inputs, None)
    written = write(inputs, found, tmp_path / "shaped")
    assert len(written) == 2
    for run in read_runs(tmp_path / "shaped"):
        stage = "sft" if run.model == models[1] else "pretrained"
        own = found.items.filter(pl.col("stage") == stage)
        assert run.items is not None
        assert len(run.items) == len(own)
        both = own.join(run.items, on=["benchmark", "item"], suffix="_read")
        assert len(both) == len(own)
        for name in ("gold", "selected", "correct", "logprobs", "prompt", "metric", "shots"):
            assert both[name].equals(both[f"{name}_read"], null_equal=True), name
        zoo_rows = both.filter(pl.col("benchmark") == "zoo")
        for name in ("characters", "bytes"):
            assert zoo_rows[name].equals(zoo_rows[f"{name}_read"]), name
        means = run.scores.filter(pl.col("metric") == "acc")
        ours = found.tables["scores"].filter(pl.col("stage") == stage)
        joined = ours.join(means, on="benchmark", suffix="_read")
        assert joined["accuracy"].to_list() == pytest.approx(joined["accuracy_read"].to_list())
        se = joined.select("accuracy_se", "accuracy_se_read").rows()
        assert all(one == pytest.approx(other) for one, other in se)


TASK = """task: zoo_task
dataset_path: json
dataset_kwargs:
  data_files:
    test: {path}
test_split: test
output_type: multiple_choice
doc_to_text: prompt
doc_to_choice: choices
doc_to_target: answer
metric_list:
  - metric: acc
metadata:
  version: 1.0
"""


def test_a_task_of_lm_eval_gives_the_same_items_as_our_own_file(
    models: tuple[str, str], zoo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lm_eval", reason="lm-eval is not installed")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    described = tmp_path / "zoo_task.yaml"
    described.write_text(TASK.format(path=zoo))
    config = settings(benchmarks=(zoo, str(described)), normalisation="character")
    inputs = study.open_inputs(subjects(models[:1]), config)
    found = study.perform(inputs, None)
    ours, theirs = (found.items.filter(pl.col("benchmark") == name) for name in ("zoo", "zoo_task"))
    both = ours.join(theirs, on="item", suffix="_task")
    assert len(both) == len(ours) == len(theirs) == 30
    for name in ("selected", "correct", "metric", "characters", "prompt"):
        assert both[name].equals(both[f"{name}_task"]), name
    for one, other in zip(both["logprobs"], both["logprobs_task"], strict=True):
        assert one.to_list() == pytest.approx(other.to_list(), abs=1e-5)
    assert both["confidence"].to_list() == pytest.approx(both["confidence_task"].to_list())
    written = write(inputs, found, tmp_path / "shaped")
    assert len(written) == 2
    (run,) = read_runs(tmp_path / "shaped")
    assert set(run.scores["benchmark"]) == {"zoo", "zoo_task"}


def test_tasks_that_cannot_be_run_are_told(models: tuple[str, str], tmp_path: Path) -> None:
    pytest.importorskip("lm_eval", reason="lm-eval is not installed")
    described = tmp_path / "zoo_task.yaml"
    described.write_text(TASK.format(path=tmp_path / "absent.jsonl"))
    with pytest.raises(ConfigError, match="lm-eval cannot run the task"):
        imprint.evaluate(models[:1], settings(benchmarks=(str(described),)))
    with pytest.raises(ConfigError, match="--normalisation token is not to be had"):
        imprint.evaluate(models[:1], settings(benchmarks=(str(described),), normalisation="token"))


def test_hostile_names_are_shown_as_they_are(tmp_path: Path, models: tuple[str, str]) -> None:
    rows = [
        {**row, "prompt": f"{HOSTILE[n % len(HOSTILE)][:20]} {n}"} for n, row in enumerate(ROWS)
    ]
    path = tmp_path / "<img src=x onerror=alert(1)>.jsonl"
    prompts = lines(tmp_path / "sums.jsonl", [{**SUMS[0], "domain": "<script>alert(2)</script>"}])
    config = settings(benchmarks=(lines(path, rows),), prompts=prompts)
    page = imprint.evaluate(models[:1], config).html()
    assert "<img src=x" not in page
    assert "<script>alert(2)" not in page


def test_two_models_of_the_same_labels_are_refused(models: tuple[str, str], zoo: str) -> None:
    with pytest.raises(ConfigError, match="have the same labels"):
        subjects([models[0], models[0]])
    with pytest.raises(ConfigError, match="3 stages for 2 models"):
        subjects(models, stages=["a", "b", "c"])
    with pytest.raises(ConfigError, match="no model is named"):
        subjects([])
    with pytest.raises(ConfigError, match="two benchmarks are called 'zoo'"):
        imprint.evaluate(models[:1], settings(benchmarks=(zoo, zoo)))


@pytest.mark.shared
def test_two_real_checkpoints_go_on_to_transfer(shared: Path, tmp_path: Path) -> None:
    table = tmp_path / "models.csv"
    folder = shared / "models"
    table.write_text(
        "model,unit,stage\n"
        f"{folder / 'stories260K'},stories,pretrained\n"
        f"{folder / 'stories260K-gutenberg'},stories,sft\n"
    )
    choices = shared / "multiple_choice" / "olmo_hf_jsonl"
    names = ("super_glue_copa", "winogrande_winogrande_xl", "ai2_arc_ARC-Easy", "sciq")
    files = tuple(str(choices / f"{name}.validation.jsonl.gz") for name in names)
    out = tmp_path / "run"
    found = imprint.evaluate([], settings(benchmarks=files, limit=24), models_table=table, out=out)
    for name in ("items", "scores"):
        path = out / "tables" / f"{name}.parquet"
        result = imprint.transfer(path, compare=("pretrained", "sft"))
        read = result.tables["scores"]
        ours = found.tables["scores"]
        both = ours.join(read, on=["benchmark", "stage"], suffix="_read")
        assert len(both) == 8
        assert both["accuracy"].to_list() == pytest.approx(both["accuracy_read"].to_list())
        assert both["confidence"].to_list() == pytest.approx(both["confidence_read"].to_list())
