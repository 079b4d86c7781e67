"""Pretraining by two processes that share each batch, as under ``accelerate launch``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from imprint.errors import ConfigError, ImprintError
from imprint.lab import steps
from imprint.lab.config import load_config
from imprint.lab.grid import Grid
from imprint.lab.launching import launch
from imprint.lab.ledger import Ledger
from imprint.lab.unit import make
from lab.tiny_study import SETTINGS, write_study

TWO = {"engine": "transformers", "processes": 2, "device": "cpu", "dtype": "fp32"}


def test_two_processes_train_what_one_does(tmp_path: Path) -> None:
    losses = []
    for processes in (1, 2):
        scales = {"xs": {**SETTINGS["scales"]["xs"], "tokens": 1024}}
        path = write_study(tmp_path / "in", **{**TWO, "processes": processes, "scales": scales})
        grid = Grid(load_config(path), Ledger(tmp_path / "run"))
        for work in grid.materials.works:
            make(work)
        first = grid.pretrained[0].work
        assert first is not None
        about = make(first).path / steps.MODEL / "pretraining.json"
        losses.append(json.loads(about.read_text())["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_failure_tells_where(tmp_path: Path) -> None:
    with pytest.raises(ImprintError, match=r"launch.log: a launched training failed"):
        launch({"processes": 2}, {}, tmp_path, tmp_path)


@pytest.mark.parametrize("settings", [{"processes": 2}, {**TWO, "processes": 3}])
def test_what_does_not_fit_is_refused(tmp_path: Path, settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="processes"):
        load_config(write_study(tmp_path, **settings))
