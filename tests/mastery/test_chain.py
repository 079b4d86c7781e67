"""The chain on a real model: mastery, sets, fine-tuning with TRL, closed book, mastery again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from imprint.mastery import MasteryConfig, closed_book, mastery

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
    model = shared / "models" / "stories260K"
    config = MasteryConfig(
        samples=3, max_new_tokens=4, sizes=(0,), set_seeds=1, sft_prompt="Q: {question} A:"
    )
    mastery(model, facts, config, out=tmp_path / "before")
    rows = tmp_path / "before" / "tables" / "splits" / "sft-mixed-all-seed0.jsonl"
    taught = tuned(model, rows, tmp_path)
    answers = closed_book([model, taught], tmp_path / "before", replace(config, sizes=()))
    base, after = answers.tables["accuracy"].rows(named=True)
    assert base["accuracy"] < 0.5 < after["accuracy"]
    assert after["accuracy"] > after["null"]
    again = mastery(taught, facts, config)
    assert len(again.tables["mastery"]) == len(NAMES)
