"""Settings of a study: presets, the user's file over them, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from imprint.errors import ConfigError
from imprint.lab.config import PRESETS, Mixtures, load_config


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_whole(preset: str) -> None:
    config = load_config(preset=preset)
    assert config.preset == preset
    assert len(config.scales) == 2
    assert config.uses_world


def test_nine_mixtures_and_finer_ones_hold_them() -> None:
    nine = Mixtures().crossed()
    finer = Mixtures().crossed(steps_between=3)
    assert len(nine) == 9
    assert len(finer) == 27
    assert {m.name for m in nine} <= {m.name for m in finer}
    for mixture in finer:
        assert sum(mixture.shares.values()) == pytest.approx(1)
    by_name = {m.name: m.shares for m in finer}
    for mixture in nine:
        assert by_name[mixture.name] == pytest.approx(mixture.shares)


def test_a_file_changes_only_what_it_names(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("preset: smoke\nsft: {steps: 3}\nseed: 5\n")
    config, preset = load_config(path), load_config(preset="smoke")
    assert config.sft.steps == 3
    assert config.sft.rows == preset.sft.rows
    assert config.seed == 5
    assert config.scales == preset.scales


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("presett: smoke\n", "did you mean 'preset'"),
        ("sft: {stepz: 3}\n", "did you mean 'steps'"),
        ("seed: x\n", "line 1, seed"),
        ("preset: smok\n", "did you mean 'smoke'"),
        ("analyses: [rankins]\n", "did you mean 'rankings'"),
        ("corpora: {a: b}\n", "is no corpus"),
        ("base: x\n", "one of them is missing"),
        ("rl: {scales: [huge]}\n", "no scale 'huge'"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=told):
        load_config(path)


def test_shares_must_sum_to_one(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("mixtures: {listed: [{name: a, shares: {web_raw: 0.5}}]}\n")
    with pytest.raises(ConfigError, match=r"sum to 0\.5"):
        load_config(path)


def test_paths_lie_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "f.jsonl").write_text("{}\n")
    path = tmp_path / "study.yaml"
    path.write_text("facts: f.jsonl\n")
    assert load_config(path).facts == str(tmp_path / "f.jsonl")
