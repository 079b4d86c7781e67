"""What is held in memory at a point equals the checkpoint written for the same settings."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from imprint.checkpoints import open_checkpoint
from imprint.errors import CheckpointError
from imprint.models import load
from imprint.restoration.restore import RestoreConfig, plan, write
from imprint.restoration.selection import place_of
from imprint.restoration.sweep.config import SweepConfig
from imprint.restoration.sweep.memory import Memory
from imprint.restoration.sweep.points import layer_ranges, points_of, share_for
from imprint.restoration.sweep.states import States
from models_support import same, state, tiny, torch

TOPS = (0.05, 0.2, 0.6)


def setting(tmp_path: Path, config: SweepConfig, **kind: object) -> SimpleNamespace:
    base = tiny(tmp_path / "base", **kind)
    tuned = tiny(tmp_path / "tuned", seed=1, near=base, **{"shards": "10KB", **kind})
    before, after = open_checkpoint(base), open_checkpoint(tuned)
    points = points_of(before, after, config, seeds=2, bottom=config.restore.by != "dare")
    model = load(tuned, device="cpu").model
    states = States(before, after, points)
    memory = Memory(model, before, after)
    return SimpleNamespace(
        base=base, tuned=tuned, points=points, model=model, memory=memory, states=states
    )


def held(found: SimpleNamespace) -> dict:
    return {name: tensor.clone() for name, tensor in found.model.state_dict().items()}


def measure(found: SimpleNamespace) -> None:
    """Go through all points once, as the sweep does."""
    for point in found.points.all:
        found.states.squares[point.key] = found.states.enter(found.memory, point)


def written(found: SimpleNamespace, config: RestoreConfig, out: Path) -> dict:
    write(plan(open_checkpoint(found.base), open_checkpoint(found.tuned), config), out)
    return state(out)


@pytest.mark.parametrize("by", ["relative", "absolute", "fapm", "dare"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_memory_equals_the_written_checkpoint(tmp_path: Path, dtype: str, by: str) -> None:
    config = SweepConfig(RestoreConfig(by=by, top=TOPS))
    found = setting(tmp_path, config, dtype=dtype)
    measure(found)
    points = [p for p in found.points.all if p.role not in ("interpolate", "tuned")]
    for point in np.random.default_rng(0).permutation(np.array(points, dtype=object)):
        found.states.enter(found.memory, point)
        one = replace(point.config, top=(point.config.top[point.at],))
        assert same(held(found), written(found, one, tmp_path / "out" / point.key)), point.key


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_matched_interpolation_is_that_of_restore(tmp_path: Path, dtype: str) -> None:
    found = setting(tmp_path, SweepConfig(RestoreConfig(top=TOPS)), dtype=dtype)
    measure(found)
    for point in (p for p in found.points.all if p.role == "interpolate"):
        found.states.enter(found.memory, point)
        config = RestoreConfig(by="interpolate", top=(point.top,))
        assert same(held(found), written(found, config, tmp_path / point.key))
        norms = [found.states.change_norm(key) for key in (point.key, point.of)]
        assert norms[0] == pytest.approx(norms[1], rel=1e-6 if dtype == "float32" else 0.02)


@pytest.mark.parametrize("tied", [False, True])
def test_the_ends_are_tuned_and_base(tmp_path: Path, tied: bool) -> None:
    found = setting(tmp_path, SweepConfig(), tied=tied, dtype="bfloat16")
    measure(found)
    assert same(held(found), state(found.base))
    assert found.states.change_norm("base") == 0
    found.states.enter(found.memory, found.points.tuned)
    assert same(held(found), state(found.tuned))
    before, after = state(found.base), state(found.tuned)
    names = [n for n in after if "proj" in n]
    squares = sum(float((after[n].double() - before[n].double()).square().sum()) for n in names)
    assert found.states.change_norm("tuned") == pytest.approx(np.sqrt(squares))


def test_a_larger_share_writes_only_what_it_adds(tmp_path: Path) -> None:
    found = setting(tmp_path, SweepConfig(RestoreConfig(top=TOPS)))
    counts = []
    for point in found.points.method:
        found.states.enter(found.memory, point)
        counts.append(found.memory.written)
    taken = [point.weights for point in found.points.method]
    assert counts == taken  # of float32 all changed; each was written once
    found.states.enter(found.memory, found.points.method[-1])
    assert found.memory.written == counts[-1]


@pytest.mark.parametrize("axis", ["regions", "layers"])
@pytest.mark.parametrize("top", [(1.0,), (0.3,)])
def test_regions_go_back_whole_beside_controls_of_their_size(
    tmp_path: Path, axis: str, top: tuple[float, ...]
) -> None:
    config = SweepConfig(RestoreConfig(top=top), axis=axis, layer_groups=2)
    base, tuned = tiny(tmp_path / "b"), tiny(tmp_path / "t", seed=1, near=tmp_path / "b")
    before, after = open_checkpoint(base), open_checkpoint(tuned)
    points = points_of(before, after, config, seeds=2, bottom=False)
    modules = ["q", "k", "v", "o", "gate", "up", "down"]
    labels = modules if axis == "regions" else ["layers 0-0", "layers 1-1"]
    assert [p.label for p in points.method] == labels
    states, memory = States(before, after, points), Memory(load(tuned).model, before, after)
    for point in points.all:
        states.squares[point.key] = states.enter(memory, point)
    whole = "transformer" if axis == "regions" else "layers 0-1"
    for point in points.method:
        beside = points.beside(point)
        assert [c.role for c in beside] == ["interpolate", "random", "random"]
        assert {c.config.region for c in beside} == {whole if top == (1.0,) else point.label}
        norms = [states.change_norm(c.key) for c in (point, *beside)]
        assert norms[1] == pytest.approx(norms[0], rel=1e-5)
        for control in beside[1:]:
            made = states.plan(control.config)
            assert made.counts(control.at)["selected"] == point.weights


def test_a_merged_adapter_is_what_the_model_holds(tmp_path: Path) -> None:
    base = tiny(tmp_path / "base")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    about = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}
    (adapter / "adapter_config.json").write_text(json.dumps(about))
    key = "base_model.model.model.layers.0.self_attn.q_proj"
    factors = {
        f"{key}.lora_A.weight": torch.randn(2, 16),
        f"{key}.lora_B.weight": torch.randn(16, 2),
    }
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file(factors, adapter / "adapter_model.safetensors")
    before = open_checkpoint(base)
    after = open_checkpoint(f"{base}+{adapter}", merge_in="stored")
    loaded = load(after.path, device="cpu")
    Memory(loaded.model, before, after)
    name = "model.layers.0.self_attn.q_proj.weight"
    assert torch.equal(loaded.model.state_dict()[name], torch.tensor(after.raw(name)))
    assert not torch.equal(loaded.model.state_dict()[name], torch.tensor(before.raw(name)))


@pytest.mark.shared
@pytest.mark.parametrize("tops", [(0.05, 0.6)])
def test_a_real_pair(shared: Path, tmp_path: Path, tops: tuple[float, ...]) -> None:
    base, tuned = (shared / "models" / n for n in ("stories260K", "stories260K-gutenberg"))
    before, after = open_checkpoint(base), open_checkpoint(tuned)
    loaded = load(tuned, device="cpu")
    memory = Memory(loaded.model, before, after)
    made = plan(before, after, RestoreConfig(top=tops))
    write(made, tmp_path / "out")
    for at, top in enumerate(tops):
        memory.become(made.parts, made.rules[at])
        assert same(dict(loaded.model.state_dict()), state(tmp_path / "out" / f"top-{top}"))


def test_a_weight_without_a_place_in_the_model_is_refused(tmp_path: Path) -> None:
    base, other = tiny(tmp_path / "base", layers=2), tiny(tmp_path / "other", layers=1)
    before = open_checkpoint(base)
    with pytest.raises(CheckpointError, match=r"no place in the model[\s\S]*") as told:
        Memory(load(other, device="cpu").model, before, before)
    assert "layers.1" in str(told.value)


def test_a_model_with_other_values_is_refused(tmp_path: Path) -> None:
    base = tiny(tmp_path / "base")
    model = load(base, device="cpu").model
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[0, 0] += 1
    with pytest.raises(CheckpointError, match="other values than the checkpoint"):
        Memory(model, open_checkpoint(base), open_checkpoint(base))


@pytest.mark.parametrize(("layers", "groups"), [(5, 2), (4, 4), (32, 4), (3, 8), (7, 3)])
def test_groups_of_layers_are_consecutive_and_even(layers: int, groups: int) -> None:
    found = layer_ranges(list(range(layers)), groups)
    assert len(found) == min(layers, groups)
    ends = [tuple(map(int, text.split()[1].split("-"))) for text in found]
    assert [n for low, high in ends for n in range(low, high + 1)] == list(range(layers))
    sizes = [high - low + 1 for low, high in ends]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("elements", [7, 1000, 6_979_321_856])
def test_a_share_selects_just_so_many(elements: int) -> None:
    for count in {1, elements // 3, elements // 7 + 1, elements - 1, elements}:
        assert place_of(share_for(count, elements), elements) == count
