"""``imprint forecast --sae``: what fits, and what is refused before anything runs."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from imprint.cli import run
from models_support import tiny
from sae_support import exact_sae

SPEED = ["--resamples", "100", "--draws", "2", "--quiet"]
WORDS = {"law": "court", "sums": "two six", "cats": "a cat"}


class Evil:
    def __reduce__(self) -> Any:
        return (print, ("code ran",))


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("forecast-sae")
    letters = "abcdefghijkl"
    rows = [
        {"domain": name, "prompt": f"{letter} {words} {letter}", "answer": f"{letter}{words}"}
        for name, words in WORDS.items()
        for letter in letters
    ]
    sft = [
        {"prompt": f"{one} is {other}", "completion": f"{other} {one}"}
        for one, other in zip(letters, letters[::-1], strict=True)
    ]
    return {
        "model": str(tiny(folder / "base", layers=3)),
        "sft": write(folder / "sft.jsonl", sft),
        "domains": write(folder / "domains.jsonl", rows),
    }


def call(made: dict[str, Any], *arguments: str, capsys: Any) -> tuple[int, str, str]:
    model = [made["model"], "--sft", made["sft"], "--domains", made["domains"]]
    code = run(["forecast", *model, *SPEED, *arguments])
    out, err = capsys.readouterr()
    return code, out, err


def changed(folder: Path, **tensors: Any) -> Path:
    file = folder / "sae_weights.safetensors"
    save_file({**load_file(file), **tensors}, file)
    return folder


def test_the_fit_is_told(made: dict[str, Any], tmp_path: Path, capsys: Any) -> None:
    sae = exact_sae(tmp_path / "sae")
    code, said, _ = call(
        made, "--sae", str(sae), "--families", "lexical", "--json", "--out", str(tmp_path / "run"),
        capsys=capsys,
    )  # fmt: skip
    assert code == 0
    fit = json.loads(said)["fit"]
    assert fit["fvu"] == pytest.approx(0, abs=1e-9)
    assert fit["l0"] == pytest.approx(16, abs=0.5)


def test_a_bad_fit_is_refused_unless_accepted(
    made: dict[str, Any], tmp_path: Path, capsys: Any
) -> None:
    eye = torch.eye(16)
    sae = str(changed(exact_sae(tmp_path / "sae"), W_dec=3 * torch.cat([eye, -eye])))
    out = tmp_path / "run"
    given = ["--sae", sae, "--families", "lexical", "--out", str(out)]
    code, said, err = call(made, *given, capsys=capsys)
    assert (code, said) == (2, "")
    assert "does not fit these activations" in err
    assert "wrong layer or hook point" in err
    assert "--accept-bad-fit" in err
    assert not (out / "result.json").exists()
    code, said, _ = call(made, *given, "--accept-bad-fit", "--json", capsys=capsys)
    assert code == 0
    assert json.loads(said)["fit"]["fvu"] > 1


@pytest.mark.parametrize("case", ["width", "layer", "nan", "code", "model", "other layer"])
def test_what_is_refused(case: str, made: dict[str, Any], tmp_path: Path, capsys: Any) -> None:
    sae = tmp_path / "sae"
    if case == "width":
        exact_sae(sae, width=24)
        said = "reads activations of width 24, and the model's are 16 wide"
    elif case == "layer":
        exact_sae(sae, layer=7)
        said = "reads layer 7, resid_post, but the model has 3 blocks"
    elif case == "nan":
        changed(exact_sae(sae), b_enc=torch.full((32,), float("nan")))
        said = "b_enc"
    elif case == "code":
        sae.mkdir()
        (sae / "ae.pt").write_bytes(pickle.dumps({"encoder.weight": Evil()}))
        (sae / "config.json").write_text("{}")
        said = "ae.pt"
    elif case == "model":
        exact_sae(sae)
        broken = tiny(tmp_path / "broken", layers=3)
        file = broken / "model.safetensors"
        tensors = load_file(file)
        tensors["model.embed_tokens.weight"][:] = float("nan")
        save_file(tensors, file, metadata={"format": "pt"})
        made = {**made, "model": str(broken)}
        said = "hold NaN or infinite values"
    else:
        exact_sae(sae)
        said = "--layer 2, but the SAE was made for layer 1"
    out = tmp_path / "run"
    extra = ["--layer", "2"] if case == "other layer" else []
    code, shown, err = call(made, "--sae", str(sae), *extra, "--out", str(out), capsys=capsys)
    assert (code, shown) == (2, "")
    assert said in err
    assert "code ran" not in err
    assert "Traceback" not in err
    assert not (out / "result.json").exists()
    assert not (out / "tables").exists()
