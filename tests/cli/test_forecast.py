"""``imprint forecast`` on the command line, without an SAE and with one."""

from __future__ import annotations

import json
import random
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import polars as pl
import pytest

import imprint
from imprint.cli import run
from imprint.errors import DataError
from imprint.forecast import selection
from imprint.forecast.material import Text
from models_support import tiny
from tests_support import HOSTILE

SPEED = ["--resamples", "100", "--draws", "2", "--quiet"]
WORDS = {
    "law": "the court said no",
    "sums": "two and six make ten",
    "cats": "a cat sat on a mat",
    "sea": "a ship went over",
    "art": "paint it in blue",
}
TEXTS = 12


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def rows_of(words: dict[str, str]) -> list[dict[str, Any]]:
    draw = random.Random(0)  # noqa: S311

    def some(text: str, n: int) -> str:
        return " ".join(draw.choices(text.split(), k=n))

    return [
        {"domain": name, "prompt": f"{some(text, 2)} {'abcdefghijkl'[n]}", "answer": some(text, 1)}
        for name, text in words.items()
        for n in range(TEXTS)
    ]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("forecast")
    sft = [
        {"prompt": row["prompt"][::-1], "completion": row["answer"], "source": "xy"[n % 2]}
        for n, row in enumerate(rows_of({"s": WORDS["sums"], "t": WORDS["sea"]}))
    ]
    changes = [
        {"domain": name, "change": change, "se": 0.2}
        for name, change in zip(WORDS, (-3.0, 2.0, -0.5, 1.0, 0.2), strict=True)
    ]
    return {
        "model": str(tiny(folder / "base", layers=3)),
        "sft": write(folder / "sft.jsonl", sft),
        "domains": write(folder / "domains.jsonl", rows_of(WORDS)),
        "observed": write(folder / "observed.jsonl", changes),
    }


