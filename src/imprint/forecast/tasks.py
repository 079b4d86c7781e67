"""Domains from tasks of lm-eval: the prompts and gold answers of their documents."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

from imprint.errors import ConfigError, ImprintError, nearest, require
from imprint.findings import Finding
from imprint.forecast.material import Text


def is_task(name: str) -> bool:
    """Say whether a name means a task or group of lm-eval: its kind of file, or no file at all."""
    path = Path(name)
    if path.exists():
        return path.suffix.lower() in (".yaml", ".yml")
    return not path.suffix and "/" not in name


def read_task(name: str) -> tuple[list[Text], list[Finding]]:
    """Read a task of lm-eval, or the tasks of a group, each of which is a domain.

    Args:
        name: as lm-eval knows it, or a YAML file of one's own.

    Raises:
        ConfigError: no such task, or its data cannot be had.
        DependencyError: lm-eval is not installed.
    """
    tasks, path = require("lm_eval.tasks", "lm-eval"), Path(name)
    with _told(name), _silence():
        if path.is_file():
            folder = str(path.parent.resolve())
            manager = tasks.TaskManager(include_path=folder, include_defaults=False)
            name = _name_in(path)
        else:
            manager = tasks.TaskManager()
        if name not in manager.all_tasks:
            raise ConfigError(
                f"no file and no task of lm-eval is called {name!r}; "
                + nearest(name, manager.all_tasks)
            )
        loaded = manager.load([name])["tasks"]
        found = [text for key, task in loaded.items() for text in _texts(key, task)]
    detail = f"the task {name} of lm-eval gives {len(found)} texts in {len(loaded)} domains"
    return found, [Finding("task", detail, "info", count=len(found))]


def _name_in(path: Path) -> str:
    found = re.search(r"^(?:task|group):\s*['\"]?([\w.\-]+)", path.read_text(), re.MULTILINE)
    if found is None:
        raise ConfigError("the file names no task", where=str(path), remedy="write `task: NAME`.")
    return found[1]


def _texts(domain: str, task: Any) -> Iterator[Text]:
    for number, doc in enumerate(task.eval_docs):
        asked, told = task.doc_to_text(doc), task.doc_to_target(doc)
        if isinstance(told, int) and task.config.doc_to_choice is not None:
            told = task.doc_to_choice(doc)[told]
        answer = told if isinstance(told, str) and told.strip() else None
        if isinstance(asked, str) and asked.strip():
            yield Text(str(number), domain, asked, answer, f"{domain}, document {number}")


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Say what lm-eval could not do; our own errors pass."""
    try:
        yield
    except (ImprintError, KeyboardInterrupt, SystemExit):
        raise
    except Exception as failed:
        reason = (str(failed).strip() or repr(failed)).splitlines()[0]
        raise ConfigError(
            f"lm-eval cannot give the task {name!r}: {type(failed).__name__}: {reason}",
            remedy="its data may need a network; or give the texts with --domains FILE.jsonl.",
        ) from failed


@contextmanager
def _silence() -> Iterator[None]:
    log = logging.getLogger("lm_eval")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with redirect_stderr(StringIO()):
            yield
    finally:
        log.setLevel(level)
