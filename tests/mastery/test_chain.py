"""The chain on a real model: mastery, sets of three sizes, SFT with TRL, closed book, drift.

Each step reads what the one before has written, and every report tells its part.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from imprint.drift import drift
from imprint.mastery import MasteryConfig, closed_book, mastery

SIZES = (4, 8, 12)
PLACES = ("park", "house", "tree", "box", "car", "sea")
NAMES = ("Zib", "Mop", "Kez", "Fud", "Wix", "Jat", "Rop", "Yin", "Gab", "Lub", "Vot", "Nem")


@pytest.fixture
def facts(tmp_path: Path) -> Path:
    rows = [
        {
            "relation": "lives",
            "subject": name,
            "answers": [PLACES[n % len(PLACES)]],
            "prompts": [f"{name} lives in the", f"The home of {name} is the"],
            "question": f"Where does {name} live?",
        }
        for n, name in enumerate(NAMES)
    ]
    path = tmp_path / "facts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def tuned(model: Path, rows: Path, out: Path) -> Path:
    datasets, trl = pytest.importorskip("datasets"), pytest.importorskip("trl")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(model)
    tokenizer.pad_token = tokenizer.eos_token
    cache = str(out / "cache")
    loaded = datasets.load_dataset("json", data_files=str(rows), split="train", cache_dir=cache)
    settings = trl.SFTConfig(
        output_dir=str(out / "trainer"),
        max_steps=60,
        learning_rate=3e-3,
        per_device_train_batch_size=12,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        logging_steps=1000,
        use_cpu=True,
        bf16=False,
        seed=0,
    )
    trainer = trl.SFTTrainer(
        AutoModelForCausalLM.from_pretrained(model),
        args=settings,
        train_dataset=loaded,
        processing_class=tokenizer,
    )
    trainer.train()
    trainer.save_model(str(out / "model"))
    return out / "model"


@pytest.mark.shared
@pytest.mark.filterwarnings("ignore")
def test_what_is_taught_is_answered(shared: Path, facts: Path, tmp_path: Path) -> None:
    model, before = shared / "models" / "stories260K", tmp_path / "before"
    config = MasteryConfig(
        samples=3, max_new_tokens=4, sizes=SIZES, set_seeds=1, sft_prompt="Q: {question} A:"
    )
    known = mastery(model, facts, config, out=before)
    sets = {size: before / f"tables/splits/sft-mixed-{size}-seed0.jsonl" for size in SIZES}
    taught = {size: tuned(model, rows, tmp_path / f"n{size}") for size, rows in sets.items()}

    asked = replace(config, sizes=())
    answers = closed_book([model, *taught.values()], before, asked, out=tmp_path / "closed")
    accuracy = answers.tables["accuracy"]
    base, *after = accuracy["accuracy"].to_list()
    assert base < 0.5
    assert after[0] < after[-1] > 0.5
    assert after[-1] > accuracy["null"].to_list()[-1]
    assert all(str(path) in page(tmp_path / "closed") for path in taught.values())

    again = mastery(taught[SIZES[-1]], facts, asked, out=tmp_path / "after")
    scores = [result.tables["mastery"]["score"].mean() for result in (known, again)]
    assert len(again.tables["mastery"]) == len(NAMES)
    assert scores[0] < scores[1]
    assert "level" in page(tmp_path / "after")

    moved = drift(
        model,
        models=models_table(taught, tmp_path),
        mastery=before,
        near=0,
        resamples=200,
        out=tmp_path / "drift",
    )
    levels = moved.tables["levels"].filter(pl.col("measure") == "kl_tuned_base_top10")
    assert levels["size"].unique().sort().to_list() == list(SIZES)
    assert (levels["mean"] > 0).all()
    told = page(tmp_path / "drift")
    assert "Mean divergence by size." in told
    assert "First-token drift by size and level." in told
    assert any(f"Drift grew from size {SIZES[0]}" in verdict.text for verdict in moved.verdicts)


def models_table(taught: dict[int, Path], folder: Path) -> Path:
    rows = [f"{path},stories260K,sft,{size}" for size, path in taught.items()]
    path = folder / "models.csv"
    path.write_text("\n".join(["model,unit,stage,size", *rows]) + "\n")
    return path


def page(run: Path) -> str:
    return (run / "report.html").read_text()
