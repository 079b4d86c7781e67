"""Bit-for-bit identities over types, odd numbers, layouts, chunk sizes and workers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imprint.checkpoints import open_checkpoint
from imprint.checkpoints.dtypes import STORAGE, Array, from_float32
from imprint.errors import CheckpointError
from imprint.restoration.patch import apply_patch
from imprint.restoration.restore import RestoreConfig, plan, write
from weights_support import file_bytes

FLOATS = ["F64", "F32", "F16", "BF16"]
METHODS = ["relative", "absolute", "random", "fapm", "interpolate", "dare", "spectral"]
# zeros of both signs, subnormals of every type, equal and near values
ODD = [0.0, -0.0, 1e-45, -1e-45, 1e-40, 6e-8, -6e-8, 1.0, 1.0009765625, -1.0, 500.0, 0.1, 3e-5]
SHAPES = {
    "model.embed_tokens.weight": (3, 4),
    "model.layers.0.self_attn.q_proj.weight": (4, 4),
    "model.layers.0.mlp.up_proj.weight": (5, 4),
    "model.layers.0.mlp.empty.weight": (0, 4),
    "model.layers.0.input_layernorm.weight": (4,),
    "model.layers.2.mlp.up_proj.weight": (1, 4),
    "model.layers.10.mlp.up_proj.weight": (2, 4),
    "model.scale": (),
}
Model = dict[str, tuple[str, Array]]


def save(folder: Path, tensors: Model, shards: int) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"tie_word_embeddings": false}')
    if shards == 1:
        (folder / "model.safetensors").write_bytes(file_bytes(tensors, {"format": "pt"}))
        return folder
    mapped = {}
    for n in range(shards):
        mine = {k: tensors[k] for k in list(tensors)[n::shards]}
        file = f"model-{n + 1:05}-of-{shards:05}.safetensors"
        (folder / file).write_bytes(file_bytes(mine, None))
        mapped |= dict.fromkeys(mine, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": mapped}))
    return folder


def weights(folder: Path) -> dict[str, bytes]:
    found = open_checkpoint(folder)
    return {name: found.read(name).tobytes() for name in found.stored}


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Model, Model]:
    """Two models of equal types; some values agree, some differ only in sign or last bit."""
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    kinds = draw(st.lists(st.sampled_from(FLOATS), min_size=1, max_size=3))
    base, tuned = {}, {}
    for n, (name, shape) in enumerate(SHAPES.items()):
        kind = kinds[n % len(kinds)]
        one = values(rng, kind, shape)
        other = np.where(rng.random(shape) < 0.4, one, values(rng, kind, shape))
        base[name], tuned[name] = (kind, one), (kind, other.astype(STORAGE[kind]))
    return base, tuned


def values(rng: np.random.Generator, kind: str, shape: tuple[int, ...]) -> Array:
    drawn = np.where(rng.random(shape) < 0.5, rng.choice(ODD, shape), rng.normal(size=shape))
    if kind == "F64":
        return np.asarray(drawn * (1 + 1e-12 * rng.integers(0, 3, shape)))
    return np.asarray(from_float32(np.asarray(drawn, np.float32), kind)).reshape(shape)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    models=pairs(),
    by=st.sampled_from(METHODS),
    shards=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    chunk=st.integers(1, 25),
    workers=st.integers(1, 4),
)
def test_nothing_is_tuned_and_everything_base(
    models: tuple[Model, Model],
    by: str,
    shards: tuple[int, int],
    chunk: int,
    workers: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    place = tmp_path_factory.mktemp("m")
    base, tuned = save(place / "b", models[0], shards[0]), save(place / "t", models[1], shards[1])
    ends = {"strength": (0.0, 1e9)} if by == "spectral" else {"top": (0.0, 1.0)}
    config = RestoreConfig(by=by, region="all", chunk=chunk, workers=workers, **ends)  # type: ignore[arg-type]
    made = plan(open_checkpoint(base), open_checkpoint(tuned), config)
    nothing, everything = write(made, place / "out")
    assert weights(nothing) == weights(tuned)
    if by != "spectral":  # it leaves small matrices and vectors alone
        assert weights(everything) == weights(base)
    for folder in (nothing, everything):
        for file in (tuned).glob("model*"):
            assert (folder / file.name).stat().st_size == file.stat().st_size


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    models=pairs(),
    by=st.sampled_from(METHODS[:-1]),
    top=st.floats(0, 0.98) | st.just(1.0),  # dare scales by 1 / (1 - top)
    order=st.sampled_from(["top", "bottom"]),
    shards=st.integers(1, 4),
    chunk=st.integers(1, 25),
    workers=st.integers(1, 4),
    other_type=st.sampled_from([None, *FLOATS]),
)
def test_patch_and_parent_are_the_full_restore_and_nothing_depends_on_layout(
    models: tuple[Model, Model],
    by: str,
    top: float,
    order: str,
    shards: int,
    chunk: int,
    workers: int,
    other_type: str | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    place = tmp_path_factory.mktemp("m")
    before, after = models
    if other_type:  # the base in one type, whatever the tuned checkpoint has
        rng = np.random.default_rng(0)
        before = {n: (other_type, values(rng, other_type, s)) for n, s in SHAPES.items()}
    order = "top" if by in ("interpolate", "dare") else order
    settings = {"by": by, "top": (top,), "order": order, "seed": 3, "region": "all"}
    base, tuned = save(place / "b", before, 1), save(place / "t", after, 1)
    other = save(place / "b2", before, shards), save(place / "t2", after, 5 - shards)

    def restored(one: Path, two: Path, out: str, **more: int) -> tuple[Path, Path]:
        config = RestoreConfig(**settings, **more)  # type: ignore[arg-type]
        made = plan(open_checkpoint(one), open_checkpoint(two), config)
        (whole,) = write(made, place / out)
        (patch,) = write(made, place / f"{out}.safetensors", patch=True)
        return whole, patch

    whole, patch = restored(base, tuned, "one")
    again, second = restored(*other, "two", chunk=chunk, workers=workers)
    assert weights(whole) == weights(again)
    parents = ((patch, tuned, "p1"), (second, other[1], "p2"), (patch, other[1], "p3"))
    for file, parent, name in parents:
        out = apply_patch(open_checkpoint(parent), file, place / name, command="x", workers=workers)
        assert weights(out) == weights(whole)


@pytest.mark.parametrize("payload", [0x7F81, 0x7FC1, 0xFFFF, 0xFF81])
@pytest.mark.parametrize("side", [0, 1])
def test_nan_of_any_payload_is_refused(tmp_path: Path, payload: int, side: int) -> None:
    name = "model.layers.0.self_attn.q_proj.weight"
    models = [{name: ("BF16", np.full((4, 4), 0x3F80 + n, np.uint16))} for n in range(2)]
    models[side][name][1][2, 1] = payload
    base, tuned = (save(tmp_path / n, m, 1) for n, m in zip("bt", models, strict=True))
    for by in METHODS:
        with pytest.raises(CheckpointError, match=r"holds nan at flat index 9 .*") as caught:
            write(
                plan(open_checkpoint(base), open_checkpoint(tuned), RestoreConfig(by=by)),  # type: ignore[arg-type]
                tmp_path / "out",
            )
        assert str((base, tuned)[side]) in str(caught.value)
        assert {p.name for p in tmp_path.iterdir()} == {"b", "t"}


def test_integers_and_odd_files_go_along_bit_for_bit(tmp_path: Path) -> None:
    name = "model.layers.0.self_attn.q_proj.weight"
    tensors: Model = {name: ("F32", np.ones((2, 2), np.float32))}
    tensors |= {"steps": ("I64", np.array([2**62 + 1, -1])), "on": ("BOOL", np.array(True))}
    base = save(tmp_path / "b", {n: (k, np.zeros_like(v)) for n, (k, v) in tensors.items()}, 1)
    tuned = save(tmp_path / "t", tensors, 1)
    files = {
        "chat_template.jinja": b"{{ messages }}\r\n",
        "additional_chat_templates/tool use.jinja": b"\xf0\x9f\x94\xa7",
        "generation_config.json": b'{"temperature":   0.7}',
        "tokenizer.model": bytes(range(256)),
        "modeling_own.py": b"x = 1\n",
        "LICENSE.txt": b"free\n",
    }
    for file, content in files.items():
        (tuned / file).parent.mkdir(exist_ok=True)
        (tuned / file).write_bytes(content)
    config = RestoreConfig(top=(0.5, 1.0), region="all")
    made = plan(open_checkpoint(base), open_checkpoint(tuned), config)
    half, everything = write(made, tmp_path / "out")
    assert weights(everything) == weights(base)
    for folder in (half, everything):
        assert all((folder / file).read_bytes() == content for file, content in files.items())
        expected = (tuned / "config.json").read_bytes()
        assert (folder / "config.json").read_bytes() == expected
