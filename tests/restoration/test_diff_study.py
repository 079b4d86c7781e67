"""Comparisons of checkpoints against plain numpy over whole models."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from imprint.checkpoints import open_checkpoint, select
from imprint.checkpoints.dtypes import from_float32, to_float32
from imprint.errors import CheckpointError, ConfigError
from imprint.restoration import counting
from imprint.restoration import diff as module
from imprint.restoration.config import RATIOS, DiffConfig
from imprint.restoration.diff import diff
from imprint.restoration.histogram import Histogram
from weights_support import file_bytes, llama

QUIET = DiffConfig(quiet=True)
SCHEMA = Path(module.__file__).with_name("diff.schema.json")


def save(folder: Path, tensors) -> Path:
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(file_bytes(tensors))
    (folder / "config.json").write_text("{}")
    return folder


def moved(tensors, size=1e-2, seed=1, keep=0.3):
    draw = np.random.default_rng(seed)
    found = {}
    for name, (dtype, raw) in tensors.items():
        values = to_float32(raw, dtype)
        step = draw.normal(size=values.shape) * size * (draw.random(values.shape) > keep)
        found[name] = dtype, from_float32((values + step).astype(np.float32), dtype)
    return found


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    tensors = llama("F32", layers=3)
    return save(tmp_path / "base", tensors), save(tmp_path / "tuned", moved(tensors))


def plain(base: Path, tuned: Path, region="transformer"):
    one, other = open_checkpoint(base), open_checkpoint(tuned)
    names = select(region, other.tensors)
    p, s = (np.concatenate([c.float32(n).reshape(-1) for n in names]) for c in (one, other))
    sizes = {name: other.info(name).elements for name in names}
    return p, s, sizes


@pytest.mark.parametrize("dtype", ["F32", "BF16", "F16"])
def test_curves_equal_those_of_whole_vectors(tmp_path, dtype):
    tensors = llama(dtype, layers=3)
    base, tuned = save(tmp_path / "a", tensors), save(tmp_path / "b", moved(tensors))
    result = diff(base, tuned, QUIET)
    p, s, _ = plain(base, tuned)
    scores = {
        "relative": np.abs(s - p) / (np.abs(p) + np.float32(1e-8)),
        "absolute": np.abs(s - p),
    }
    assert result.data["parameters"] == len(p)
    assert result.data["unchanged_fraction"] == np.mean(p == s)
    assert result.data["within_1e-5_fraction"] == np.mean(np.abs(s - p) <= 1e-5)
    norm = np.linalg.norm((s - p).astype(float))
    assert result.data["change_norm"] == pytest.approx(norm, rel=1e-9)
    for kind, found in scores.items():
        order = np.sort(found.astype(float))[::-1]
        for row in result.data["concentration"][kind]:
            k = int(row["top"] * len(p) + 1e-9)
            assert row["count"] == k
            assert row["share"] == pytest.approx(order[:k].sum() / order.sum(), rel=1e-9)
            assert row["threshold"] == (order[k - 1] if k else None)
            null = row["null_permuted"] if kind == "relative" else row["null_gaussian"]
            assert row["excess"] == pytest.approx(row["share"] - null)
        ranks = 2 * np.arange(1, len(p) + 1) - len(p) - 1
        gini = (ranks * order[::-1]).sum() / len(p) / order.sum()
        assert result.data[f"gini_{kind}"] == pytest.approx(gini, abs=3e-3)


def test_enrichment_equals_a_count_of_the_mask(pair):
    result = diff(*pair, QUIET)
    p, s, sizes = plain(*pair)
    scores = np.abs(s - p) / (np.abs(p) + np.float32(1e-8))
    k = int(0.2 * len(p))
    taken = np.zeros(len(p), bool)
    taken[np.argsort(-scores, kind="stable")[:k]] = True
    at, counts = 0, {}
    for name, size in sizes.items():
        layer = int(name.split(".")[2])
        counts.setdefault(layer, [0, 0])
        counts[layer][0] += size
        counts[layer][1] += int(taken[at : at + size].sum())
        at += size
    for row in result.data["layers"]:
        size, top = counts[row["layer"]]
        assert row["parameters"] == size
        assert row["share_of_parameters"] == pytest.approx(size / len(p))
        assert row["share_of_top"] == pytest.approx(top / k)
        assert row["enrichment"] == pytest.approx(top / k / (size / len(p)))
    assert sum(row["share_of_top"] for row in result.data["modules"]) == pytest.approx(1)


def test_chunks_threads_and_samples_change_nothing(pair, monkeypatch):
    expected = diff(*pair, QUIET).data
    monkeypatch.setattr(counting, "BATCH", 1)
    small = diff(*pair, replace(QUIET, workers=1)).data
    monkeypatch.setattr(
        counting, "likely_windows", lambda *_: {}
    )  # every threshold is missed at first
    missed = diff(*pair, replace(QUIET, workers=1)).data
    for other in (small, missed):
        assert other["concentration"] == expected["concentration"]
        assert other["modules"] == expected["modules"]
        assert other["layers"] == expected["layers"]


def test_a_model_equal_to_its_base(pair):
    result = diff(pair[0], pair[0], QUIET)
    assert result.data["unchanged_fraction"] == 1
    assert result.data["concentration"]["relative"][0]["share"] is None
    assert "equals its base" in result.headline
    assert any(f.check == "top_beyond_changed" for f in result.findings)
    assert result.html()


def test_several_tuned_and_their_cosine(tmp_path):
    tensors = llama("F32", layers=2)
    base = save(tmp_path / "base", tensors)
    out = tmp_path / "out"
    for step in (10, 5, 100):
        save(out / f"checkpoint-{step}", moved(tensors, size=step / 1000, seed=3, keep=0))
    result = diff(base, out, QUIET)
    about = result.tables["tuned"]
    assert about["step"].to_list() == [5, 10, 100]
    assert about["change_norm"].is_sorted()
    assert result.tables["cosines"]["cosine"].to_list() == pytest.approx([1, 1, 1], abs=1e-4)
    assert result.data["tuned"] == "checkpoint-100"
    alone = diff(base, out / "checkpoint-10", QUIET).data
    assert result.data["all_tuned"][1]["concentration"] == alone["concentration"]
    jsonschema.validate(json.loads(result.json()), json.loads(SCHEMA.read_text()))
    assert "Cosine between" in result.html()


def test_the_weights_of_a_trainers_folder_come_last(tmp_path):
    tensors = llama("F32", layers=2)
    base, out = save(tmp_path / "base", tensors), save(tmp_path / "final", moved(tensors, size=1))
    for step in (10, 5):
        save(out / f"checkpoint-{step}", moved(tensors, size=step / 1000))
    about = diff(base, out, QUIET).tables["tuned"]
    assert about["tuned"].to_list() == ["checkpoint-5", "checkpoint-10", "final"]
    assert about["step"].to_list() == [5, 10, None]
    (out / "trainer_state.json").write_text('{"global_step": 12}')
    found = diff(base, out, QUIET)
    assert found.tables["tuned"]["step"].to_list() == [5, 10, 12]
    assert found.data["tuned"] == "final"
    jsonschema.validate(json.loads(found.json()), json.loads(SCHEMA.read_text()))
    (out / "trainer_state.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"trainer_state\.json"):
        diff(base, out, QUIET)


@pytest.mark.parametrize(
    "region", ["transformer", "norm", "layers.0.self_attn.q_proj", "embedding"]
)
@pytest.mark.parametrize("top", [(1e-9,), (1e-9, 0.2, 0.2), (1.0,), (1e-300,)])
def test_extreme_ratios_and_small_regions(pair, region, top):
    config = DiffConfig(quiet=True, region=region, top=top, enrichment_at=top[0], spectrum=True)
    found = diff(*pair, config)
    rows = found.data["concentration"]["relative"]
    assert [row["top"] for row in rows] == list(dict.fromkeys(top))
    assert rows[0]["share"] == (1.0 if top[0] == 1 else 0.0)
    assert any(f.check == "top_takes_nothing" for f in found.findings) == (top[0] < 1)
    if top == (1e-9,):
        assert [v.state for v in found.verdicts] == ["undetermined", "undetermined"]
        assert "No ratio takes a weight" in found.headline
    has_matrices = region != "norm"
    assert bool(found.data["spectrum"]["matrices"]) == has_matrices
    assert ("No matrix lies in the region" in found.headline) != has_matrices
    jsonschema.validate(json.loads(found.json()), json.loads(SCHEMA.read_text()))
    assert found.html()
    assert found.summary()


def test_the_spectrum_beside_its_shuffle(tmp_path):
    draw = np.random.default_rng(0)
    names = [f"model.layers.{n}.mlp.{m}_proj.weight" for n in (0, 1) for m in ("up", "down")]
    base = {n: ("F32", draw.normal(size=(60, 80)).astype(np.float32)) for n in names}
    low = (draw.normal(size=(60, 2)) @ draw.normal(size=(2, 80))).astype(np.float32)
    tuned = {n: ("F32", v + low) for n, (_, v) in base.items()} | {names[3]: base[names[3]]}
    config = replace(QUIET, spectrum=True)
    found = diff(save(tmp_path / "a", base), save(tmp_path / "b", tuned), config)
    table = found.tables["spectrum"]
    assert table["tensor"].to_list() == names
    assert set(table["tuned"]) == {"b"}
    assert set(table["full_rank"]) == {60}
    assert table["effective_rank_share"][0] == pytest.approx(table["effective_rank"][0] / 60)
    said = found.data["spectrum"]
    assert (said["matrices"], said["matrices_changed"]) == (4, 3)
    assert said["effective_rank_share"] < 0.05 < 0.8 < said["null_effective_rank_share"]
    assert [row["module"] for row in said["modules"]] == ["up", "down"]
    assert [row["matrices"] for row in said["layers"]] == [2, 1]
    assert "effective rank of 3% of the full one" in found.headline
    assert "Directions of the change" in found.html()
    jsonschema.validate(json.loads(found.json()), json.loads(SCHEMA.read_text()))
    plain = diff(tmp_path / "a", tmp_path / "b", QUIET)
    assert plain.data["spectrum"] is None
    assert "Directions" not in plain.html()


def test_independent_noise_is_called_chance(tmp_path):
    draw = np.random.default_rng(0)
    shape = (400, 500)
    name = "model.layers.0.mlp.up_proj.weight"
    before = draw.normal(size=shape).astype(np.float32) * np.float32(0.015)
    noise = draw.normal(size=shape).astype(np.float32) * np.float32(1e-4)
    small = np.abs(before) < 0.001
    base = save(tmp_path / "base", {name: ("F32", before)})
    chance = save(tmp_path / "chance", {name: ("F32", before + noise)})
    aimed = save(tmp_path / "aimed", {name: ("F32", before + noise * small)})
    found = diff(base, chance, QUIET)
    assert "what chance would give" in found.headline
    assert [v.state for v in found.verdicts] == ["does_not_hold", "does_not_hold"]
    # all change sits on the smallest weights: shuffled, it would not be so concentrated
    assert diff(base, aimed, QUIET).verdicts[1].state == "holds"
    squares = [row["share_of_squares"] for row in found.data["concentration"]["relative"]]
    expected = [q + np.sin(np.pi * q) / np.pi for q in RATIOS]
    assert squares == pytest.approx(expected, abs=0.005)


def test_not_finite_weights_are_refused_by_name(tmp_path):
    tensors = llama("F32", layers=1)
    base = save(tmp_path / "base", tensors)
    name = "model.layers.0.self_attn.q_proj.weight"
    damaged = tensors[name][1].copy()
    damaged[1, 1] = np.nan
    tuned = save(tmp_path / "tuned", {**tensors, name: ("F32", damaged)})
    with pytest.raises(CheckpointError, match="q_proj"):
        diff(base, tuned, QUIET)


@pytest.mark.parametrize(
    "wrong", [{"top": ()}, {"top": (0.0,)}, {"top": (1.5,)}, {"eps": 0.0}, {"seed": -1}]
)
def test_settings_that_make_no_sense(wrong):
    with pytest.raises(ConfigError):
        DiffConfig(**wrong)


def test_gini_of_the_toy_vectors():
    i = np.arange(10_000)
    base = (((i * 7919) % 1009 - 504.5) / 8192).astype(np.float32)
    change = (((i * 104729) % 997 - 498) / 1048576).astype(np.float32)
    found = Histogram()
    found.add(np.abs(change) / (np.abs(base) + np.float32(1e-8)))
    assert found.gini() == pytest.approx(0.798181161, abs=2e-5)


def test_module_shares_of_an_8b_model():
    sizes = {"q": 4096 * 4096, "k": 4096 * 1024, "gate": 4096 * 14336}
    layer = 2 * sizes["q"] + 2 * sizes["k"] + 3 * sizes["gate"]
    assert 32 * layer == 6_979_321_856
    shares = [round(100 * size / layer, 2) for size in sizes.values()]
    assert shares == [7.69, 1.92, 26.92]


@pytest.mark.shared
def test_a_real_pair_is_what_chance_gives(shared):
    base = shared / "models" / "stories260K"
    tuned = shared / "models" / "stories260K-gutenberg"
    if not tuned.is_dir():
        pytest.skip("the pair of small models is not beside the repository")
    result = diff(base, tuned, QUIET)
    p, s, _ = plain(base, tuned)
    order = np.sort((np.abs(s - p) / (np.abs(p) + np.float32(1e-8))).astype(float))[::-1]
    for row in result.data["concentration"]["relative"]:
        share = order[: row["count"]].sum() / order.sum()
        assert row["share"] == pytest.approx(share, rel=1e-9)
        assert abs(row["excess"]) < 0.05
    assert result.data["parameters"] == 226_560
