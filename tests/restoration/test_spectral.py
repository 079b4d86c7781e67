"""Spectral repair: constants, identities, a repair by hand, independence of layout; the tables."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from imprint.checkpoints import open_checkpoint
from imprint.checkpoints.dtypes import Array, from_float32, to_float32
from imprint.cli import run
from imprint.errors import CheckpointError, ConfigError
from imprint.restoration import spectral
from imprint.restoration.outcome import finish, open_run
from imprint.restoration.patch import apply_patch
from imprint.restoration.restore import RestoreConfig, plan, targets, write
from imprint.restoration.restore_tables import tensors
from weights_support import Make, Tensors

Q, K, UP, DOWN, BIAS, EXPERTS = (
    f"model.layers.0.{name}"
    for name in (
        "self_attn.q_proj.weight",
        "self_attn.k_proj.weight",
        "mlp.up_proj.weight",
        "mlp.down_proj.weight",
        "mlp.up_proj.bias",
        "mlp.experts.gate_up_proj",
    )
)
SHAPES = {Q: (64, 64), K: (8, 64), UP: (96, 64), DOWN: (64, 96), BIAS: (96,), EXPERTS: (3, 40, 48)}


def change(rng: np.random.Generator, shape: tuple[int, ...], rank: int = 3) -> Array:
    """A strong change of a low rank in noise."""
    if len(shape) == 1:
        return rng.normal(size=shape).astype(np.float32)
    left, right = rng.normal(size=(*shape[:-1], rank)), rng.normal(size=(rank, shape[-1]))
    return (left @ right + 0.3 * rng.normal(size=shape)).astype(np.float32)


def pair(dtype: str = "F32", seed: int = 0) -> tuple[Tensors, Tensors]:
    rng = np.random.default_rng(seed)
    kinds = ["F32", "F16", "BF16"] if dtype == "mixed" else [dtype]
    base, tuned = {}, {}
    for n, (name, shape) in enumerate(SHAPES.items()):
        kind = kinds[n % len(kinds)]
        base[name] = kind, from_float32(rng.normal(size=shape).astype(np.float32), kind)
        moved = to_float32(base[name][1], kind) + change(rng, shape)
        tuned[name] = kind, from_float32(moved, kind)
    return base, tuned


def restored(base: Path, tuned: Path, out: Path, *strengths: float, **settings: object) -> Path:
    settings = {"by": "spectral", "strength": strengths, "region": "all", **settings}
    made = plan(open_checkpoint(base), open_checkpoint(tuned), RestoreConfig(**settings))  # type: ignore[arg-type]
    write(made, out)
    return out


def weights(folder: Path) -> dict[str, bytes]:
    found = open_checkpoint(folder)
    return {name: found.read(name).tobytes() for name in found.tensors}


@pytest.mark.parametrize(
    ("ratio", "omega", "mu", "quotient"),
    [
        (1, 2.309401, 0.80794, 2.8584),
        (1 / 2, 1.978599, 0.9113, 2.1712),
        (2 / 7, 1.793632, 0.95073, 1.8866),
        (1 / 4, 1.758029, 0.95708, 1.8369),
        (1 / 10, 1.581648, 0.98314, 1.6088),
    ],
)
def test_published_constants(ratio: float, omega: float, mu: float, quotient: float) -> None:
    assert spectral.omega(ratio) == pytest.approx(omega, abs=1e-6)
    assert spectral.mu(ratio) == pytest.approx(mu, abs=1e-5)
    assert spectral.omega(ratio) / spectral.mu(ratio) == pytest.approx(quotient, abs=5e-5)


@pytest.mark.parametrize("shape", [(200, 200), (100, 400), (400, 100)])
def test_the_noise_level_of_noise_is_found_and_nothing_stands_above_it(shape) -> None:
    matrix = np.random.default_rng(1).normal(0, 0.02, shape).astype(np.float32)
    values = spectral.decompose(matrix, "here")[1]
    noise, threshold = spectral.threshold(values, shape)
    assert noise == pytest.approx(0.02, rel=0.02)
    assert values[0] < threshold


def test_a_repair_by_hand(make: Make, tmp_path: Path) -> None:
    one, other = pair()
    out = restored(make("b", one), make("t", other), tmp_path / "out", 1.0)
    found = open_checkpoint(out)
    for name in (Q, UP, DOWN):
        p, delta = one[name][1].astype(float), other[name][1].astype(float) - one[name][1]
        u, s, v = np.linalg.svd(delta, full_matrices=False)
        b = min(delta.shape) / max(delta.shape)
        cut = spectral.omega(b) * np.median(s) / spectral.mu(b)
        assert (s > cut).sum() == 3
        expected = p + (u * np.where(s > cut, s, 0)) @ v
        np.testing.assert_allclose(found.float32(name), expected, atol=2e-5)
    assert found.read(K).tobytes() == other[K][1].tobytes()  # 512 weights
    assert found.read(BIAS).tobytes() == other[BIAS][1].tobytes()


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16", "mixed"])
def test_all_kept_is_tuned_and_none_kept_is_base_bit_for_bit(
    make: Make, tmp_path: Path, dtype: str
) -> None:
    base, tuned = (make(n, t) for n, t in zip("bt", pair(dtype), strict=True))
    out = restored(base, tuned, tmp_path / "out", 0.0, 1e-9, 1e9)
    assert weights(out / "strength-0") == weights(out / "strength-1e-09") == weights(tuned)
    expected = {name: (tuned, base)[name not in (K, BIAS)] for name in SHAPES}
    got = weights(out / "strength-1000000000")
    assert got == {name: weights(side)[name] for name, side in expected.items()}


def test_result_depends_on_no_layout_chunk_workers_or_held_factors(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = pair("mixed")
    base, tuned = make("b", one), make("t", other)
    base3, tuned2 = make("b3", one, shards=3), make("t2", other, shards=2)
    first = restored(base, tuned, tmp_path / "o1", 1.0, 0.5)
    other_way = restored(base3, tuned2, tmp_path / "o2", 0.5, chunk=7, workers=1)
    monkeypatch.setattr(spectral, "HELD", 0)
    anew = restored(base, tuned, tmp_path / "o3", 0.5, workers=3)
    assert weights(first / "strength-0.5") == weights(other_way) == weights(anew)
    assert weights(first / "strength-1") != weights(anew)


def test_experts_are_repaired_one_by_one(make: Make, tmp_path: Path) -> None:
    one, other = pair("BF16")
    stacked = restored(make("b", one), make("t", other), tmp_path / "o", 1.0, region="experts")
    apart: list[Tensors] = [{}, {}]
    for side, to in zip((one, other), apart, strict=True):
        kind, values = side[EXPERTS]
        to.update({f"model.layers.{n}.mlp.up_proj.weight": (kind, values[n]) for n in range(3)})
    alone = restored(*(make(n, t) for n, t in zip("xy", apart, strict=True)), tmp_path / "p", 1.0)
    assert b"".join(weights(alone).values()) == weights(stacked)[EXPERTS]


def test_faint_changes_rows_and_numbers_that_are_no_floats_stay(make: Make, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    shapes = {Q: (40, 40), UP: (1, 2000), DOWN: (2000, 1)}
    base = {n: ("F32", np.zeros(s, np.float32)) for n, s in shapes.items()}
    tuned = {n: ("F32", rng.normal(size=s).astype(np.float32)) for n, s in shapes.items()}
    tuned[Q] = "F32", (tuned[Q][1] * 1e-9).astype(np.float32)
    base["counts"] = "I64", np.zeros((40, 40), np.int64)
    tuned["counts"] = "I64", np.ones((40, 40), np.int64)
    folders = make("b", base), make("t", tuned)
    assert weights(restored(*folders, tmp_path / "o", 1e9)) == weights(folders[1])


def test_a_change_beyond_float32_is_refused(make: Make, tmp_path: Path) -> None:
    base = {Q: ("F32", np.full((40, 40), -3e38, np.float32))}
    tuned = {Q: ("F32", np.full((40, 40), 3e38, np.float32))}
    with pytest.raises(CheckpointError, match="q_proj"):
        restored(make("b", base), make("t", tuned), tmp_path / "o", 1.0)


@pytest.mark.parametrize("dtype", ["F32", "mixed"])
def test_a_patch_gives_the_same_bytes(make: Make, tmp_path: Path, dtype: str) -> None:
    base, tuned = (make(n, t) for n, t in zip("bt", pair(dtype), strict=True))
    whole = restored(base, tuned, tmp_path / "whole", 1.0)
    config = RestoreConfig(by="spectral", region="all")
    patch = tmp_path / "p.safetensors"
    write(plan(open_checkpoint(base), open_checkpoint(tuned), config), patch, patch=True)
    again = apply_patch(open_checkpoint(tuned), patch, tmp_path / "again", command="")
    assert weights(again) == weights(whole)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"by": "spectral", "top": (0.2,)}, "--top has no meaning"),
        ({"by": "spectral", "scope": "layer"}, "--scope has no meaning"),
        ({"by": "spectral", "order": "bottom"}, "--order bottom"),
        ({"by": "spectral", "strength": (-1.0,)}, "--strength -1"),
        ({"by": "spectral", "strength": (float("nan"),)}, "--strength nan"),
        ({"by": "spectral", "strength": (1.0, 1.0)}, "a strength twice"),
        ({"by": "spectral", "compat": "paramrestore"}, "--compat"),
        ({"by": "relative", "strength": (1.0,)}, "--strength has no meaning"),
    ],
)
def test_settings_without_meaning_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        RestoreConfig(**settings).check()  # type: ignore[arg-type]


def test_defaults_and_names() -> None:
    spectral_one, shares = RestoreConfig(by="spectral"), RestoreConfig()
    assert (spectral_one.levels, shares.levels) == ((1.0,), (0.2,))
    assert "top" not in spectral_one.settings()
    assert "strength" not in shares.settings()
    several = RestoreConfig(by="spectral", strength=(1, 0.5))
    assert [p.name for p in targets(several, Path("o"))] == ["strength-1", "strength-0.5"]


def test_the_command_reports_every_matrix(make: Make, tmp_path: Path, capsys) -> None:
    folders = [str(make(n, t)) for n, t in zip("bt", pair(), strict=True)]
    out = tmp_path / "out"
    command = ["restore", *folders, str(out), "--by", "spectral", "--region", "all"]
    assert run([*command, "--strength", "1,2", "--dry-run"]) == 0
    assert "strength 2 would be written" in capsys.readouterr().out
    assert not out.exists()
    assert run([*command, "--strength", "1,2", "--json", "--quiet"]) == 0
    found = json.loads(capsys.readouterr().out)["restored"]
    table = pl.read_parquet(tmp_path / "out.run" / "tables" / "spectral.parquet")
    assert table.height == 2 * (3 + 3)
    assert table["matrix"].drop_nulls().unique().sort().to_list() == [0, 1, 2]
    assert table.filter(strength=1, tensor=Q)["rank"].to_list() == [3]
    first = table.filter(strength=1)
    share = (first["removed_norm"] ** 2).sum() / (first["change_norm"] ** 2).sum()
    assert found[0]["removed"] == pytest.approx(share)
    assert found[0]["rank"] == first["rank"].sum() < found[0]["full_rank"]
    assert "Share of ‖Δ‖² removed" in (tmp_path / "out.run" / "report.html").read_text()
    for wrong in (["--top", "0.2"], ["--strength", "much"]):
        assert run([*command, *wrong]) == 2
    assert run([*command[:4], "--strength", "1"]) == 2


@pytest.mark.parametrize(
    "by", ["relative", "absolute", "random", "fapm", "dare", "interpolate", "spectral"]
)
def test_tensors_are_counted_while_writing_and_again_where_that_was_skipped(
    make: Make, tmp_path: Path, by: str
) -> None:
    base, tuned = (make(n, t, shards=2) for n, t in zip("bt", pair(), strict=True))
    config = RestoreConfig(by=by, **({} if by == "spectral" else {"top": (0.0, 0.3, 1.0)}))  # type: ignore[arg-type]
    made = plan(open_checkpoint(base), open_checkpoint(tuned), config)
    paths = write(made, tmp_path / "out")
    counted = tensors(made)
    fresh = plan(open_checkpoint(base), open_checkpoint(tuned), config)
    assert write(fresh, tmp_path / "out") == paths
    assert not fresh.tally
    assert tensors(fresh).equals(counted)
    assert counted.height == len(config.levels) * len(made.parts)
    if made.cuts and not made.weights:
        totals = counted.group_by("top", maintain_order=True).agg(pl.col("restored").sum())
        wanted = [made.counts(at)["selected"] for at in range(len(config.levels))]
        assert totals["restored"].to_list() == wanted
    run_folder = open_run(made.base, made.tuned, config, tmp_path / "run")
    finish(made, run_folder, paths)
    stored = pl.read_parquet(tmp_path / "run" / "tables" / "tensors.parquet")
    assert stored.equals(counted)


@pytest.mark.shared
def test_a_real_pair_keeps_few_directions(shared: Path) -> None:
    base, tuned = (shared / "models" / n for n in ("stories260K", "stories260K-gutenberg"))
    config = RestoreConfig(by="spectral", strength=(1.0, 2.0))
    made = plan(open_checkpoint(base), open_checkpoint(tuned), config)
    one, two = made.counts(0), made.counts(1)
    assert one["matrices"] == 35
    assert one["full_rank"] == 1920
    assert 0 < two["rank"] < one["rank"] < 300
    assert 0.6 < one["removed"] < two["removed"] < 1