def call(*arguments: str, capsys: Any) -> tuple[int, str, str]:
    code = run(["forecast", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


def given(made: dict[str, str]) -> list[str]:
    return [made["model"], "--sft", made["sft"], "--domains", made["domains"], *SPEED]


def schema() -> Any:
    return json.loads(files("imprint.forecast").joinpath("forecast.schema.json").read_text())


def test_a_run_folder(made: dict[str, str], tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "run"
    code, said, err = call(
        *given(made), "--observed", made["observed"], "--json", "--out", str(out), capsys=capsys
    )
    assert (code, err) == (0, "")
    found = json.loads(said)
    jsonschema.validate(found, schema())
    assert found == json.loads((out / "result.json").read_text())
    assert {path.name for path in out.iterdir()} == {
        "result.json", "tables", "report.html", "summary.md", "manifest.json",
    }  # fmt: skip
    assert [row["domain"] for row in found["domains"]] == list(WORDS)
    assert {row["observed"] for row in found["domains"]} == {-3.0, 2.0, -0.5, 1.0, 0.2}
    families = {one["family"] for one in found["domains"][0]["predictors"].values()}
    assert families >= {"lexical", "likelihood", "similarity", "gradient"}
    assert "no_sae" in {one["check"] for one in found["findings"]}
    frame = pl.read_parquet(out / "tables" / "predictors.parquet")
    assert len(frame) == len(WORDS) * frame["predictor"].n_unique()
    # intervals hold their scores, and an excess is the score less its null
    known = frame.drop_nulls("low")
    assert (known["low"] <= known["score"] + 1e-9).all()
    assert (known["high"] >= known["score"] - 1e-9).all()
    beside = frame.drop_nulls("null")
    assert (beside["excess"] - (beside["score"] - beside["null"])).abs().max() < 1e-12
    text = (out / "report.html").read_text()
    assert "What was observed" in text
    assert "Predictors side by side" in text


def test_the_same_numbers_again_and_from_python(
    made: dict[str, str], tmp_path: Path, capsys: Any
) -> None:
    only = ["--families", "lexical", "similarity"]
    tables = []
    for name in ("a", "b"):
        code, _, _ = call(*given(made), *only, "--out", str(tmp_path / name), capsys=capsys)
        assert code == 0
        tables.append(pl.read_parquet(tmp_path / name / "tables" / "predictors.parquet"))
    result = imprint.forecast(
        made["model"],
        sft=made["sft"],
        domains=made["domains"],
        families=("lexical", "similarity"),
        resamples=100,
        draws=2,
        quiet=True,
    )
    assert tables[0].equals(tables[1])
    assert tables[0].equals(result.tables["predictors"])
    assert "No predictor is validated here" in result.headline


def test_components_sets_and_a_mixture(made: dict[str, str], tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "run"
    code, said, _ = call(
        *given(made), "--group-by", "source", "--families", "lexical", "similarity", "--budget",
        "20", "--cap", "8", "--max-new-tokens", "3", "--out", str(out), "--json", capsys=capsys,
    )  # fmt: skip
    assert code == 0
    found = json.loads(said)
    jsonschema.validate(found, schema())
    assert [one["sft"] for one in found["sets"]] == ["x", "y"]
    assert sum(row["examples"] for row in found["mixture"]) == 20
    written = [json.loads(line) for line in (out / "mixture.jsonl").read_text().splitlines()]
    assert {row["origin"] for row in written} == {"sft", "base model"}
    assert all(row["prompt"] and row["completion"] for row in written)
    again = [*given(made), "--families", "lexical", "--out", str(out)]
    sets = pl.read_parquet(out / "tables" / "sets.parquet").filter(predictor=found["score"])
    assert sorted(sets["rank"]) == [1, 2]
    assert call(*again, capsys=capsys)[0] == 0
    assert not (out / "mixture.jsonl").exists()  # it belonged to the run before


def test_past_forecasts_choose_the_predictor(
    made: dict[str, str], tmp_path: Path, capsys: Any
) -> None:
    observed, only = ["--observed", made["observed"]], ["--families", "lexical", "similarity"]
    for seed in "012":
        arguments = [*given(made), *only, *observed, "--seed", seed, "--out", str(tmp_path / seed)]
        assert call(*arguments, capsys=capsys)[0] == 0
    runs = [str(tmp_path / seed) for seed in "012"]
    out = tmp_path / "new"
    code, said, _ = call(
        *given(made), *only, "--history", *runs, "--out", str(out), "--json", capsys=capsys
    )
    assert code == 0
    found = json.loads(said)
    jsonschema.validate(found, schema())
    assert found["history"]["best"] == found["score"]
    assert found["history"]["held_out"]["forecasts"] == 3
    assert "past forecasts" in found["headline"] or "Past forecasts" in found["headline"]


def test_settings_in_yaml_and_flags_that_win(
    made: dict[str, str], tmp_path: Path, capsys: Any
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("families: [lexical]\nseed: 5\ntop: 2\n")
    out = tmp_path / "run"
    code, said, _ = call(
        *given(made), "--config", str(config), "--seed", "2", "--out", str(out), "--json",
        capsys=capsys,
    )  # fmt: skip
    assert code == 0
    assert (json.loads(said)["seed"], json.loads(said)["top"]) == (2, 2)
    config.write_text("latens: 5\n")
    code, _, err = call(*given(made), "--config", str(config), capsys=capsys)
    assert code == 2
    assert "did you mean 'latents'" in err


def test_the_plan(made: dict[str, str], tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "run"
    code, said, _ = call(*given(made), "--dry-run", "--out", str(out), capsys=capsys)
    assert code == 0
    assert "5 domains: 60 texts" in said
    assert not out.exists()


def test_what_was_not_drawn_counts_all_the_same(made: dict[str, str], tmp_path: Path) -> None:
    leaking = write(
        tmp_path / "leak.jsonl",
        [{"prompt": row["prompt"], "completion": row["answer"]} for row in rows_of(WORDS)],
    )
    found = imprint.forecast(
        made["model"], sft=leaking, domains=made["domains"], families=("lexical",), limit=10,
        resamples=100, quiet=True,
    )  # fmt: skip
    frame = found.tables["predictors"]
    assert frame.filter(predictor="items")["score"].to_list() == [TEXTS] * len(WORDS)
    (leak,) = [one for one in found.findings if one.check == "leak"]
    assert leak.count == found.tables["forecast"]["texts"].sum()


def test_another_text_is_another_run(
    made: dict[str, str], tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fingerprint(last: str) -> str:
        texts = [Text(str(n), group, f"{n} {group}", last) for group in "ab" for n in range(TEXTS)]
        monkeypatch.setattr(selection, "read_task", lambda _: (texts, []))
        out = tmp_path / "run"
        code, said, err = call(
            made["model"], "--sft", made["sft"], "--domains", "my_task", "--families", "lexical",
            *SPEED, "--out", str(out), "--json", capsys=capsys,
        )  # fmt: skip
        assert code == 0, err
        return str(json.loads(said)["fingerprint"])

    assert fingerprint("a") == fingerprint("a") != fingerprint("b")


def test_hostile_names_are_shown_and_not_read(
    made: dict[str, str], tmp_path: Path, capsys: Any
) -> None:
    names = dict(zip(HOSTILE, WORDS.values(), strict=False))
    domains = write(tmp_path / "d.jsonl", rows_of(names))
    out = tmp_path / "run"
    code, _, _ = call(
        made["model"], "--sft", made["sft"], "--domains", domains, "--families", "lexical",
        *SPEED, "--out", str(out), capsys=capsys,
    )  # fmt: skip
    assert code == 0
    text = (out / "report.html").read_text()
    assert "<script>alert(1)" not in text
    assert "<img src=x" not in text
    words = (out / "summary.md").read_text()
    assert not re.search(r"(?<!\\)<(script|img)", words)


def bad(made: dict[str, str], tmp_path: Path) -> dict[str, tuple[list[str], str]]:
    rows = rows_of(WORDS)
    few = write(tmp_path / "few.jsonl", rows[:-TEXTS] + rows[-5:])
    silent = write(tmp_path / "silent.jsonl", [{"prompt": "q", "completion": ""}])
    long = write(tmp_path / "long.jsonl", [{**row, "prompt": "a cat " * 20} for row in rows])
    other = write(tmp_path / "other.jsonl", [{"domain": "chess", "change": 1.0}])
    single = write(tmp_path / "single.jsonl", rows[:TEXTS])
    (tmp_path / "again").mkdir()
    again = write(tmp_path / "again" / "one.jsonl", [{"prompt": "q"}])
    alone = write(tmp_path / "one.jsonl", [{"prompt": "q"}])
    model, sft, domains = made["model"], made["sft"], made["domains"]
    full = [model, "--sft", sft, "--domains", domains]
    return {
        "a domain with five texts": (
            [model, "--sft", sft, "--domains", few],
            "few.jsonl, line 49: the domain 'art' has 5 texts to read, and its interval needs 10",
        ),
        "SFT without answers": (
            [model, "--sft", silent, "--domains", domains],
            "silent.jsonl, line 1: the example has no answer",
        ),
        "texts beyond the context": (
            [model, "--sft", sft, "--domains", long],
            "the domain 'law' has 0 texts to read",
        ),
        "one domain": (
            [model, "--sft", sft, "--domains", single],
            "1 domain, and a forecast compares",
        ),
        "layer beyond the model": (
            [*full, "--layer", "3"],
            "--layer 3, but the model has 3 blocks",
        ),
        "no SFT set": ([model, "--domains", domains], "no SFT set is named"),
        "no domains": ([model, "--sft", sft], "no domains are named"),
        "an unknown predictor": (
            [*full, "--families", "lexical", "--score", "digit_shar"],
            "did you mean 'digit_share'",
        ),
        "outcomes of other domains": (
            [*full, "--observed", other],
            "no observed change belongs to a domain",
        ),
        "history that is none": ([*full, "--history", str(tmp_path)], "no result.json"),
        "the oracle without a model": ([*full, "--shift", "sft"], "--shift sft needs --tuned"),
        "an SAE that is not there": ([*full, "--sae", str(tmp_path / "none")], "none"),
        "ablation without an SAE": ([*full, "--ablate", "3"], "--ablate needs an SAE"),
        "floors above the budget": (
            [*full, "--budget", "10", "--floor", "3"],
            "--floor 3 of 5 domains is 15 examples, and --budget is 10",
        ),
        "a mapped column that is nowhere": (
            [*full, "--map", "answer=anwser"],
            "domains.jsonl: has no column 'anwser' (--map answer=anwser); did you mean 'answer'?",
        ),
        "two files of one name": (
            [model, "--sft", sft, "--domains", alone, again],
            "the domain would be called 'one', and so would that of",
        ),
        "a file named twice": (
            [model, "--sft", sft, "--domains", domains, domains],
            "domains.jsonl is named twice in --domains",
        ),
        "more demonstrations than examples": (
            [*full, "--demonstrations", "24"],
            "--demonstrations 24, but 24 examples of the SFT set 'sft' are read",
        ),
        "unrelated texts without a use": (
            [*full, "--shift", "grad", "--unrelated", sft],
            "--unrelated is for the null of --shift icl",
        ),
        "a limit too small": ([*full, "--limit", "5"], "--limit 5 is less than the 10 texts"),
    }


CASES = [
    "a domain with five texts", "SFT without answers", "texts beyond the context", "one domain",
    "layer beyond the model", "no SFT set", "no domains", "an unknown predictor",
    "outcomes of other domains", "history that is none", "the oracle without a model",
    "an SAE that is not there", "ablation without an SAE",
    "floors above the budget", "a mapped column that is nowhere", "two files of one name",
    "a file named twice", "more demonstrations than examples", "unrelated texts without a use",
    "a limit too small",
]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_is_refused(case: str, made: dict[str, str], tmp_path: Path, capsys: Any) -> None:
    cases = bad(made, tmp_path)
    assert list(cases) == CASES
    arguments, said = cases[case]
    out = tmp_path / "run"
    code, shown, err = call(*arguments, "--quiet", "--out", str(out), capsys=capsys)
    assert (code, shown) == (2, "")
    assert said in err
    assert "Traceback" not in err
    assert not (out / "result.json").exists()
    assert not (out / "tables").exists()


def test_an_error_from_python(made: dict[str, str]) -> None:
    with pytest.raises(DataError, match="no such file"):
        imprint.forecast(made["model"], sft="nowhere.jsonl", domains=made["domains"])
