"""Sweeps of tiny models, scored by their distance from known weights."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import polars as pl
import pytest

import imprint.restoration.sweep
from imprint.checkpoints import open_checkpoint
from imprint.errors import ConfigError, DataError
from imprint.restoration.restore import RestoreConfig
from imprint.restoration.sweep import SweepConfig, SweepResult, sweep
from imprint.restoration.sweep.work import Work
from models_support import same, state, tiny, torch

SCHEMA = Path(imprint.restoration.sweep.__file__).with_name("sweep.schema.json")
CONFIG = SweepConfig(RestoreConfig(top=(0.1, 0.5)))
SIZES = {"dev": 20, "test": 30, "retain": 25}
TEXTS = [f"a text of number {letter} and more {letter}." for letter in "abcdefghijklmnopqrst"]


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("pair")
    base = tiny(folder / "base")
    return base, tiny(folder / "tuned", seed=1, near=base)


class Judge:
    """Scores by the squared change that is left, plus the same noise on every call."""

    def __init__(self, base: Path, wanted: dict[str, float]):
        self.base, self.wanted = state(base), wanted
        self.calls: Counter[str] = Counter()
        self.seen: list[tuple[str, float]] = []

    def __call__(self, model: Any, tokenizer: Any, split: str) -> list[float]:
        self.calls[split] += 1
        left = sum(
            float((weight - self.base[name]).square().sum())
            for name, weight in model.state_dict().items()
            if "proj" in name
        )
        left = round(left, 6)  # matched interpolation differs by rounding alone
        self.seen.append((split, left))
        noise = np.random.default_rng(len(split)).normal(size=SIZES[split]) * 0.01
        return list(self.wanted[split] * left + noise)


def judge(pair: tuple[Path, Path], **wanted: float) -> Judge:
    return Judge(pair[0], {"dev": -1.0, "test": -1.0, "retain": -1.0, **wanted})


def test_the_choice_is_made_on_dev_and_judged_once(pair) -> None:
    asked = judge(pair)
    found = sweep(*pair, asked, CONFIG)
    points = 1 + 2 + 2 + 2 * 3 + 1
    assert asked.calls == {"dev": points + 1, "test": 7, "retain": 7}  # tuned twice on dev
    assert found.chosen is not None
    assert found.chosen.top == 0.5
    frame = found.tables["sweep"]
    assert len(frame) == points + 14
    judged = {"tuned", found.chosen.key, "base"} | {p.key for p in beside(found)}
    assert set(frame.filter(pl.col("split") != "dev")["point"]) == judged
    kept = frame.filter(pl.col("split") == "dev").drop_nulls("retained")
    assert set(kept["point"]) == judged
    dev_first = [split for split, _ in asked.seen]
    assert dev_first.index("test") == points + 1
    lefts = {left for split, left in asked.seen if split == "test"}
    assert len(lefts) == 6  # interpolation leaves what the chosen point leaves


def beside(found: SweepResult) -> list[Any]:
    rows = found.tables["sweep"].filter(pl.col("split") == "test")
    keys = rows.filter(pl.col("role").is_in(["interpolate", "random"]))
    return [type("Named", (), {"key": key}) for key in keys["point"]]


def test_only_the_best_of_all_controls_is_called_a_repair(pair) -> None:
    # the norm that is left is all that counts here: interpolation does as well
    found = sweep(*pair, judge(pair), CONFIG)
    states = dict(
        found.tables["comparisons"].filter(pl.col("split") == "test")["against", "state"].rows()
    )
    assert (states["tuned"], states["random"]) == ("holds", "holds")
    assert states["interpolate"] != "holds"
    assert found.state != "holds"


def test_a_control_that_is_best_at_another_share_is_a_rival_too(pair) -> None:
    base = state(pair[0])

    def scored(model: Any, tokenizer: Any, split: str) -> list[float]:
        weights = {n: w for n, w in model.state_dict().items() if "proj" in n}
        back = float(np.mean([float((w == base[n]).double().mean()) for n, w in weights.items()]))
        left = sum(float((w - base[n]).square().sum()) for n, w in weights.items())
        # weights that are back at base count; an interpolation is the better the less it takes away
        value = back if back > 0.02 else 5.0 + left if left < nearly_tuned else 0.0
        return list(value + np.random.default_rng(len(split)).normal(size=40) * 0.001)

    tuned = state(pair[1])
    nearly_tuned = 0.999 * sum(
        float((tuned[n] - w).square().sum()) for n, w in base.items() if "proj" in n
    )
    found = sweep(*pair, scored, CONFIG)
    assert found.chosen is not None
    assert found.chosen.top == 0.5
    rows = found.tables["comparisons"].filter(pl.col("split") == "test")
    states = dict(rows["against", "state"].rows())
    assert states["interpolate_best"] == "does_not_hold"
    assert "random_best" not in states  # it is best at the chosen share
    gaps = dict(rows["against", "mean"].rows())
    assert gaps["interpolate_best"] < gaps["interpolate"]
    assert "interpolation where it is best on dev" in found.headline


def test_repair_that_beats_everything_holds(pair) -> None:
    base = state(pair[0])

    def untouched(model: Any, tokenizer: Any, split: str) -> list[float]:
        same = [
            (weight == base[name]).double().mean()
            for name, weight in model.state_dict().items()
            if "proj" in name
        ]
        left = [
            float((w - base[n]).square().sum())
            for n, w in model.state_dict().items()
            if "proj" in n
        ]
        noise = np.random.default_rng(len(split)).normal(size=40) * 0.001
        return list(float(torch.stack(same).mean()) - 0.01 * sum(left) + noise)

    found = sweep(*pair, untouched, CONFIG)
    assert found.state == "holds"
    assert "Repair helps" in found.headline
    assert [v.state for v in found.verdicts] == ["holds"] * 5


def test_what_is_lost_on_retain_is_no_repair(pair) -> None:
    found = sweep(*pair, judge(pair, retain=1.0), CONFIG)
    assert found.state == "does_not_hold"
    row = found.tables["comparisons"].filter(pl.col("split") == "retain").row(0, named=True)
    assert row["state"] == "does_not_hold"
    gained = found.tables["sweep"].filter(pl.col("split") == "retain")
    score = dict(gained["point", "score"].rows())
    assert row["margin"] == pytest.approx(0.05 * (score["tuned"] - score["base"]))


def test_tuned_may_win_and_then_nothing_is_written(pair, tmp_path: Path) -> None:
    asked = judge(pair, dev=1.0)
    found = sweep(*pair, asked, CONFIG, target=tmp_path / "out", out=tmp_path / "run")
    assert found.chosen is None
    assert "No restoration is advised" in found.headline
    assert found.state == "does_not_hold"
    assert not (tmp_path / "out").exists()
    assert asked.calls["test"] == asked.calls["retain"] == 2  # tuned and base
    assert found.tables["comparisons"].is_empty()
    assert "No restoration is advised" in (tmp_path / "run" / "report.html").read_text()


def test_ties_go_to_the_smaller_share(pair) -> None:
    def flat(model: Any, tokenizer: Any, split: str) -> list[float]:
        return [1.0, 2.0, 3.0]

    assert sweep(*pair, flat, CONFIG).chosen is None


def test_the_chosen_checkpoint_is_the_one_that_was_judged(pair, tmp_path: Path) -> None:
    asked = judge(pair)
    found = sweep(*pair, asked, CONFIG, target=tmp_path / "out")
    assert found.target == tmp_path / "out"
    left = sum(
        float((w - asked.base[n]).square().sum())
        for n, w in state(tmp_path / "out").items()
        if "proj" in n
    )
    judged = [seen for split, seen in asked.seen if split == "test"]
    assert round(left, 6) == judged[1]  # tuned is judged first, then the chosen point
    assert "imprint.json" in {p.name for p in (tmp_path / "out").iterdir()}
    assert not same(state(tmp_path / "out"), state(pair[1]))


def test_texts_and_run_folder(pair, tmp_path: Path) -> None:
    write_texts(tmp_path)
    found = sweep(*pair, tmp_path / "eval.yaml", CONFIG, out=tmp_path / "run")
    data = json.loads((tmp_path / "run" / "result.json").read_text())
    jsonschema.validate(data, json.loads(SCHEMA.read_text()))
    assert data["headline"] == found.headline
    assert data["items"] == {"dev": 8, "test": 8, "retain": 4}
    for name, frame in found.tables.items():
        read = pl.read_parquet(tmp_path / "run" / "tables" / f"{name}.parquet")
        assert read.equals(frame)
    items = found.tables["items"].filter(pl.col("split") == "test")
    means = items.group_by("point").agg(pl.col("score").mean()).sort("point")
    rows = found.tables["sweep"].filter(pl.col("split") == "test").sort("point")
    np.testing.assert_allclose(means["score"], rows["score"])
    assert "Dev" in (tmp_path / "run" / "summary.md").read_text()
    assert found.report(tmp_path / "page.html").read_text().startswith("<!doctype html>")
    assert found.headline.split(".")[0] in found._repr_html_()


def test_a_killed_sweep_goes_on_and_gives_the_same(pair, tmp_path: Path, monkeypatch) -> None:
    write_texts(tmp_path)
    whole = sweep(*pair, tmp_path / "eval.yaml", CONFIG, out=tmp_path / "whole")
    scored, stop = [0], [5]
    plain: Callable[..., Any] = Work._score

    def counted(self: Any, *arguments: Any) -> Any:
        scored[0] += 1
        if scored[0] > stop[0]:
            raise KeyboardInterrupt
        return plain(self, *arguments)

    monkeypatch.setattr(Work, "_score", counted)
    for _ in range(40):
        scored[0] = 0
        try:
            found = sweep(*pair, tmp_path / "eval.yaml", CONFIG, out=tmp_path / "cut")
            break
        except KeyboardInterrupt:
            assert not (tmp_path / "cut" / "result.json").exists()
    assert {n: f.to_dicts() for n, f in found.tables.items()} == {
        n: f.to_dicts() for n, f in whole.tables.items()
    }
    for name in ("sweep", "comparisons", "items"):
        files = [tmp_path / run / "tables" / f"{name}.parquet" for run in ("whole", "cut")]
        assert pl.read_parquet(files[0]).equals(pl.read_parquet(files[1]))


def write_texts(folder: Path, **changed: str) -> Path:
    (folder / "dev.txt").write_text("\n\n".join(TEXTS[:8]))
    lines = [json.dumps({"story": text}) for text in TEXTS[8:]]
    (folder / "test.jsonl").write_text("\n".join(lines) + "\n")
    pl.DataFrame({"text": TEXTS[16:]}).write_parquet(folder / "retain.parquet")
    keys = {
        "dev": "dev.txt",
        "test": "{path: test.jsonl, field: story, limit: 8}",
        "retain": "retain.parquet",
        **changed,
    }
    (folder / "eval.yaml").write_text("".join(f"{k}: {v}\n" for k, v in keys.items() if v))
    return folder / "eval.yaml"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"dev": "none.txt"}, "no such file"),
        ({"dev": "dev.csv"}, "not one of"),
        ({"dev": ""}, "'dev' is missing"),
        ({"dev": "test.jsonl"}, "no text under 'text'"),
        ({"retain": "{path: retain.parquet, field: txt}"}, "did you mean 'text'"),
        ({"test": "dev.txt"}, "are in dev too"),
        ({"tst": "dev.txt"}, "did you mean 'test'"),
        ({"score": "a.b:c"}, "leave out either score"),
        ({"retain_margin": "-1"}, "less than 0"),
        ({"controls": "{random: 0}"}, "less than 1"),
        ({"controls": "{bottm: true}"}, "did you mean 'bottom'"),
        ({"resamples": "3"}, "less than 100"),
    ],
)
def test_mistakes_in_the_yaml_are_said(pair, tmp_path: Path, changed, message: str) -> None:
    path = write_texts(tmp_path, **changed)
    with pytest.raises((ConfigError, DataError), match=message):
        sweep(*pair, path, CONFIG, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def broken(model: Any, tokenizer: Any, split: str) -> list[float]:
    raise RuntimeError("the items are gone")


@pytest.mark.parametrize(
    ("gives", "message"),
    [
        (lambda n: [float(n), 1.0, 2.0], "two calls on the same weights"),
        (lambda n: [1.0] * (3 + (n > 3)), "the same items in the same order"),
        (lambda n: [1.0, float("nan")], "score of item 1 is nan"),
        (lambda n: "text", "not numbers|one for each"),
        (lambda n: [[1.0, 2.0]], "one for each"),
        (lambda n: [1.0], "one for each"),
    ],
)
def test_scores_are_checked(pair, gives: Callable[[int], Any], message: str) -> None:
    calls = [0]

    def scored(model: Any, tokenizer: Any, split: str) -> Any:
        calls[0] += 1
        return gives(calls[0])

    with pytest.raises((ConfigError, DataError), match=message):
        sweep(*pair, scored, CONFIG)


def test_a_function_that_fails_is_named_with_its_line(pair) -> None:
    with pytest.raises(ConfigError, match="RuntimeError: the items are gone") as told:
        sweep(*pair, broken, CONFIG)
    assert "test_sweep_study.py, line" in str(told.value)
    with pytest.raises(ConfigError, match="is not called with"):
        sweep(*pair, lambda model: [1.0], CONFIG)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (SweepConfig(RestoreConfig(by="random")), "control of every sweep"),
        (SweepConfig(RestoreConfig(by="spectral")), "spectral"),
        (SweepConfig(RestoreConfig(top=(0.0,))), "no share above 0"),
        (SweepConfig(RestoreConfig(region="mlp"), axis="regions"), "leave out --region"),
        (SweepConfig(axis="layers", layer_groups=1), "nothing to compare"),
        (SweepConfig(axis="nonsense"), "--axis"),  # type: ignore[arg-type]
    ],
)
def test_settings_without_sense_are_refused(pair, config: SweepConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        sweep(*pair, judge(pair), config)


@pytest.mark.parametrize("axis", ["regions", "layers"])
def test_an_axis_of_parts(pair, axis: str, tmp_path: Path) -> None:
    config = SweepConfig(RestoreConfig(top=(1.0,)), axis=axis, layer_groups=2)  # type: ignore[arg-type]
    write_texts(tmp_path, controls="{random: 1}")
    found = sweep(*pair, tmp_path / "eval.yaml", config, out=tmp_path / "run")
    method = found.tables["sweep"].filter((pl.col("role") == "method") & (pl.col("split") == "dev"))
    assert len(method) == (7 if axis == "regions" else 2)
    jsonschema.validate(found.data, json.loads(SCHEMA.read_text()))


def test_the_other_end_of_the_order_on_request(pair, tmp_path: Path) -> None:
    found = sweep(*pair, write_texts(tmp_path, controls="{random: 1, bottom: true}"), CONFIG)
    rows = found.tables["sweep"].filter(pl.col("role") == "bottom")
    assert rows["order"].to_list() == ["bottom", "bottom"]
    assert rows["split"].unique().to_list() == ["dev"]
    norms = found.tables["sweep"].filter((pl.col("split") == "dev") & (pl.col("role") == "method"))
    assert (rows["change_norm"] > norms["change_norm"]).all()


def test_nothing_reads_the_weights_before_mistakes_are_said(pair, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one of the inputs"):
        sweep(*pair, judge(pair), CONFIG, target=pair[1])
    assert open_checkpoint(pair[1]).parameters > 0
