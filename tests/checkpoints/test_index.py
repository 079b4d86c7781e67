"""Folders: which files hold the weights, and what is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from imprint.checkpoints.index import read_index, trainer_checkpoints
from imprint.errors import CheckpointError
from weights_support import GOLDEN, Make, file_bytes, llama

INDEX = "model.safetensors.index.json"


def edit(folder: Path, **changes: str | None) -> None:
    index = json.loads((folder / INDEX).read_text())
    for name, shard in changes.items():
        name = name.replace("__", ".")
        if shard is None:
            index["weight_map"].pop(name)
        else:
            index["weight_map"][name] = shard
    (folder / INDEX).write_text(json.dumps(index))


def refused(folder: Path, *said: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        read_index(folder)
    for text in said:
        assert text in str(caught.value)


def test_golden_layouts() -> None:
    sharded = read_index(GOLDEN / "hf_tiny_tie1")
    single = read_index(GOLDEN / "hf_tiny_tie1_single")
    assert set(sharded.stored) == set(single.stored)
    assert len(sharded.layout) == 4
    assert sharded.metadata["total_size"] == 39232
    assert sharded.file == INDEX
    assert single.file is None


@pytest.mark.parametrize("shard", ["../x.safetensors", "/etc/x.safetensors", "a/b.safetensors", ""])
def test_an_index_that_points_outside_its_folder(make: Make, shard: str) -> None:
    folder = make("m", llama(), shards=2)
    edit(folder, model__norm__weight=shard)
    refused(folder, "outside the folder", "tensor 'model.norm.weight'", INDEX)


def test_a_missing_shard(make: Make) -> None:
    folder = make("m", llama(), shards=2)
    (folder / "model-00002-of-00002.safetensors").unlink()
    refused(folder, "shard 'model-00002-of-00002.safetensors' is missing")


def test_a_tensor_in_no_shard(make: Make) -> None:
    folder = make("m", llama(), shards=2)
    edit(folder, ghost="model-00001-of-00002.safetensors")
    refused(folder, "is in no shard", "tensor 'ghost'")


def test_a_tensor_that_the_index_does_not_know(make: Make) -> None:
    folder = make("m", llama(), shards=2)
    edit(folder, model__norm__weight=None)
    refused(folder, f"is not in {INDEX}", "tensor 'model.norm.weight'")


def test_a_tensor_in_two_shards(make: Make) -> None:
    folder, tensors = make("m", llama(), shards=2), llama()
    for n in (1, 2):
        mine = dict(list(tensors.items())[n - 1 :: 2])
        mine["model.norm.weight"] = tensors["model.norm.weight"]
        (folder / f"model-0000{n}-of-00002.safetensors").write_bytes(file_bytes(mine))
    refused(folder, "stands also in", "tensor 'model.norm.weight'")


def test_a_damaged_shard_is_named(make: Make) -> None:
    folder = make("m", llama(), shards=2)
    shard = folder / "model-00002-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    refused(folder, str(shard), "is cut short")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"weight_map": {}}', '{"weight_map": 3}'])
def test_an_index_that_is_none(make: Make, content: str) -> None:
    folder = make("m", llama(), shards=2)
    (folder / INDEX).write_text(content)
    refused(folder, INDEX)


def test_both_a_single_file_and_an_index(make: Make) -> None:
    folder = make("m", llama(), shards=2)
    (folder / "model.safetensors").write_bytes(file_bytes(llama()))
    refused(folder, "holds both")


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("__0_0.distcp", "a distributed checkpoint (DCP)"),
        ("pytorch_model_fsdp_0/__0_0.distcp", "a sharded FSDP checkpoint"),
        ("pytorch_model_fsdp.bin", "a sharded FSDP checkpoint"),
        ("latest_checkpointed_iteration.txt", "a Megatron checkpoint"),
        ("iter_0000100/mp_rank_00/model_optim_rng.pt", "a Megatron checkpoint"),
        ("zero_to_fp32.py", "a DeepSpeed ZeRO checkpoint"),
        ("model-Q4_K_M.gguf", "GGUF weights"),
        ("consolidated.00.pth", "their author's own layout"),
        ("adapter_config.json", "an adapter, not a model"),
        ("model.fp16.safetensors", "neither model.safetensors nor"),
        ("checkpoint-100/config.json", "only checkpoint-100"),
        ("README.md", "holds no weights"),
    ],
)
def test_other_layouts_are_refused_by_name(tmp_path: Path, file: str, said: str) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True, parents=True)
    (tmp_path / file).touch()
    refused(tmp_path, said, str(tmp_path))


def test_checkpoints_of_a_training_run_in_order_of_steps(tmp_path: Path) -> None:
    for name in ("checkpoint-900", "checkpoint-1000", "checkpoint-best", "logs"):
        (tmp_path / name).mkdir()
    names = [path.name for path in trainer_checkpoints(tmp_path)]
    assert names == ["checkpoint-900", "checkpoint-1000"]


class TestPickled:
    """``.bin`` files are read in place like safetensors."""

    @pytest.fixture(autouse=True)
    def _torch(self) -> None:
        pytest.importorskip("torch")

    def test_tensors_are_found_where_they_lie(self, tmp_path: Path) -> None:
        import torch

        from imprint.checkpoints.reading import read_values

        state = {"a": torch.randn(3, 4).bfloat16(), "b": torch.arange(5), "c": torch.randn(2, 2)[1]}
        torch.save(state, tmp_path / "pytorch_model.bin")
        stored = read_index(tmp_path).stored
        assert [stored[n].dtype for n in "abc"] == ["BF16", "I64", "F32"]
        assert read_values(stored["a"]).tobytes() == state["a"].view(torch.uint16).numpy().tobytes()
        assert np.array_equal(read_values(stored["b"]), np.arange(5))
        assert read_values(stored["c"]).tobytes() == state["c"].numpy().tobytes()

    def test_sharded(self, tmp_path: Path) -> None:
        import torch

        for n, name in enumerate("ab"):
            torch.save({name: torch.ones(2)}, tmp_path / f"pytorch_model-{n}.bin")
        mapped = {"a": "pytorch_model-0.bin", "b": "pytorch_model-1.bin"}
        (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": mapped}))
        assert list(read_index(tmp_path).stored) == ["a", "b"]

    def test_code_in_a_pickle_is_not_run(self, tmp_path: Path) -> None:
        import torch

        marker = tmp_path / "ran"

        class Evil:
            def __reduce__(self) -> object:
                return (open, (str(marker), "w"))

        torch.save({"a": Evil()}, tmp_path / "pytorch_model.bin")
        refused(tmp_path, "holds more than tensors", "pytorch_model.bin")
        assert not marker.exists()

    def test_truncated_and_foreign(self, tmp_path: Path) -> None:
        import torch

        file = tmp_path / "pytorch_model.bin"
        torch.save({"a": torch.ones(1000)}, file)
        file.write_bytes(file.read_bytes()[:-500])
        refused(tmp_path, "is no archive")
        torch.save([torch.ones(1)], file)
        refused(tmp_path, "not a dictionary")
        torch.save({"a": {"b": 3}}, file)
        refused(tmp_path, "tensor 'a'")
        torch.save({"a": torch.ones(2, 3).t()}, file)
        refused(tmp_path, "not stored contiguously", "tensor 'a'")
