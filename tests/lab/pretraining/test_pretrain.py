"""Whole runs: to a checkpoint, resumed, by either engine."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")

from imprint.errors import ConfigError  # noqa: E402
from imprint.lab.pretraining import Mixture, Optimiser, PretrainRun, Shape, pretrain  # noqa: E402
from imprint.lab.pretraining.batched import Batched  # noqa: E402
from imprint.lab.pretraining.engines import BatchedEngine  # noqa: E402
from imprint.lab.tokenizer import train_tokenizer  # noqa: E402

SHAPE = Shape(layers=2, width=16, heads=2, ffn=24, context=16, vocabulary=64)
OPTIMISER = Optimiser(lr=1e-2, steps=30, batch=2)


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, Path]:
    random = np.random.default_rng(0)
    for name, low in (("web", 0), ("code", 30)):
        # a token is followed by the next one: there is something to learn
        walk = (low + np.cumsum(random.integers(1, 3, 3000)) % 20).astype(np.uint16)
        np.save(tmp_path / f"{name}.npy", walk)
    return {name: tmp_path / f"{name}.npy" for name in ("web", "code")}


def run(out: Path, seed: int = 0) -> PretrainRun:
    return PretrainRun(out.name, Mixture("m", {"web": 0.5, "code": 0.5}), seed, out)


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_a_run_learns_and_is_a_checkpoint(tmp_path: Path, sources: dict[str, Path]) -> None:
    tokenizer = train_tokenizer(["a b c"], 300, tmp_path / "tokenizer")
    shape = SHAPE.with_vocabulary(300)
    seen: list[Any] = []
    done = pretrain(
        [run(tmp_path / "a")],
        sources,
        shape,
        OPTIMISER,
        tokenizer=tokenizer,
        dtype="fp32",
        log=seen.append,
        log_every=10,
    )[0]
    model = transformers.AutoModelForCausalLM.from_pretrained(done.path)
    assert transformers.AutoTokenizer.from_pretrained(done.path).bos_token_id == 0
    assert model.config.tie_word_embeddings
    rows = [json.loads(line) for line in (done.path / "losses.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [10, 20, 30]
    assert [row["loss"] for row in rows] == [row["loss"] for row in seen]
    assert rows[-1]["loss"] < rows[0]["loss"] - 0.5
    assert done.tokens == 30 * 2 * 16
    assert done.passes["web"] == pytest.approx(480 / 2999, abs=1e-4)
    assert sorted(p.name for p in done.path.iterdir() if p.suffix == ".partial") == []
    assert len(list((done.path / "events").iterdir())) == 1


def test_exported_logits_are_those_trained(tmp_path: Path, sources: dict[str, Path]) -> None:
    engine = BatchedEngine(SHAPE, [0], OPTIMISER, "fp32")
    cut = np.arange(34).reshape(1, 2, 17) % 64
    for step in range(5):
        engine.step(cut, step, 1e-2)
    from imprint.lab.pretraining.llama import write_checkpoint

    write_checkpoint(SHAPE, engine.llama(0), tmp_path / "a", None, "fp32")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "a")
    with torch.no_grad():
        theirs = model(torch.from_numpy(cut[0, :, :-1])).logits
    ours = engine.model.logits(cut[:, :, :-1])[0]
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_same_seed_same_bytes_whatever_runs_beside(
    tmp_path: Path, sources: dict[str, Path], dtype: Any
) -> None:
    how = {"dtype": dtype}
    pretrain([run(tmp_path / "alone")], sources, SHAPE, OPTIMISER, **how)
    both = [run(tmp_path / "first"), run(tmp_path / "second", 1)]
    pretrain(both, sources, SHAPE, OPTIMISER, threads=2, **how)
    assert weights(tmp_path / "alone") == weights(tmp_path / "first")
    assert weights(tmp_path / "alone") != weights(tmp_path / "second")


def test_runs_together_are_near_runs_alone(tmp_path: Path, sources: dict[str, Path]) -> None:
    from safetensors.numpy import load_file

    for together in (1, 3):
        runs = [run(tmp_path / f"{together}-{seed}", seed) for seed in range(3)]
        pretrain(runs, sources, SHAPE, OPTIMISER, dtype="fp32", together=together)
    for seed in range(3):
        alone, beside = (load_file(tmp_path / f"{n}-{seed}/model.safetensors") for n in (1, 3))
        for name, value in alone.items():
            np.testing.assert_allclose(value, beside[name], atol=2e-4, err_msg=name)


@pytest.mark.parametrize("engine", ["batched", "transformers"])
@pytest.mark.parametrize("killed", [1, 17])
def test_a_killed_run_goes_on_to_the_same_bytes(
    tmp_path: Path, sources: dict[str, Path], engine: Any, killed: int
) -> None:
    how: dict[str, Any] = {"engine": engine, "state_seconds": 0.0, "log_every": 1}
    pretrain([run(tmp_path / "whole")], sources, SHAPE, OPTIMISER, **how)
    seen = []

    def stop(entry: Any) -> None:
        seen.append(entry["step"])
        if entry["step"] == killed:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain([run(tmp_path / "cut")], sources, SHAPE, OPTIMISER, log=stop, **how)
    assert not (tmp_path / "cut").exists()
    seen.clear()
    pretrain(
        [run(tmp_path / "cut")],
        sources,
        SHAPE,
        OPTIMISER,
        **how,
        log=lambda e: seen.append(e["step"]),
    )
    assert len(seen) == 30 - (killed - 1)
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")
    whole, cut = ((tmp_path / name / "losses.jsonl").read_text() for name in ("whole", "cut"))
    assert whole == cut


@pytest.mark.parametrize(("method", "near"), [("adamw", 0.01), ("muon", 0.08)])
def test_engines_agree(tmp_path: Path, sources: dict[str, Path], method: Any, near: float) -> None:
    from safetensors.numpy import load_file

    how = replace(OPTIMISER, method=method, steps=6)  # torch's Muon is bfloat16: they part in time
    for engine in ("batched", "transformers"):
        pretrain([run(tmp_path / engine)], sources, SHAPE, how, engine=engine, dtype="fp32")
    ours, theirs = (
        load_file(tmp_path / engine / "model.safetensors") for engine in ("batched", "transformers")
    )
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        apart = np.linalg.norm(value - theirs[name]) / np.linalg.norm(theirs[name])
        assert apart < near, name


def test_finished_runs_are_taken_and_changed_ones_made_anew(
    tmp_path: Path, sources: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = pretrain([run(tmp_path / "a")], sources, SHAPE, OPTIMISER)
    with monkeypatch.context() as patched:
        patched.delattr(Batched, "losses_and_gradients")
        assert pretrain([run(tmp_path / "a")], sources, SHAPE, OPTIMISER) == first
    before = weights(tmp_path / "a")
    pretrain([run(tmp_path / "a", seed=9)], sources, SHAPE, OPTIMISER)
    assert weights(tmp_path / "a") != before


def test_checkpoints_on_the_way(tmp_path: Path, sources: dict[str, Path]) -> None:
    pretrain([run(tmp_path / "a")], sources, SHAPE, OPTIMISER, save_every=10, stored="bf16")
    kept = sorted(p.name for p in (tmp_path / "a" / "checkpoints").iterdir())
    assert kept == ["step-10", "step-20"]
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "a/checkpoints/step-10")
    assert model.dtype == torch.bfloat16


def test_other_files_are_not_overwritten(tmp_path: Path, sources: dict[str, Path]) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "thesis.tex").write_text("x")
    with pytest.raises(ConfigError, match="no pretrained model"):
        pretrain([run(tmp_path / "a")], sources, SHAPE, OPTIMISER)
    with pytest.raises(ConfigError, match="share a folder"):
        pretrain([run(tmp_path / "b"), run(tmp_path / "b")], sources, SHAPE, OPTIMISER)


def test_divergence_is_said(tmp_path: Path, sources: dict[str, Path]) -> None:
    wild = Optimiser(method="adamw", lr=1e30, steps=20, batch=2, warmup=0.0)
    with pytest.raises(ConfigError, match="no longer a number"):
        pretrain([run(tmp_path / "a")], sources, SHAPE, wild)
    assert not (tmp_path / "a").exists()
