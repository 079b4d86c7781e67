"""``imprint forecast --sae``: what fits, and what is refused before anything runs."""

from __future__ import annotations

import json
import pickle
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import polars as pl
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
        "model": str(roomy(tiny(folder / "base", layers=3))),
        "tuned": str(roomy(tiny(folder / "tuned", layers=3, near=folder / "base"))),
        "sft": write(folder / "sft.jsonl", sft),
        "domains": write(folder / "domains.jsonl", rows),
    }


def roomy(folder: Path) -> Path:
    """Give a model the context that demonstrations need."""
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "max_position_embeddings": 160}))
    return folder


def call(made: dict[str, Any], *arguments: str, capsys: Any) -> tuple[int, str, str]:
    model = [made["model"], "--sft", made["sft"], "--domains", made["domains"]]
    code = run(["forecast", *model, *SPEED, *arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_shifted_latents_with_all_that_follows(
    made: dict[str, Any], tmp_path: Path, capsys: Any
) -> None:
    sae, labels = exact_sae(tmp_path / "sae", noise=48), tmp_path / "labels.jsonl"
    write(labels, [{"index": n, "description": f"<b>latent {n}</b>"} for n in range(80)])
    out = tmp_path / "run"
    given = ["--families", "sts", "dictionary", "lexical", "--latents", "6", "--ablate", "3"]
    code, said, _ = call(
        made, "--sae", str(sae), *given, "--labels", str(labels), "--json", "--out", str(out),
        capsys=capsys,
    )  # fmt: skip
    assert code == 0
    found = json.loads(said)
    schema = json.loads(files("imprint.forecast").joinpath("forecast.schema.json").read_text())
    jsonschema.validate(found, schema)
    assert found["score"] == "sts_icl"
    assert {row["direction_by"] for row in found["domains"]} == {"sts_signed"}
    shifted = found["shifted"]["latents"]
    assert len(shifted) == 6
    assert shifted[0]["label"] == f"<b>latent {shifted[0]['latent']}</b>"
    assert sum(row["share"] for row in shifted) <= 1
    assert all(0 <= row["stability"] <= 1 for row in shifted)
    assert found["shifted"]["overlap"][0]["latents"] == 6
    said_of = found["domains"][0]["predictors"]
    names = {"sts_act", "sts_icl", "sts_signed", "sts_act_density", "raw_act", "pca_icl"}
    assert names <= set(said_of)
    assert said_of["sts_act"]["null"] is not None
    zeroed = pl.read_parquet(out / "tables" / "ablation.parquet")
    assert zeroed["domain"].to_list() == list(WORDS)
    assert (zeroed["change"] - zeroed["random"] - zeroed["excess"]).abs().max() < 1e-9
    strongest = pl.read_parquet(out / "tables" / "strongest.parquet")
    tops = strongest.group_by("latent", maintain_order=True).agg("activation")["activation"]
    assert all(values == sorted(values, reverse=True) for values in tops.to_list())
    text = (out / "report.html").read_text()
    assert "<b>latent" not in text
    for heading in ("Shifted latents", "Ablation", "Fit of the SAE"):
        assert heading in text


def test_what_the_sae_does_not_tell_is_said(made: dict[str, Any], tmp_path: Path, capsys) -> None:
    sae = exact_sae(tmp_path / "sae", noise=48)
    cfg = json.loads((sae / "cfg.json").read_text())
    del cfg["metadata"]["hook_name"]
    (sae / "cfg.json").write_text(json.dumps(cfg))
    given = ["--sae", str(sae), "--layer", "1", "--families", "lexical", "--json"]
    code, said, err = call(made, *given, "--out", str(tmp_path / "run"), capsys=capsys)
    assert code == 0, err
    found = {one["check"]: one["detail"] for one in json.loads(said)["findings"]}
    assert found["layer"].endswith("resid_post of layer 1 is taken.")


def test_what_never_stands_before_a_query_is_said(
    made: dict[str, Any], tmp_path: Path, capsys: Any
) -> None:
    long = {"domain": "law", "prompt": "an", "answer": "a law " * 26}
    rows = [json.loads(line) for line in Path(made["domains"]).read_text().splitlines()]
    few = [{**row, "answer": None} for row in rows if row["domain"] == "cats"]
    rest = [row for row in rows if row["domain"] != "cats"]
    words = tmp_path / "words.txt"
    words.write_text("one two\n\nthree four\n")
    out = tmp_path / "run"
    code = run(
        [
            "forecast", made["model"], "--sft", made["sft"], "--unrelated", str(words), *SPEED,
            "--domains", write(tmp_path / "d.jsonl", [*rest, *few, long, long]),
            "--sae", str(exact_sae(tmp_path / "sae", noise=48)), "--families", "sts",
            "--latents", "6", "--json", "--out", str(out),
        ]
    )  # fmt: skip
    said, err = capsys.readouterr()
    assert code == 0, err
    found = json.loads(said)
    noticed = {one["check"]: one["detail"] for one in found["findings"]}
    assert noticed["long_span"].startswith("domains: 1 texts with their answers are too long")
    assert "in 1 of them fewer than 5 answered texts stand" in noticed["few_shots"]
    assert "('cats': 0)" in noticed["few_shots"]
    null = found["shifted"]["overlap"][0]["null"]
    assert null == "unrelated texts in place of demonstrations"
    assert null in (out / "report.html").read_text()


SHIFTS = ("icl_content", "answer", "grad", "sft", "rollout", "icl_unaligned")


@pytest.mark.parametrize("shift", SHIFTS)
def test_every_way_to_find_the_shift(
    shift: str, made: dict[str, Any], tmp_path: Path, capsys: Any
) -> None:
    sae = exact_sae(tmp_path / "sae", noise=48)
    given = ["--sae", str(sae), "--families", "sts", "--shift", shift, "--latents", "6"]
    if shift == "sft":
        given += ["--tuned", made["tuned"]]
    if shift == "rollout":
        samples = [
            {"prompt": f"say {one}", "completion": f"{one} {word}", "reward": reward}
            for one in "abcdefghijkl"
            for word, reward in (("cat", 1.0), ("mat", 0.0))
        ]
        given += ["--rollouts", write(tmp_path / "r.jsonl", samples)]
    code, said, err = call(made, *given, "--json", "--out", str(tmp_path / "run"), capsys=capsys)
    assert code == 0, err
    found = json.loads(said)
    assert found["shift"] == shift
    assert len(found["shifted"]["latents"]) == 6
    assert all(row["score"] is not None for row in found["domains"])


def test_the_oracle_of_a_model_that_did_not_move(
    made: dict[str, Any], tmp_path: Path, capsys: Any
) -> None:
    sae = exact_sae(tmp_path / "sae", noise=48)
    given = ["--sae", str(sae), "--families", "sts", "--shift", "sft", "--tuned", made["model"]]
    code, said, err = call(made, *given, "--json", "--out", str(tmp_path / "run"), capsys=capsys)
    assert (code, said) == (2, "")
    assert "no latent shifts at all (--shift sft)" in err


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
