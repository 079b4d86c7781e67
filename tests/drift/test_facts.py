"""First tokens of facts: the best template, the top ten, levels, and which facts are kept."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from imprint.drift import drift
from imprint.drift.facts import begins_near, best_prompts, read_facts
from imprint.errors import DataError
from models_support import letters_tokenizer, torch, transformers

FAST: dict[str, Any] = {"resamples": 100, "quiet": True, "near": 0}
FACTS = [
    ("f0", "P1", 0, "rome", "italy"),
    ("f1", "P1", 4, "paris", "france"),
    ("f2", "P1", 4, "oslo", "norway"),
    ("f3", "P2", 4, "bread", "flour"),
    ("f4", "P2", 1, "wine", "grapes"),
]
STATEMENTS = {
    "P1": ["{} is in", "you find {} in"],
    "P2": ["{} is made of", "to make {} take"],
}
HITS = {"P1": [1, 6], "P2": [7, 2]}


@pytest.fixture
def mastery(tmp_path: Path) -> Path:
    run = tmp_path / "mastery"
    (run / "tables").mkdir(parents=True)
    facts = [
        {
            "fact": fact,
            "relation": relation,
            "level": level,
            "subject": subject,
            "answers": [answer],
            "question": f"where is {subject}",
        }
        for fact, relation, level, subject, answer in FACTS
    ]
    templates = [
        {
            "fact": fact,
            "template": n,
            "prompt": words.format(subject),
            "hits": HITS[relation][n],
            "samples": 10,
        }
        for fact, relation, _, subject, _ in FACTS
        for n, words in enumerate(STATEMENTS[relation])
    ]
    pl.DataFrame(facts).write_parquet(run / "tables" / "mastery.parquet")
    pl.DataFrame(templates).write_parquet(run / "tables" / "templates.parquet")
    return run


def test_each_relation_takes_its_best_template(mastery: Path) -> None:
    facts = {fact.fact: fact for fact in read_facts(mastery)[0]}
    assert facts["f0"].statement == "you find rome in"
    assert facts["f3"].statement == "bread is made of"
    assert facts["f3"].sample("paper").tuned_prompt == "where is bread"
    assert facts["f3"].sample("statement").tuned_prompt == "bread is made of"
    assert facts["f3"].sample("question").prompt == "where is bread"


def test_of_equal_templates_the_first_and_unsampled_ones_never() -> None:
    mastery = pl.DataFrame({"fact": ["a"], "relation": ["R"]})
    templates = pl.DataFrame(
        {
            "fact": ["a"] * 3,
            "template": [0, 1, 2],
            "prompt": ["zero", "one", "two"],
            "hits": [0, 3, 3],
            "samples": [0, 6, 6],
        }
    )
    assert best_prompts(mastery, templates) == {"a": "one"}


def first_logits(folder: Path, prompt: str) -> Any:
    ids = letters_tokenizer()(prompt)["input_ids"]
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    with torch.inference_mode():
        return model(input_ids=torch.tensor([ids])).logits[0, -1].double()


def plain_top_ten(base: Any, tuned: Any) -> float:
    order = sorted(range(len(tuned)), key=lambda t: (-float(tuned[t]), t))[:10]
    p, q = (np.exp(x[order].numpy()) / np.exp(x[order].numpy()).sum() for x in (base, tuned))
    return float(sum(b * math.log(b / a) for a, b in zip(p, q, strict=True)))


@pytest.mark.parametrize("prompts", ["paper", "statement", "question"])
def test_the_first_token_agrees_with_a_plain_reference(
    pair: Any, mastery: Path, prompts: Any
) -> None:
    result = drift(pair.base, pair.tuned, mastery=mastery, fact_prompts=prompts, **FAST)
    rows = {row["fact"]: row for row in result.tables["facts"].iter_rows(named=True)}
    for fact in read_facts(mastery)[0]:
        sample = fact.sample(prompts)
        base = first_logits(pair.base, str(sample.prompt))
        tuned = first_logits(pair.tuned, str(sample.tuned_prompt))
        row = rows[fact.fact]
        assert row["kl_tuned_base_top10"] == pytest.approx(plain_top_ten(base, tuned), abs=1e-5)
        q, p = tuned.log_softmax(-1), base.log_softmax(-1)
        assert row["kl_tuned_base"] == pytest.approx(float((q.exp() * (q - p)).sum()), abs=1e-5)
        assert row["kl_tuned_base_top1"] == 0
        bound = row["kl_tuned_base"] / row["tuned_mass_top10"]
        assert row["kl_tuned_base_top10"] <= bound + 1e-6
    found = result.data["first_token_top10"]
    best = [rows[f]["kl_tuned_base_top10"] for f in ("f1", "f2", "f3")]
    assert (found["level"], found["facts"]) == (4, 3)
    assert found["mean"] == pytest.approx(np.mean(best))
    assert {row["level"]: row["tokens"] for row in result.data["levels"]} == {0: 1, 4: 3, 1: 1}
    assert {row["relation"] for row in result.data["relations"]} == {"P1", "P2"}


def test_the_same_model_by_the_same_prompt_does_not_drift(pair: Any, mastery: Path) -> None:
    from shutil import copytree

    same = copytree(pair.base, mastery.parent / "same")
    result = drift(pair.base, same, mastery=mastery, fact_prompts="statement", **FAST)
    assert result.data["first_token_top10"]["max"] == 0
    assert result.data["kl"]["max"] == 0


def test_levels_and_answer_tokens(pair: Any, mastery: Path) -> None:
    result = drift(pair.base, pair.tuned, mastery=mastery, levels=[4], **FAST)
    assert sorted(result.tables["facts"]["fact"]) == ["f1", "f2", "f3"]
    # all answer tokens are compared too, a blank and the letters of each
    assert result.data["tokens"] == sum(len(f" {a}") for *_, n, _, a in FACTS if n == 4)
    with pytest.raises(DataError, match=r"no fact has level 2; the run has levels 0, 1, 4"):
        drift(pair.base, pair.tuned, mastery=mastery, levels=[2], **FAST)


def test_only_answers_that_begin_at_once_are_kept(
    pair: Any, mastery: Path, monkeypatch: Any
) -> None:
    from imprint.models import Generated, LocalEngine

    def generate(self: Any, prompts: Any, **_: Any) -> Any:
        texts = [" a italy", " so it is france", " norway", " x", " grapes"]
        for n, text in enumerate(texts[: len(prompts)]):
            yield Generated(n, 0, text, 8, "length")

    monkeypatch.setattr(LocalEngine, "generate", generate)
    result = drift(pair.base, pair.tuned, mastery=mastery, near=3, resamples=100, quiet=True)
    kept = dict(result.tables["facts"].select("fact", "near").iter_rows())
    assert kept == {"f0": True, "f1": False, "f2": True, "f3": False, "f4": True}
    assert result.data["first_token_top10"]["facts"] == 1


def test_near_counts_the_tokens_before_the_answer() -> None:
    tokenizer = letters_tokenizer()
    assert begins_near(" rome and", ["rome"], tokenizer, 1)
    assert begins_near("a rome", ["paris", "rome"], tokenizer, 2)
    assert not begins_near("ab rome", ["rome"], tokenizer, 2)
    assert not begins_near("nothing", ["rome"], tokenizer, 9)


def test_a_real_greedy_completion_decides(pair: Any, mastery: Path) -> None:
    with pytest.raises(DataError, match="begins no answer within 1 tokens"):
        drift(pair.base, pair.tuned, mastery=mastery, near=1, resamples=100, quiet=True)


def test_no_mastery_run(tmp_path: Path, pair: Any, mastery: Path) -> None:
    with pytest.raises(DataError, match="no finished run of `imprint mastery`"):
        drift(pair.base, pair.tuned, mastery=tmp_path, **FAST)
    table = mastery / "tables" / "templates.parquet"
    pl.read_parquet(table).drop("prompt").write_parquet(table)
    with pytest.raises(DataError, match="has no column 'prompt'"):
        drift(pair.base, pair.tuned, mastery=mastery, **FAST)


def test_facts_without_a_question_are_said_or_asked_by_statements(pair: Any, mastery: Path) -> None:
    path = mastery / "tables" / "mastery.parquet"
    whole = pl.read_parquet(path)
    some = pl.when(pl.col("level") == 4).then("question")
    whole.with_columns(question=some).write_parquet(path)
    found = drift(pair.base, pair.tuned, mastery=mastery, **FAST)
    assert len(found.tables["facts"]) == 3
    (left_out,) = [f for f in found.findings if f.check == "fact_left_out"]
    assert left_out.detail.startswith("2 facts")
    found = drift(pair.base, pair.tuned, mastery=mastery, fact_prompts="statement", **FAST)
    assert len(found.tables["facts"]) == 5
    whole.with_columns(question=pl.lit(None, pl.String)).write_parquet(path)
    with pytest.raises(DataError, match="no fact with question") as caught:
        drift(pair.base, pair.tuned, mastery=mastery, **FAST)
    assert "--fact-prompts statement" in str(caught.value)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        read_facts(tmp_path / "none")
