"""Mistakes and damage met by ``diff``, ``restore`` and ``apply``: one message, nothing written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import yaml

from checkpoints.conftest import make
from imprint.checkpoints import open_checkpoint, read_header
from imprint.cli import run
from tests_support import HOSTILE
from weights_support import Make, file_bytes, llama, random_tensor

__all__ = ["make"]

FILE = "model.safetensors"
INDEX = "model.safetensors.index.json"
Q = "model.layers.0.self_attn.q_proj.weight"
EMBEDDING = "model.embed_tokens.weight"
Pair = tuple[Path, Path]
Damage = Callable[[Path], object]


@pytest.fixture
def pair(make: Make) -> Pair:
    return make("base", llama("BF16")), make("tuned", llama("BF16", seed=1))


def call(*arguments: object) -> int:
    return run([str(a) for a in arguments])


def commands(base: object, tuned: object, place: Path) -> Iterator[tuple[object, ...]]:
    yield "diff", base, tuned, "--out", place / "RUN"
    yield "restore", base, tuned, place / "OUT"
    yield "restore", base, tuned, place / "P.safetensors", "--patch"
    yield "apply", tuned, place / "patch", place / "OUT"


def tree(place: Path) -> set[str]:
    return {path.relative_to(place).as_posix() for path in place.rglob("*")}


def refused(
    capsys: pytest.CaptureFixture[str], place: Path, arguments: tuple[object, ...], *said: str
) -> str:
    """Exit 2, stdout empty, one message; nothing new but a ledger that the same command reuses."""
    before = tree(place)
    capsys.readouterr()
    assert call(*arguments) == 2
    out, message = capsys.readouterr()
    assert out == ""
    assert message.count("imprint: ") == 1
    assert "Traceback" not in message
    for text in said:
        assert text in message, message
    new = {name.split("/", 1)[-1] for name in tree(place) - before}
    assert all(n.startswith(".work") or n.endswith(".run") or n == "RUN" for n in new), new
    return message


def edited(file: Path, change: Callable[[bytes], bytes]) -> None:
    file.write_bytes(change(file.read_bytes()))


def with_value(folder: Path, name: str, bits: int) -> None:
    info = read_header(folder / FILE).tensors[name]
    raw = bytearray((folder / FILE).read_bytes())
    raw[info.start + 6 : info.start + 8] = bits.to_bytes(2, "little")
    (folder / FILE).write_bytes(raw)


DAMAGE: dict[str, tuple[Damage, tuple[str, ...]]] = {
    "cut short": (lambda d: edited(d / FILE, lambda raw: raw[:-1]), (FILE, "model.norm.weight")),
    "empty": (lambda d: (d / FILE).write_bytes(b""), (FILE, "0 bytes")),
    "length": (lambda d: edited(d / FILE, lambda raw: b"\xff" * 8 + raw[8:]), (FILE, "header of")),
    "text": (lambda d: (d / FILE).write_text("version https://git-lfs"), (FILE, "header of")),
    "missing": (lambda d: (d / FILE).unlink(), ("holds no weights",)),
    "a folder": (lambda d: ((d / FILE).unlink(), (d / FILE).mkdir()), (FILE, "Is a directory")),
    "no config": (lambda d: (d / "config.json").unlink(), ("config.json", "is missing")),
    "config": (lambda d: (d / "config.json").write_text("[]"), ("config.json", "JSON object")),
    "both": (lambda d: (d / INDEX).write_text("{}"), (f"holds both {FILE} and {INDEX}",)),
    "tokenizer": (lambda d: (d / "tokenizer.json").write_text("{"), ("tokenizer.json",)),
    "quantised": (
        lambda d: (d / "config.json").write_text(
            '{"quantization_config": {"quant_method": "awq"}}'
        ),
        ("quantised by awq", "quantised from"),
    ),
    "nan": (lambda d: with_value(d, Q, 0x7FC0), (FILE, Q, "nan at flat index 3")),
    "infinite": (lambda d: with_value(d, Q, 0xFF80), (FILE, Q, "-inf at flat index 3")),
}


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_checkpoint(pair: Pair, tmp_path: Path, capsys, kind: str, side: int) -> None:
    damage, said = DAMAGE[kind]
    damage(pair[side])
    for arguments in list(commands(*pair, tmp_path))[:3]:
        refused(capsys, tmp_path, arguments, str(pair[side]), *said)


@pytest.mark.parametrize("shard", ["../base/model.safetensors", "/etc/passwd", "lost.safetensors"])
def test_an_index_that_points_elsewhere(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], shard: str
) -> None:
    base, tuned = make("base", llama()), make("tuned", llama(seed=1), shards=2)
    found = json.loads((tuned / INDEX).read_text())
    found["weight_map"][Q] = shard
    (tuned / INDEX).write_text(json.dumps(found))
    for arguments in list(commands(base, tuned, tmp_path))[:3]:
        refused(capsys, tmp_path, arguments, str(tuned / INDEX), Q, repr(shard))


def test_not_finite_outside_the_region(pair: Pair, tmp_path: Path, capsys) -> None:
    """What a restoration copies is looked at as well."""
    with_value(pair[1], EMBEDDING, 0x7F80)
    arguments = list(commands(*pair, tmp_path))
    refused(capsys, tmp_path, arguments[1], EMBEDDING, "inf at flat index 3")
    refused(capsys, tmp_path, (*arguments[1], "--top", 0), EMBEDDING, "inf at flat index 3")


@pytest.mark.parametrize("by", ["relative", "random", "fapm", "interpolate", "dare", "spectral"])
def test_a_region_without_values(make: Make, tmp_path: Path, capsys, by: str) -> None:
    base, tuned = (make(n, {**llama(), Q: ("BF16", np.empty((0, 8), np.uint16))}) for n in "bt")
    arguments = ("restore", base, tuned, tmp_path / "OUT", "--by", by, "--region", "layers.0.*q_p")
    refused(capsys, tmp_path, arguments, "hold no values")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "names no folder"),
        ("nothing/here/at/all", "names no folder"),
        ("x" * 5000, "no such folder here"),
        ("file", "is a file"),
        ("tuned@main", "has no revision 'main'"),
        ("tuned+tuned", "adapter_config.json: is missing"),
        ("empty", "holds no weights"),
        (os.fsdecode(b"\xff"), "is not UTF-8"),
    ],
)
def test_names_of_nothing(
    pair: Pair, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    for arguments in (("restore", pair[0], name, "OUT"), ("restore", name, pair[1], "OUT")):
        refused(capsys, tmp_path, arguments, said)


@pytest.mark.parametrize(
    ("rename", "said"),
    [
        ("(=x", "cannot be applied"),
        ("a=\\9", "cannot be applied"),
        ("a{99999999999}=b", "cannot be applied"),
        ("nothing=x", "changes no name"),
        ("q_proj=k_proj", "--rename makes"),
        ("x", "REGEX=NEW"),
        ("=x", "REGEX=NEW"),
    ],
)
def test_renames_that_cannot_be(pair: Pair, tmp_path: Path, capsys, rename: str, said: str) -> None:
    for arguments in list(commands(*pair, tmp_path))[:3]:
        refused(capsys, tmp_path, (*arguments, "--rename", rename), said)


def test_an_expression_may_hold_an_equals_sign(make: Make, tmp_path: Path) -> None:
    other = {name.replace("model.", "a=b."): value for name, value in llama(seed=1).items()}
    base, tuned = make("base", llama()), make("tuned", other)
    arguments = ("restore", base, tuned, tmp_path / "OUT", "--quiet", "--rename", "^a=b.=model.")
    assert call(*arguments) == 0


def test_shares_that_would_get_one_name(pair: Pair, tmp_path: Path, capsys) -> None:
    arguments = ("restore", *pair, tmp_path / "OUT", "--top", "0.1,0.1000000000000001")
    refused(capsys, tmp_path, arguments, "names a share twice")


@pytest.mark.parametrize("region", ["layers 0-99999999999", "a{99999999999}", "(", "layers 3-1"])
def test_regions_that_cannot_be(pair: Pair, tmp_path: Path, capsys, region: str) -> None:
    for arguments in list(commands(*pair, tmp_path))[:3]:
        refused(capsys, tmp_path, (*arguments, "--region", region), region)


def test_many_layers_cost_nothing(pair: Pair, tmp_path: Path) -> None:
    arguments = ("restore", *pair, tmp_path / "OUT", "--region", "layers 1-999999999", "--quiet")
    assert call(*arguments) == 0


def test_changes_beyond_float32(make: Make, tmp_path: Path, capsys) -> None:
    models = [llama("F32", seed=n) for n in range(2)]
    for model, value in zip(models, (3e38, -3e38), strict=True):
        model[Q][1].reshape(-1)[5] = value
    base, tuned = (make(n, m) for n, m in zip("bt", models, strict=True))
    for by in ("relative", "absolute", "fapm", "random"):
        out = tmp_path / by
        assert call("restore", base, tuned, out, "--by", by, "--top", "0.05", "--quiet") == 0
        found = open_checkpoint(out).read(Q)
        assert abs(found[5]) == np.float32(3e38)
    arguments = ("restore", base, tuned, tmp_path / "OUT", "--by", "dare")
    refused(capsys, tmp_path, (*arguments, "--top", "0.0001"), Q, "inf at flat index 5")


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("file", "is a file, not a folder"),
        ("tuned", "is or holds one of the inputs"),
        ("tuned/../base/.", "is or holds one of the inputs"),
        (".", "is or holds one of the inputs"),
        ("tuned/OUT", "lies in one of the inputs"),
        ("link/OUT", "lies in one of the inputs"),
        ("circle", "is a link in a circle"),
        ("x" * 230, "its name is longer than 220 bytes"),
        ("file/OUT", "file"),
        (os.fsdecode(b"\xff"), "is not UTF-8"),
    ],
)
def test_targets_that_cannot_be(
    pair: Pair, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch, target: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(pair[1])
    (tmp_path / "circle").symlink_to("circle")
    refused(capsys, tmp_path, ("restore", *pair, target), said)
    refused(capsys, tmp_path, ("restore", *pair, target, "--overwrite"), said)
    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.parametrize("place", ["OUT", "OUT/run", "tuned", "base/run"])
def test_run_folders_stand_beside(
    pair: Pair, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(capsys, tmp_path, ("restore", *pair, "OUT", "--out", place), "the run folder lies in")


@pytest.mark.parametrize(
    "name",
    ["a b", "ü日本", "new\nline", "a@b+c", "'\"`$x", "*[x]?", ".hidden", "..x", *HOSTILE[5:]],
)
def test_names_may_be_odd(make: Make, tmp_path: Path, name: str) -> None:
    base, tuned = make(f"{name}b", llama()), make(f"{name}t", llama(seed=1))
    out, patch = tmp_path / name, tmp_path / f"{name}.patch"
    assert call("restore", base, tuned, out, "--quiet") == 0
    assert call("restore", base, tuned, patch, "--patch", "--quiet") == 0
    assert call("apply", tuned, patch, tmp_path / f"{name}2", "--quiet") == 0
    assert (out / FILE).read_bytes() == (tmp_path / f"{name}2" / FILE).read_bytes()
    for folder in (out, tmp_path / f"{name}2"):
        about = yaml.safe_load((folder / "README.md").read_text().split("\n---\n")[0][4:])
        assert about["base_model"] == [f"{name}b", f"{name}t"]


def test_links_lead_to_the_target(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    for link, real in (("one", "place"), ("two", "not yet")):
        (tmp_path / link).symlink_to(tmp_path / real)
        assert call("restore", *pair, tmp_path / link, "--quiet") == 0
        assert (tmp_path / link).is_symlink()
        assert (tmp_path / real / FILE).is_file()
    assert not [name for name in tree(tmp_path) if "replaced" in name or "partial" in name]


@pytest.mark.parametrize("record", ["[]", '{"made_by": 1, "files": [1], "work": 3}', "x"])
def test_records_that_lie_give_nothing_away(
    pair: Pair, tmp_path: Path, capsys, record: str
) -> None:
    out = tmp_path / "OUT"
    assert call("restore", *pair, out, "--quiet") == 0
    (out / "imprint.json").write_text(record)
    refused(capsys, tmp_path, ("restore", *pair, out, "--quiet"), "which no earlier run wrote")


class Tags(HTMLParser):
    """Everything in a page that could run."""

    def __init__(self, text: str):
        super().__init__()
        self.found: list[str] = []
        self.scripts = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        runs = any(k.startswith("on") or (v or "").startswith("javascript:") for k, v in attributes)
        if runs or tag in ("img", "iframe", "object"):
            self.found.append(tag)


@pytest.mark.parametrize("command", ["restore", "diff"])
def test_tensor_names_are_only_text_in_the_report(make: Make, tmp_path: Path, command: str) -> None:
    def model(names: tuple[str, ...], seed: int) -> dict[str, tuple[str, np.ndarray]]:
        rng = np.random.default_rng(seed)
        layers = (f"model.layers.{n}.self_attn.q_proj.{name}" for n, name in enumerate(names))
        return {f"{name}.weight": random_tensor(rng, "F32", 8, 8) for name in layers}

    scripts = []
    for n, names in enumerate((HOSTILE, tuple(f"n{i}" for i in range(len(HOSTILE))))):
        base, tuned = make(f"b{n}", model(names, 0)), make(f"t{n}", model(names, 1))
        place = tmp_path / f"run{n}"
        target = (tmp_path / f"out{n}",) if command == "restore" else ()
        assert call(command, base, tuned, *target, "--out", place, "--quiet") == 0
        page = Tags((place / "report.html").read_text())
        assert page.found == []
        scripts.append(page.scripts)
    assert scripts[0] == scripts[1]


@pytest.mark.parametrize("other", [(), ("--top", "0.5")])
def test_two_at_once_never_mix(make: Make, tmp_path: Path, other: tuple[str, ...]) -> None:
    """The same target for two processes: what appears is whole, and one of them may refuse."""
    rng = [np.random.default_rng(n) for n in range(2)]
    shape = 512, 512
    models = [
        {f"model.layers.{n}.mlp.up_proj.weight": random_tensor(r, "BF16", *shape) for n in range(4)}
        for r in rng
    ]
    base, tuned = make("base", models[0]), make("tuned", models[1], shards=2)
    out = tmp_path / "OUT"
    again = [sys.executable, "-m", "imprint", "restore", base, tuned]
    both = [
        subprocess.Popen(
            [*again, out, "--out", tmp_path / f"run{n}", *more],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        for n, more in enumerate(((), other))
    ]
    said = [process.communicate()[1].decode() for process in both]
    codes = [process.returncode for process in both]
    assert 0 in codes
    assert set(codes) <= {0, 2}, said
    assert not [n for n in tree(tmp_path) if "partial" in n or "replaced" in n or ".part" in n]
    wanted = []
    for n, more in enumerate(((), other)):
        assert call("restore", base, tuned, tmp_path / f"ref{n}", *more, "--quiet") == 0
        wanted.append(contents(tmp_path / f"ref{n}"))
    assert contents(out) in wanted


def contents(folder: Path) -> dict[str, bytes]:
    found = open_checkpoint(folder)
    return {name: found.read(name).tobytes() for name in found.tensors}


@pytest.mark.parametrize("what", ["missing", "a folder", "a model", "a config", "cut short"])
def test_a_patch_that_is_none(pair: Pair, tmp_path: Path, capsys, what: str) -> None:
    patch = tmp_path / "patch"
    whole = file_bytes({"a": ("F32", np.ones(2, np.float32))}, {"format": "imprint-patch"})
    given = {
        "missing": tmp_path / "none",
        "a folder": pair[0],
        "a model": pair[1] / FILE,
        "a config": pair[1] / "config.json",
        "cut short": patch,
    }[what]
    patch.write_bytes(whole[:-3])
    refused(capsys, tmp_path, ("apply", pair[1], given, tmp_path / "OUT"), str(given))
