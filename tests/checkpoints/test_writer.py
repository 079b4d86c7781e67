"""Output appears whole or not at all, keeps its input's layout, and is taken up after a kill."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imprint.checkpoints import (
    Checkpoint,
    Reference,
    model_card,
    open_checkpoint,
    weights_hash,
    write_checkpoint,
)
from imprint.checkpoints.dtypes import Array
from imprint.checkpoints.header import read_header
from imprint.errors import CheckpointError, ConfigError, DataError
from weights_support import GOLDEN, Make, file_bytes, llama, random_tensor

EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def write(out: Path, like: Checkpoint, tensor: Any = lambda _: None, **options: Any) -> Path:
    plain: dict[str, Any] = {"card": "# a card\n", "fingerprint": "f"}
    return write_checkpoint(out, like, tensor, **{**plain, **options})


def contents(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def hidden(out: Path) -> list[Path]:
    return [path for path in out.parent.iterdir() if path.name.startswith(f".{out.name}")]


@pytest.mark.parametrize(
    "name", ["hf_tiny_tie0", "hf_tiny_tie1", "hf_tiny_tie1_hub", "hf_tiny_tie1_single"]
)
@pytest.mark.parametrize("workers", [1, 3])
def test_every_file_comes_back_bit_for_bit(name: str, workers: int, tmp_path: Path) -> None:
    like, out = open_checkpoint(GOLDEN / name), tmp_path / "out"
    assert write(out, like, workers=workers) == out
    found, given_files = contents(out), contents(GOLDEN / name)
    assert {n: found[n] for n in given_files} == given_files
    assert set(found) - set(given_files) == {"README.md", "imprint.json"}
    assert not hidden(out)


def whole(like: Checkpoint, name: str) -> Array:
    return like.raw(name)


def in_pieces(like: Checkpoint, name: str) -> Iterator[Array]:
    return (like.read(name, at, at + 1) for at in range(like.info(name).elements))


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    dtypes=st.lists(
        st.sampled_from(["F64", "F32", "F16", "BF16", "F8_E5M2", "I64", "BOOL"]),
        min_size=1,
        max_size=5,
    ),
    give=st.sampled_from([whole, in_pieces]),
    metadata=st.sampled_from([None, {"format": "pt"}, {"note": "é\n"}]),
)
def test_types_and_ways_of_giving(
    dtypes: list[str], give: Any, metadata: dict[str, str] | None, tmp_path_factory: Any
) -> None:
    folder = tmp_path_factory.mktemp("m")
    rng = np.random.default_rng(len(dtypes))
    tensors = {f"t{n}": random_tensor(rng, d, 3, n) for n, d in enumerate(dtypes)}
    (folder / "model.safetensors").write_bytes(file_bytes(tensors, metadata))
    (folder / "config.json").write_text("{}")
    like = open_checkpoint(folder)
    out = write(tmp_path_factory.mktemp("w") / "out", like, lambda name: give(like, name))
    assert (out / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


def test_changed_values_land_in_their_place(make: Make, tmp_path: Path) -> None:
    like = open_checkpoint(make("m", llama("BF16"), shards=3))
    name = "model.layers.1.mlp.up_proj.weight"
    changed = np.zeros(like.info(name).shape, np.uint16)
    out = write(tmp_path / "out", like, lambda n: changed if n == name else None)
    found = open_checkpoint(out)
    assert not found.raw(name).any()
    assert all(np.array_equal(found.raw(n), like.raw(n)) for n in like.tensors if n != name)
    assert found.layout == like.layout


def test_a_stored_copy_of_a_tied_weight_is_written_too(make: Make, tmp_path: Path) -> None:
    tensors = llama(head=True)
    tensors[HEAD] = tensors[EMBED]
    like = open_checkpoint(make("m", tensors, config={"tie_word_embeddings": True}))
    new = np.ones((12, 8), np.uint16)
    asked: list[str] = []

    def tensor(name: str) -> Array | None:
        asked.append(name)
        return new if like.info(name).name == EMBED else None

    found = open_checkpoint(write(tmp_path / "out", like, tensor))
    assert HEAD in asked
    assert found.aliases == {HEAD: EMBED}
    assert np.array_equal(found.raw(HEAD), new)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.zeros(8, np.float32), "came as float32"),
        (np.zeros(9, np.uint16), "too many values"),
        (np.zeros(7, np.uint16), "2 bytes short of 16"),
    ],
)
def test_values_that_do_not_fit(make: Make, tmp_path: Path, value: Array, said: str) -> None:
    like, out = open_checkpoint(make("m", llama())), tmp_path / "out"
    with pytest.raises(CheckpointError, match=said) as caught:
        write(out, like, lambda n: value if n == "model.norm.weight" else None)
    assert "model.norm.weight" in str(caught.value)
    assert not out.exists()


def test_an_adapter_written_as_a_model(tmp_path: Path) -> None:
    name = f"{GOLDEN}/hf_tiny_tie1+{GOLDEN}/peft_lora/adapter"
    exact, stored = open_checkpoint(name), open_checkpoint(name, merge_in="stored")
    for n, merged in enumerate((exact, stored)):
        found = open_checkpoint(write(tmp_path / f"out{n}", merged, merged.raw))
        assert weights_hash(found) == weights_hash(merged)
        assert found.layout == merged.layout
        size = sum(info.bytes for info in found.stored.values())
        assert found.index_metadata["total_size"] == size
    assert (tmp_path / "out1" / "model.safetensors.index.json").is_file()


def test_a_bin_checkpoint_becomes_safetensors(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    files = {n: f"pytorch_model-0000{n}-of-00002.bin" for n in (1, 2)}
    for n, file in files.items():
        torch.save({f"t{n}": torch.full((2, n), float(n)).half()}, folder / file)
    index = {"metadata": {}, "weight_map": {f"t{n}": file for n, file in files.items()}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    like = open_checkpoint(folder)
    found = open_checkpoint(write(tmp_path / "out", like))
    assert list(found.layout) == [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    assert weights_hash(found) == weights_hash(like)
    assert found.metadata["model-00001-of-00002.safetensors"] == {"format": "pt"}


def test_a_grown_vocabulary_reaches_the_config(make: Make, tmp_path: Path) -> None:
    from dataclasses import replace

    like = open_checkpoint(make("m", llama()))
    like = replace(like, config={**like.config, "vocab_size": 99})
    out = write(tmp_path / "out", like)
    assert json.loads((out / "config.json").read_text())["vocab_size"] == 99


def test_block_scaled_float8_is_not_written(make: Make, tmp_path: Path) -> None:
    weight, scale = np.zeros((2, 2), np.uint8), np.ones((1, 1), np.float32)
    tensors = {"w.weight": ("F8_E4M3", weight), "w.weight_scale_inv": ("F32", scale)}
    config = {"quantization_config": {"quant_method": "fp8"}}
    with pytest.raises(CheckpointError, match="never written"):
        write(tmp_path / "out", open_checkpoint(make("m", tensors, config=config)))


def test_card_record_and_extra(make: Make, tmp_path: Path) -> None:
    folder = make("tuned", llama())
    (folder / "README.md").write_text("---\nlicense: mit\nlanguage: en\nwidget: x\n---\n# T\n")
    card = model_card(
        Reference("org/base", "v1"),
        Reference(str(folder)),
        command="imprint restore …",
        counts={"weights restored": 1234},
        like=folder,
    )
    out = write(
        tmp_path / "out",
        open_checkpoint(folder),
        card=card,
        record={"restored": 1234},
        extra={"mask.json": "[]"},
    )
    import yaml

    text = (out / "README.md").read_text()
    about = yaml.safe_load(text.split("---")[1])
    assert about["base_model"] == ["org/base", "tuned"]
    assert about["base_model_relation"] == "merge"
    assert (about["license"], about["language"]) == ("mit", "en")
    assert "widget" not in about
    assert "| weights restored | 1,234 |" in text
    assert "org/base@v1" in text
    record = json.loads((out / "imprint.json").read_text())
    assert record["restored"] == 1234
    assert record["files"]["mask.json"] == 2


class TestPlace:
    """Where output may go."""

    @pytest.fixture
    def like(self, make: Make) -> Checkpoint:
        return open_checkpoint(make("m", llama(), shards=2))

    def test_own_earlier_output_is_replaced(self, like: Checkpoint, tmp_path: Path) -> None:
        out = write(tmp_path / "out", like, fingerprint="one")
        write(out, like, fingerprint="two", card="second")
        assert (out / "README.md").read_text() == "second"
        assert not hidden(out)

    def test_the_same_work_is_not_done_twice(self, like: Checkpoint, tmp_path: Path) -> None:
        out = write(tmp_path / "out", like)
        write(out, like, lambda _: pytest.fail("asked again"))
        (out / "model-00001-of-00002.safetensors").unlink()
        write(out, like)
        assert weights_hash(open_checkpoint(out)) == weights_hash(like)

    def test_anything_else_is_not(self, like: Checkpoint, tmp_path: Path) -> None:
        out = write(tmp_path / "out", like)
        (out / "my-notes.txt").touch()
        with pytest.raises(ConfigError, match=r"my-notes\.txt"):
            write(out, like, fingerprint="two")
        write(out, like, fingerprint="two", overwrite=True)
        assert not (out / "my-notes.txt").exists()
        (tmp_path / "file").touch()
        with pytest.raises(ConfigError, match="is a file"):
            write(tmp_path / "file", like)

    def test_an_empty_folder_will_do(self, like: Checkpoint, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        assert (write(tmp_path / "out", like) / "config.json").is_file()

    def test_never_over_an_input(self, like: Checkpoint, tmp_path: Path) -> None:
        before = contents(like.path)
        base = tmp_path / "deep" / "base"
        base.mkdir(parents=True)
        for out, inputs in ((like.path, []), (tmp_path, []), (tmp_path / "deep", [base])):
            with pytest.raises(ConfigError, match="one of the inputs"):
                write(out, like, inputs=inputs, overwrite=True)
        assert contents(like.path) == before


class TestFailure:
    """Cut short at any point."""

    @pytest.fixture
    def like(self, make: Make) -> Checkpoint:
        return open_checkpoint(make("m", llama(layers=3), shards=3))

    @pytest.mark.parametrize("call", ["pwrite", "posix_fallocate", "fsync"])
    def test_a_full_disk(
        self, like: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
    ) -> None:
        real, count = getattr(os, call), 0

        def full(*arguments: Any) -> Any:
            nonlocal count
            count += 1
            if count > 1:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*arguments)

        with monkeypatch.context() as patched:
            patched.setattr(os, call, full)
            with pytest.raises(DataError, match="No space left on device"):
                write(tmp_path / "out", like)
        assert not (tmp_path / "out").exists()
        assert not list(tmp_path.rglob("*.part"))
        assert write(tmp_path / "out", like).is_dir()

    def test_too_little_space_is_told_before_the_work(
        self, like: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Usage:
            free = 10

        monkeypatch.setattr("shutil.disk_usage", lambda _: Usage)
        with pytest.raises(DataError, match="10 free"):
            write(tmp_path / "out", like, lambda _: pytest.fail("work was done"))

    def test_finished_shards_are_kept(self, like: Checkpoint, tmp_path: Path) -> None:
        third = set(like.layout["model-00003-of-00003.safetensors"])

        def stops(name: str) -> None:
            if name in third:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "out", like, stops)
        assert not (tmp_path / "out").exists()
        asked: list[str] = []
        out = write(tmp_path / "out", like, asked.append)
        assert set(asked) == third
        assert weights_hash(open_checkpoint(out)) == weights_hash(like)
        assert not hidden(out)

    def test_nothing_else_of_a_killed_run_is_kept(self, like: Checkpoint, tmp_path: Path) -> None:
        def stops(name: str) -> None:
            if name in like.layout["model-00003-of-00003.safetensors"]:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "out", like, stops)
        (part,) = hidden(tmp_path / "out")
        (part / ".README.md.123.tmp").write_text("# a c")
        (part / "additional_chat_templates").mkdir()
        (part / "additional_chat_templates" / "half.jinja").touch()
        write(tmp_path / "out", like)
        assert contents(tmp_path / "out") == contents(write(tmp_path / "undisturbed", like))

    def test_shards_of_other_work_are_not(self, like: Checkpoint, tmp_path: Path) -> None:
        def stops(name: str) -> None:
            if name in like.layout["model-00003-of-00003.safetensors"]:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "out", like, stops)
        asked: list[str] = []
        write(tmp_path / "out", like, asked.append, fingerprint="other")
        assert set(asked) == set(like.stored)
        assert not hidden(tmp_path / "out")

    def test_killed_outright(self, like: Checkpoint, tmp_path: Path) -> None:
        out = tmp_path / "out"
        program = f"""
