"""`imprint diff` killed while it counts, and asked for the same again."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from imprint.checkpoints.dtypes import from_float32
from weights_support import file_bytes

LAYERS = 24
SMALL = (  # small sections, so that a small model has many
    "from imprint.restoration import counting, spectrum;"
    "counting.BATCH = counting.SECTION = spectrum.SECTION = 1;"
    "from imprint.cli import main; main()"
)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("pair")
    return model(folder / "base", 0), model(folder / "tuned", 1)


def model(folder: Path, seed: int) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    rng = np.random.default_rng(seed)
    tensors = {
        f"model.layers.{n}.self_attn.q_proj.weight": (
            "BF16",
            from_float32(rng.normal(size=(256, 256)).astype(np.float32), "BF16"),
        )
        for n in range(LAYERS)
    }
    (folder / "model.safetensors").write_bytes(file_bytes(tensors))
    return folder


def command(pair: tuple[Path, Path], out: str) -> list[str]:
    flags = ["--spectrum", "--workers", "1", "--quiet", "--out", out]
    return [sys.executable, "-c", SMALL, "diff", *map(str, pair), *flags]


def result(folder: Path) -> tuple[dict[str, object], dict[str, object]]:
    found, manifest = (
        json.loads((folder / name).read_text()) for name in ("result.json", "manifest.json")
    )
    return found, manifest


def run(pair: tuple[Path, Path], where: Path) -> tuple[dict[str, object], dict[str, object]]:
    done = subprocess.run(
        command(pair, "out"), cwd=where, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return result(where / "out")


@pytest.fixture(scope="module")
def undisturbed(
    pair: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, object]:
    found, manifest = run(pair, tmp_path_factory.mktemp("undisturbed"))
    assert manifest["resumed"] == []
    return found


def killed_after(unit: str, pair: tuple[Path, Path], where: Path) -> set[str]:
    """Kill the run when a unit is in the ledger; gives the units that are."""
    running = subprocess.Popen(command(pair, "out"), cwd=where, stdout=subprocess.DEVNULL)
    while not any(where.glob(f"out/.work/*/{unit}/done")) and running.poll() is None:
        time.sleep(0.0005)
    running.kill()
    running.wait()
    assert not any((where / "out" / name).exists() for name in ("result.json", "tables"))
    return {path.parent.name for path in where.glob("out/.work/*/*/done")}


@pytest.mark.parametrize("unit", ["counts-0001", "spectrum-0003"])
def test_killed(
    unit: str, pair: tuple[Path, Path], undisturbed: dict[str, object], tmp_path: Path
) -> None:
    for attempt in ("one", "two", "three"):
        where = tmp_path / attempt
        where.mkdir()
        left = killed_after(unit, pair, where)
        found, manifest = run(pair, where)
        if manifest["resumed"]:  # else the sources were edited in between: that is another run
            break
    assert unit in left
    assert set(manifest["resumed"]) == left
    assert len(left) < 2 * LAYERS
    assert {**found, "fingerprint": ""} == {**undisturbed, "fingerprint": ""}
    assert not (where / "out" / ".work").exists()
