"""The report as a reader sees it, and a forecast on real texts and a real model."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import imprint
from models_support import tiny
from sae_support import exact_sae
from tests_support import HOSTILE

DRAWN = "() => [...document.querySelectorAll('[data-figure] .chart')].every(c => c.dataset.drawn)"
LETTERS = "abcdefghijkl"
SUBJECTS = (
    "elementary_mathematics", "high_school_mathematics", "philosophy", "sociology", "marketing",
    "virology",
)  # fmt: skip


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def roomy(folder: Path) -> Path:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "max_position_embeddings": 160}))
    return folder


@pytest.mark.browser
def test_the_report_opens_without_a_network_or_a_complaint(tmp_path: Path, chromium: Any) -> None:
    names = [*HOSTILE[:4], "law", "sea"]
    rows = [
        {"domain": name, "prompt": f"{one} {['cat', 'mat', 'sea', 'law', 'hat', 'bat'][n]} {one}",
         "answer": f"{one} it"}
        for n, name in enumerate(names)
        for one in LETTERS
    ]  # fmt: skip
    sft = [{"prompt": f"{one} is", "completion": one, "source": "xy"[n % 2]}
           for n, one in enumerate(LETTERS + LETTERS.upper())]  # fmt: skip
    changes = [
        {"domain": name, "change": n - 2.5, "se": 0.5, "sft": source}
        for n, name in enumerate(names)
        for source in "xy"
    ]
    found = imprint.forecast(
        roomy(tiny(tmp_path / "base", layers=3)),
        sae=exact_sae(tmp_path / "sae", noise=48),
        sft=write(tmp_path / "sft.jsonl", sft),
        domains=write(tmp_path / "domains.jsonl", rows),
        observed=write(tmp_path / "changes.jsonl", changes),
        group_by="source",
        families=("sts", "lexical", "similarity"),
        latents=6,
        ablate=2,
        budget=10,
        max_new_tokens=2,
        draws=2,
        resamples=100,
        quiet=True,
    )
    tab = chromium.new_page()
    said: list[str] = []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("dialog", lambda dialog: said.append("dialog") or dialog.dismiss())
    tab.on("request", lambda r: said.append(r.url) if not r.url.startswith("file:") else None)
    tab.goto(found.report(tmp_path / "report.html").as_uri() + "#all")
    tab.wait_for_function(DRAWN)
    headings = tab.locator("h2").all_inner_texts()
    tab.close()
    assert said == []
    for title in ("Domains", "What was observed", "SFT sets", "Shifted latents", "Mixture plan"):
        assert title in headings


@pytest.mark.shared
def test_a_forecast_on_real_texts(shared: Path, tmp_path: Path) -> None:
    path = shared / "multiple_choice" / "olmo_hf_jsonl" / "mmlu_all.jsonl.gz"
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in SUBJECTS}
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            one = json.loads(line)
            own = rows.get(one["subject"])
            if own is not None and len(own) < 10 and len(one["question"]) < 200:
                answer = one["choices"][one["answer"]]
                own.append({"domain": one["subject"], "prompt": one["question"], "answer": answer})
    with (shared / "sft" / "gsm8k" / "train.jsonl").open(encoding="utf-8") as lines:
        solved = [json.loads(line) for line in lines]
    short = [one for one in solved if len(one["question"]) + len(one["answer"]) < 200][:12]
    found = imprint.forecast(
        shared / "models" / "stories260K",
        sae=exact_sae(tmp_path / "sae", width=64, layer=2),
        sft=write(tmp_path / "gsm8k.jsonl", short),
        domains=write(tmp_path / "mmlu.jsonl", [row for own in rows.values() for row in own]),
        families=("sts", "lexical"),
        draws=2,
        resamples=200,
        device="cpu",
        quiet=True,
    )
    frame = found.tables["forecast"]
    assert frame["domain"].to_list() == list(SUBJECTS)
    assert frame["predictor"].unique().to_list() == ["sts_icl"]
    assert np.isfinite(frame["score"].to_numpy()).all()
    assert found.data["fit"]["fvu"] < 1e-6
    digits = found.tables["predictors"].filter(predictor="digit_share").sort("rank")
    assert set(digits["domain"].head(2)) == set(SUBJECTS[:2])  # mathematics holds the digits