import time
from pathlib import Path
from imprint.checkpoints import open_checkpoint, write_checkpoint
like = open_checkpoint({str(like.path)!r})
def slow(name):
    if name in like.layout["model-00002-of-00003.safetensors"]:
        time.sleep(60)
write_checkpoint(Path({str(out)!r}), like, slow, card="# a card\\n", fingerprint="f")
"""
        running = subprocess.Popen([sys.executable, "-c", program])
        first = "model-00001-of-00003.safetensors"
        for _ in range(600):
            if any((folder / first).is_file() for folder in hidden(out)):
                break
            time.sleep(0.05)
        running.send_signal(signal.SIGKILL)
        running.wait()
        assert not out.exists()
        assert hidden(out)
        asked: list[str] = []
        write(out, like, asked.append)
        assert not set(asked) & set(like.layout[first])
        plain = write(tmp_path / "undisturbed", like)
        assert contents(out) == contents(plain)
        assert not hidden(out)


@pytest.mark.shared
def test_the_real_model_and_its_reader(shared: Path, tmp_path: Path) -> None:
    """transformers reads what is written, and finds the weights it was given."""
    transformers = pytest.importorskip("transformers")
    folder = shared / "models" / "stories260K-gutenberg"
    base = open_checkpoint(shared / "models" / "stories260K")
    like = open_checkpoint(folder)
    out = write(tmp_path / "out", like, base.raw, inputs=[base.path])
    assert weights_hash(open_checkpoint(out)) == weights_hash(base)
    model = transformers.AutoModelForCausalLM.from_pretrained(out)
    for name, values in model.state_dict().items():
        assert np.array_equal(values.numpy(), base.float32(name))
    assert read_header(out / "model.safetensors").metadata == {"format": "pt"}
