"""Domains from tasks of lm-eval."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from imprint.errors import ConfigError
from imprint.forecast.tasks import is_task, read_task

tasks = pytest.importorskip("lm_eval.tasks", reason="lm-eval is not installed")

ROOT = Path(__file__).parents[1] / "golden"


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)  # the tasks' data are named from there
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.mark.filterwarnings("ignore")
def test_gold_answers_of_options_and_of_texts() -> None:
    found, findings = read_task("tasks/local_mc.yaml")
    assert {text.group for text in found} == {"local_mc"}
    assert all(text.prompt and text.answer for text in found)
    assert findings[0].count == len(found)
    free, _ = read_task("tasks/local_ll.yaml")
    assert all(text.answer for text in free)


def test_which_names_are_tasks(tmp_path: Path) -> None:
    assert is_task("mmlu_pro")
    assert is_task("tasks/local_mc.yaml")
    assert not is_task("domains.jsonl")
    assert not is_task("no/such")


@pytest.mark.filterwarnings("ignore")
def test_an_unknown_task(monkeypatch: pytest.MonkeyPatch) -> None:
    own = partial(tasks.TaskManager, include_defaults=False)  # all of them take long to list
    monkeypatch.setattr(tasks, "TaskManager", own)
    with pytest.raises(ConfigError, match="no file and no task of lm-eval"):
        read_task("surely_no_such_task")
