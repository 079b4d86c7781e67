"""Settings of a study: presets, the user's file over them, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from imprint.errors import ConfigError, DataError
from imprint.lab.config import PRESETS, load_config
from imprint.lab.mixtures import Mixtures


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


def test_the_presets_few_items_are_not_of_a_users_benchmarks(tmp_path: Path) -> None:
    questions = tmp_path / "q.jsonl"
    questions.touch()
    assert load_config().limit == 60
    assert load_config(given={"benchmarks": (str(questions),)}).limit is None
    assert load_config(given={"benchmarks": (str(questions),), "limit": 5}).limit == 5


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
        ("scales: {a: {tokens: 0}}\n", "scales.a: tokens is 0"),
        ("scales: {a: {batch: 0}}\n", "scales.a: batch is 0"),
        ("scales: {a: {heads: 3}}\n", "scales.a: 3 heads"),
        ("scales: {a: {lr: .nan}}\n", "scales.a.lr: nan is no finite number"),
        ("scales: {a: {seeds: 0}}\n", "seeds 0 is less than 1"),
        ("scales: {a: {steps_between: -2}}\n", "steps_between -2 is not in 0"),
        ("scales: {a: {steps_between: 100000}}\n", "steps_between 100000 is not in 0"),
        ("mixtures: {proportions: []}\n", "no mixture is named"),
        ("mixtures: {proportions: [{web: 1.2, code: -0.2}]}\n", "has a share of 1.2"),
        ("mixtures: {proportions: [{web: 1}, {web: 1}]}\n", "two mixtures"),
        ("mixtures: {listed: [{name: '', shares: {code: 1}}]}\n", "none, have this name"),
        ("mixtures: {listed: [{name: a, shares: {code: 1}, labels: {stage: x}}]}\n", "'stage'"),
        ("vocabulary: 10\n", "vocabulary 10 is less than 261"),
        ("optimiser: {betas: [2, 3]}\n", "betas is"),
        ("sft: {lr: -1}\n", "sft: lr is -1"),
        ("sft: {rows: 0}\n", "sft.rows 0 is less than 1"),
        ("rl: {group: 1}\n", "rl: group is 1"),
        ("rl: {units: -1}\n", "rl.units -1 is less than 0"),
        ("rl: {reward: nonsense}\n", "nonsense"),
        ("seed: 3000000000\n", "seed 3000000000 is not below"),
        ("budget: {facts: 0}\n", "budget.facts 0 is less than 1"),
        ("budget: {ratios: [7]}\n", "7 is no share"),
        ("world: {documents: -4}\n", "documents -4"),
        ("report_to: wandbb\n", "did you mean 'wandb'"),
        ("device: gpu9\n", "no device 'gpu9'"),
        ("{engine: batched, device: cuda}\n", "engine is 'batched'"),
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


@pytest.mark.parametrize(
    "text",
    [
        "facts: no.jsonl\n",
        "benchmarks: [no.jsonl]\n",
        "sft: {data: no.jsonl}\n",
        "sft_sets: {a: no.jsonl}\n",
        "models: no.csv\n",
    ],
)
def test_absent_files_are_told_before_anything_is_trained(tmp_path: Path, text: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match=r"no\.(jsonl|csv): no such file"):
        load_config(path)


def test_mixtures_of_one_web_share_have_names_of_their_own() -> None:
    proportions = ({"web": 0.5, "code": 0.5}, {"web": 0.5, "curated": 0.5})
    names = [m.name for m in Mixtures({"raw": "web_raw"}, proportions=proportions).crossed(1)]
    assert names == ["raw-50-50-0", "raw-50-25-25", "raw-50-0-50"]
    shares = Mixtures({"raw": "web_raw"}, proportions=proportions).crossed(1)[1].shares
    assert shares == {"web_raw": 0.5, "code": 0.25, "curated": 0.25}


def test_paths_lie_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "f.jsonl").write_text("{}\n")
    path = tmp_path / "study.yaml"
    path.write_text("facts: f.jsonl\n")
    assert load_config(path).facts == str(tmp_path / "f.jsonl")
