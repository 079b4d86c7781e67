"""`imprint restore` killed at any moment, or met by a full disk, and asked for the same again."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from imprint.checkpoints.dtypes import from_float32
from weights_support import Tensors, file_bytes

SHARDS, NAMES = 4, ("q_proj", "up_proj")
TOPS = ("top-0.05", "top-0.5")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("pair")
    return model(folder / "base", 0), model(folder / "tuned", 1)


def model(folder: Path, seed: int) -> Path:
    """Write a model of four files of 4 MB."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"]}))
    rng, where = np.random.default_rng(seed), {}
    for n in range(SHARDS):
        file = f"model-{n + 1:05}-of-{SHARDS:05}.safetensors"
        names = [f"model.layers.{n}.self_attn.{name}.weight" for name in NAMES]
        where |= dict.fromkeys(names, file)
        (folder / file).write_bytes(file_bytes({name: matrix(rng) for name in names}))
    index = {"metadata": {}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def matrix(rng: np.random.Generator) -> Tensors:
    values = rng.normal(size=(1024, 1024)).astype(np.float32)
    return "BF16", from_float32(values, "BF16")  # type: ignore[return-value]


def command(pair: tuple[Path, Path]) -> list[str]:
    # from the folder that it writes to, so that the card holds the same words every time
    flags = ["--top", "0.05,0.5", "--quiet"]
    return [sys.executable, "-m", "imprint", "restore", *map(str, pair), "out", *flags]


def run(pair: tuple[Path, Path], where: Path, **options: object) -> subprocess.CompletedProcess:
    return subprocess.run(command(pair), cwd=where, capture_output=True, text=True, **options)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


@pytest.fixture(scope="module")
def undisturbed(
    pair: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    where = tmp_path_factory.mktemp("undisturbed")
    assert run(pair, where).returncode == 0
    found = contents(where / "out")
    assert {name.split("/")[0] for name in found} == set(TOPS)
    return found


def after(seconds: float) -> Callable[[Path], bool]:
    begun = time.monotonic()
    return lambda _: time.monotonic() - begun > seconds


def there(pattern: str) -> Callable[[Path], bool]:
    return lambda where: any(where.glob(pattern))


MOMENTS = {
    "while it reads": lambda: after(1.0),
    "a file is begun": lambda: there("out/.top-0.05.*.partial/.*.part"),
    "a file is whole": lambda: there("out/.top-0.05.*.partial/model-00001-*"),
    "all files are whole": lambda: there("out/.top-0.05.*.partial/model-00004-*"),
    "one share is done": lambda: there("out/top-0.05/imprint.json"),
    "within the second": lambda: there("out/.top-0.5.*.partial/model-00002-*"),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed(
    moment: str, pair: tuple[Path, Path], undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    running = subprocess.Popen(command(pair), cwd=tmp_path, stdout=subprocess.DEVNULL)
    come = MOMENTS[moment]()
    while not come(tmp_path) and running.poll() is None:
        time.sleep(0.0005)
    running.kill()
    running.wait()
    only_whole(tmp_path / "out", undisturbed)
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").glob("**/model-*.safetensors")}
    again = run(pair, tmp_path)
    assert again.returncode == 0, again.stderr
    assert contents(tmp_path / "out") == undisturbed
    assert {p.name for p in (tmp_path / "out.run").iterdir()} >= {"result.json", "manifest.json"}
    for path, when in kept.items():  # what was whole is not written again
        top = path.parent.name.removeprefix(".")
        final = tmp_path / "out" / next(t for t in TOPS if f"{top}.".startswith(f"{t}."))
        assert (final / path.name).stat().st_mtime_ns == when


def only_whole(out: Path, undisturbed: dict[str, bytes]) -> None:
    """Nothing under a final name but whole checkpoints."""
    for top in TOPS:
        found = contents(out / top) if (out / top).exists() else {}
        whole = {n.removeprefix(f"{top}/"): b for n, b in undisturbed.items() if n.startswith(top)}
        assert found in ({}, whole)
        assert (out / top).exists() == bool(found)


@pytest.mark.parametrize("limit", [0, 3 << 20])
def test_a_disk_that_takes_no_more(
    limit: int, pair: tuple[Path, Path], undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    failed = run(
        pair,
        tmp_path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard)),
    )
    assert failed.returncode == 2, failed.stderr
    assert "cannot be written: " in failed.stderr
    assert "out" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not any((tmp_path / "out" / top).exists() for top in TOPS)
    assert not list(tmp_path.rglob("*.part"))
    assert not (tmp_path / "out.run" / "manifest.json").exists()
    assert run(pair, tmp_path).returncode == 0
    assert contents(tmp_path / "out") == undisturbed
