"""All predictors on a real model, a real SFT set and items of fourteen MMLU subjects."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from imprint.forecast.domains import score_domains
from imprint.forecast.material import Material, Text
from imprint.forecast.predictors import PREDICTORS
from imprint.forecast.setting import Setting

torch = pytest.importorskip("torch", reason="torch is not installed")

EACH = 6  # items of a subject
SUBJECTS = (
    "elementary_mathematics",
    "high_school_mathematics",
    "college_physics",
    "high_school_chemistry",
    "international_law",
    "philosophy",
    "sociology",
    "human_aging",
    "marketing",
    "virology",
    "world_religions",
    "prehistory",
    "computer_security",
    "econometrics",
)


def items(shared: Path) -> tuple[Text, ...]:
    found: dict[str, list[Text]] = {subject: [] for subject in SUBJECTS}
    path = shared / "multiple_choice" / "olmo_hf_jsonl" / "mmlu_all.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            row = json.loads(line)
            texts = found.get(row["subject"])
            if texts is not None and len(texts) < EACH and len(row["question"]) < 300:
                answer = row["choices"][row["answer"]]
                texts.append(Text(str(number), row["subject"], row["question"], answer))
    return tuple(text for texts in found.values() for text in texts)


def sft(shared: Path, count: int) -> tuple[Text, ...]:
    with (shared / "sft" / "gsm8k" / "train.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    short = [row for row in rows if len(row["question"]) + len(row["answer"]) < 260]
    return tuple(
        Text(str(n), "", row["question"], row["answer"]) for n, row in enumerate(short[:count])
    )


@pytest.mark.shared
def test_every_predictor_speaks_of_fourteen_subjects(shared: Path) -> None:
    from imprint.models import load

    texts = items(shared)
    loaded = load(shared / "models" / "stories260K", device="cpu")
    before = [w.clone() for w in loaded.model.parameters()]
    setting = Setting(
        Material(sft(shared, 16), texts),
        loaded,
        draws=2,
        demonstrations=1,
        base_accuracy=dict.fromkeys(SUBJECTS, 0.25),
        history={"another": dict.fromkeys(SUBJECTS, -0.02)},
    )
    said = [found for one in PREDICTORS for found in one.function(setting)]
    scored = score_domains(said, [text.group for text in texts], resamples=200, seed=0)
    for one in scored:
        assert np.isfinite(one.score).all(), one.predicted.name
    by_name = {one.predicted.name: one for one in scored}
    order = by_name["digit_share"].ranks()
    assert SUBJECTS[int(np.argmin(order))] in SUBJECTS[:4]
    # a set of word problems is nearest to the two subjects of mathematics
    assert set(by_name["dsir"].ranks()[:2]) == {1, 2}
    assert {one.predicted.name for one in scored if one.predicted.signed} == {
        "icl_gain",
        "gradient",
        "gradient_sign",
        "history:another",
    }
    assert all(torch.equal(w, o) for w, o in zip(loaded.model.parameters(), before, strict=True))
