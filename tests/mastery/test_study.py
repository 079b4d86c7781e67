"""Mastery runs on tiny and real models: numbers, resuming, sets, likelihood, closed book."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import imprint.mastery
from imprint.errors import ConfigError, DataError
from imprint.mastery import MasteryConfig, closed_book, mastery
from imprint.mastery.levels import level_of
from imprint.mastery.matching import Matcher
from imprint.mastery.models import Named
from imprint.mastery.sources import FromEngine, InProcess
from imprint.mastery.splits import fill, write_splits
from imprint.mastery.study import describe, open_inputs
from imprint.mastery.tables import slick
from imprint.models import LocalEngine, load
from imprint.models.sampling import Sampler
from models_support import tiny, torch
from tests_support import HOSTILE

HOME = Path(imprint.mastery.__file__).parent
SUBJECTS = ("cat", "dog", "hen", "owl", "fox", "bee")
SMALL = MasteryConfig(samples=4, max_new_tokens=6)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("model"))


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def facts(tmp_path: Path) -> Path:
    rows = [
        {
            "relation": ("eats", "likes")[n % 2],
            "subject": subject,
            "answers": [answer],
            "prompts": [f"the {subject} eats", f"a {subject}", f"{subject} likes the"],
            "question": f"what does the {subject} eat{n}?",
            "split": ("train", "test")[n % 3 == 2],
        }
        for n, (subject, answer) in enumerate(
            (subject, answer) for subject in SUBJECTS for answer in ("a", "ee", "zzz")
        )
    ]
    return write(tmp_path / "facts.jsonl", rows)


def test_a_run_counts_hits_as_anyone_would(model: Path, facts: Path, tmp_path: Path) -> None:
    config = replace(SMALL, keep_samples=True, stop="none")
    result = mastery(model, facts, config, out=tmp_path / "run")
    table, samples = result.tables["mastery"], result.tables["samples"]
    answers = dict(table.select("fact", pl.col("answers").list.first()).iter_rows())
    hits = Counter(
        row["fact"] for row in samples.rows(named=True) if answers[row["fact"]] in row["text"]
    )
    assert table["hits"].to_list() == [hits[fact] for fact in table["fact"]]
    assert table["samples"].to_list() == [12] * 18
    assert table["level"].to_list() == level_of(table["hits"], 12).tolist()
    assert table["template_hits"].list.sum().to_list() == table["hits"].to_list()
    assert table["hits_casefold"].to_list() >= table["hits"].to_list()
    assert len(samples) == 18 * 12
    assert {0, 4} & set(table["level"])
    templates = pl.read_parquet(tmp_path / "run" / "tables" / "templates.parquet")
    assert templates.columns[:5] == ["fact", "template", "prompt", "hits", "samples"]
    data = json.loads((tmp_path / "run" / "result.json").read_text())
    jsonschema.validate(data, json.loads((HOME / "mastery.schema.json").read_text()))
    assert data["samples_per_fact"] == 12
    assert data["samples_drawn"] == 216
    assert sum(entry["facts"] for entry in data["levels"]) == data["facts"] == 18


def test_the_same_seed_gives_the_same_run_in_any_batch(model: Path, facts: Path) -> None:
    first = mastery(model, facts, SMALL).tables["mastery"]
    for size in (1, 7, 50):
        again = mastery(model, facts, replace(SMALL, batch_size=size)).tables["mastery"]
        assert_frame_equal(first, again)
    other = mastery(model, facts, replace(SMALL, seed=1)).tables["mastery"]
    assert first["hits"].to_list() != other["hits"].to_list()


def test_ending_early_and_exact_stopping_change_no_level(
    model: Path, facts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(SMALL, samples=10, max_new_tokens=12)
    stopped = mastery(model, facts, config).tables["mastery"]
    full = mastery(model, facts, replace(config, stop="none")).tables["mastery"]
    monkeypatch.setattr(Matcher, "settled", lambda self, text: False)
    plain = mastery(model, facts, replace(config, stop="none")).tables["mastery"]
    assert_frame_equal(full, plain)
    assert stopped["level"].to_list() == full["level"].to_list()
    assert stopped["samples"].sum() < full["samples"].sum()
    assert stopped["certainty"].to_list() == pytest.approx([1.0] * len(stopped))


def test_certainty_stops_sooner_and_keeps_most_levels(model: Path, facts: Path) -> None:
    config = replace(SMALL, samples=50)
    full = mastery(model, facts, replace(config, stop="none")).tables["mastery"]
    sure = mastery(model, facts, replace(config, stop="0.95")).tables["mastery"]
    stopped = sure.filter(pl.col("samples") < pl.col("total"))
    assert (stopped["certainty"] >= 0.95).all()
    assert sure["samples"].sum() < 0.8 * full["samples"].sum()
    assert (sure["level"] == full["level"]).mean() > 0.85
    # no template is asked much more often than another
    spread = stopped["template_samples"].list.max() - stopped["template_samples"].list.min()
    assert spread.max() <= 1


def test_facts_do_not_depend_on_their_neighbours(model: Path, facts: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in facts.read_text().splitlines()]
    whole = mastery(model, facts, SMALL).tables["mastery"]
    alone = mastery(model, write(tmp_path / "few.jsonl", rows[4:6]), SMALL).tables["mastery"]
    kept = whole.filter(pl.col("fact").is_in(alone["fact"].implode()))
    assert kept["template_hits"].to_list() == alone["template_hits"].to_list()


class StopError(Exception):
    pass


def test_a_killed_run_resumes_with_the_same_numbers(
    model: Path, facts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imprint.mastery import study

    expected = mastery(model, facts, SMALL).tables
    score, calls = study.score_block, []

    def failing(*given: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise StopError
        return score(*given)

    monkeypatch.setattr(study, "score_block", failing)
    with pytest.raises(StopError):
        mastery(model, facts, SMALL, out=tmp_path / "run")
    assert not (tmp_path / "run" / "result.json").exists()
    monkeypatch.setattr(study, "score_block", score)
    result = mastery(model, facts, SMALL, out=tmp_path / "run")
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["resumed"] == ["block-000000"]
    for name, frame in expected.items():
        assert_frame_equal(frame, result.tables[name])


def test_likelihood_is_that_of_the_model(model: Path, facts: Path) -> None:
    only = mastery(model, facts, replace(SMALL, likelihood="only"))
    row = only.tables["templates"].row(0, named=True)
    loaded = load(model)
    ids = loaded.tokenizer(row["prompt"] + " a")["input_ids"]
    with torch.inference_mode():
        logprobs = loaded.model(torch.tensor([ids])).logits[0].log_softmax(-1)
    plain = sum(float(logprobs[at - 1, ids[at]]) for at in (-2, -1))
    plain = float(logprobs[-3, ids[-2]] + logprobs[-2, ids[-1]])
    assert row["logprob"] == pytest.approx(plain, abs=1e-4)
    table = only.tables["mastery"]
    assert table["hits"].null_count() == len(table)
    assert table["score"].is_between(0, 1).all()
    assert only.verdicts == []
    assert only.data["samples_drawn"] == 0
    only.html()
    also = mastery(model, facts, replace(SMALL, likelihood="also")).tables["mastery"]
    assert also["answer_probability"].to_list() == pytest.approx(table["score"].to_list())


def test_slick_categories(model: Path, facts: Path) -> None:
    table = mastery(model, facts, replace(SMALL, slick=True)).tables["mastery"]
    for row in table.rows(named=True):
        assert row["slick"] == slick(row["greedy_share"], row["hits"])
    assert len(set(table["slick"])) > 1
    assert slick(None, 3) is None


def test_an_engine_gives_the_same_kind_of_run(
    model: Path, facts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imprint.mastery import models

    plain = mastery(model, facts, replace(SMALL, samples=10, slick=True)).tables["mastery"]

    def source(self: Any, config: MasteryConfig, *, greedy: bool = False) -> FromEngine:
        engine = LocalEngine(self.loaded)
        temperature = 0.0 if greedy else config.temperature
        return FromEngine(engine, temperature, config.max_new_tokens, config.seed)

    monkeypatch.setattr(models.Answering, "source", source)
    config = replace(SMALL, samples=10, slick=True)
    found = mastery(model, facts, config).tables["mastery"]
    assert found["greedy_share"].to_list() == plain["greedy_share"].to_list()
    assert found["score"].mean() == pytest.approx(plain["score"].mean(), abs=0.1)
    assert_frame_equal(found, mastery(model, facts, config).tables["mastery"])


def test_sources_agree_on_greedy_texts(model: Path) -> None:
    loaded = load(model)
    prompts, names = ["a cat", "dogs"], [("x", 0), ("x", 1)]
    ours = InProcess(Sampler(loaded, max_new_tokens=5), 0).open(prompts, names, stop=None)
    theirs = FromEngine(LocalEngine(loaded), 0.7, 5, 0).open(prompts, names, stop=None)
    assert ours.greedy() == theirs.greedy()
    wanted = [(1, 0), (0, 1), (0, 0), (1, 2)]
    assert len(theirs.draw(wanted)) == 4


def test_question_rows_are_asked_by_few_shot_prompts(model: Path, tmp_path: Path) -> None:
    path = write(
        tmp_path / "qa.jsonl",
        [{"question": f"q{c}", "answer": c} for c in "abcdefgh"],
    )
    config = replace(SMALL, variants=3, max_new_tokens=4)
    config = replace(config, prompting=replace(config.prompting, num_fewshot=2))
    result = mastery(model, path, config)
    prompts = result.tables["templates"].filter(pl.col("template") == 0)["prompt"]
    assert all(text.count("Q: ") == 3 and text.endswith("\nA:") for text in prompts)
    assert all(f"Q: q{c}\nA:" in text for c, text in zip("abcdefgh", prompts, strict=True))
    assert all(f"A: {c}" not in text for c, text in zip("abcdefgh", prompts, strict=True))
    assert set(result.tables["mastery"]["asking"]) == {"few-shot"}
    assert [f.check for f in result.findings] == ["few_shot", "cut_prompts"]


def test_the_null_is_another_facts_answer(model: Path, tmp_path: Path) -> None:
    rows = [
        {"prompts": [f"{c} is the"], "answer": answer}
        for c in "abcdefghijkl"
        for answer in ("a", "e", "o")
    ]
    result = mastery(model, write(tmp_path / "same.jsonl", rows), replace(SMALL, samples=6))
    verdict = result.verdicts[0]
    assert verdict.state in ("undetermined", "does_not_hold")  # letters say nothing of the prompt
    alone = mastery(model, write(tmp_path / "one.jsonl", rows[:1]), SMALL)
    assert {v.state for v in alone.verdicts} == {"undetermined"}
    assert alone.tables["mastery"]["whole"].to_list() in ([None], [0])


def test_bad_input_is_refused(model: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "facts.jsonl", [{"relation": "x", "subject": "s", "answer": "a"}])
    with pytest.raises(DataError, match="no templates of its relation"):
        mastery(model, path, SMALL)
    for wrong, said in (
        ({"samples": 0}, "--samples 0"),
        ({"temperature": 0.0}, "--temperature 0"),
        ({"match": "regex"}, "--match"),
        ({"stop": "soon"}, "--stop"),
        ({"drop": ("all",)}, "--drop"),
        ({"sft_prompt": "x"}, "no.* slot|not one slot"),
        ({"synonyms": "nowhere.json"}, "--synonyms"),
        ({"likelihood": "only", "slick": True}, "--slick"),
    ):
        with pytest.raises(ConfigError, match=said):
            mastery(
                model, write(path, [{"prompts": ["p"], "answer": "a"}]), replace(SMALL, **wrong)
            )
    leaky = write(path, [{"subject": "a b", "prompts": ["p"], "answer": "b"}])
    with pytest.raises(DataError, match="no facts are left"):
        mastery(model, leaky, replace(SMALL, drop=("answer-in-subject",)))


def test_a_model_without_a_tokenizer_is_refused(model: Path, facts: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(model, tmp_path / "bare")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "bare" / name).unlink()
    with pytest.raises(DataError, match="no tokenizer"):
        mastery(tmp_path / "bare", facts, SMALL)


def test_limits_are_per_relation_and_split(model: Path, facts: Path, tmp_path: Path) -> None:
    inputs = open_inputs(Named(str(model)), facts, replace(SMALL, limit=2))
    counts = Counter(inputs.facts.select("relation", "split").iter_rows())
    assert set(counts.values()) == {2}
    again = open_inputs(Named(str(model)), facts, replace(SMALL, limit=2))
    assert_frame_equal(inputs.facts, again.facts)
    text = describe(inputs, tmp_path)
    assert "8 facts (8 by own), 24 prompts." in text
    assert "96 samples of 6 tokens" in text


def levelled(count: int = 40) -> pl.DataFrame:
    rows = [
        {
            "fact": f"{relation}{n}",
            "relation": relation,
            "answers": [f"{relation} {n}"],
            "question": f"{relation} {n}?",
            "split": split,
            "level": level,
        }
        for relation in ("r1", "r2", "r3")
        for split in ("train", "test", "test_ood")
        for level in range(5)
        for n in range(count if (relation, level) != ("r2", 4) else 3)
    ]
    return pl.DataFrame(rows)


def test_facts_without_questions_give_no_sets() -> None:
    table = levelled().with_columns(question=pl.lit(None, dtype=pl.String))
    found = write_splits(table, MasteryConfig())
    assert (found.files, len(found.sets)) == ({}, 0)
    assert len(found.findings) == 1


def test_sets_are_balanced_nested_and_short_where_facts_are() -> None:
    splits = write_splits(levelled(), replace(SMALL, sizes=(12, 60, 200, 0), set_seeds=2))

    def read(name: str) -> list[dict[str, Any]]:
        text = splits.files[f"tables/splits/{name}.jsonl"]
        return [json.loads(line) for line in text.splitlines()]

    small, large = read("sft-level1-12-seed0"), read("sft-level1-60-seed0")
    assert Counter(row["relation"] for row in small) == {"r1": 4, "r2": 4, "r3": 4}
    assert {row["fact"] for row in small} < {row["fact"] for row in large}
    assert {row["level"] for row in large} == {1}
    assert {row["fact"] for row in read("sft-level1-12-seed1")} != {row["fact"] for row in small}
    answer = small[0]["answers"][0]
    assert small[0]["prompt"] == f"<|question|> {answer}? <|answer|>"
    assert small[0]["completion"] == f" {answer} "
    filled = read("sft-level4-60-seed0")
    assert Counter(row["relation"] for row in filled) == {"r1": 29, "r2": 3, "r3": 28}
    assert len(read("sft-level4-200-seed0")) == 83
    assert len(read("sft-mixed-all-seed0")) == 563
    assert len(read("test-level4")) == 83
    assert "tables/splits/test_ood-level0.jsonl" in splits.files
    assert {f.check for f in splits.findings} == {"shortage", "filled_up"}
    every = splits.sets.filter(pl.col("role") == "sft")
    sizes = every.group_by("file").agg(pl.col("taken").sum(), pl.col("facts").first())
    assert sizes["taken"].to_list() == sizes["facts"].to_list()


def test_filling_up_takes_all_there_is() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        available = {str(n): int(random.integers(0, 20)) for n in range(5)}
        size = int(random.integers(0, 70))
        taken = fill(available, size)
        assert sum(taken.values()) == min(size, sum(available.values()))
        assert all(0 <= taken[n] <= available[n] for n in available)
        open_ = [taken[n] for n in available if taken[n] < available[n]]
        assert not open_ or max(taken.values()) - min(open_) <= 1


def test_closed_book_by_level_beside_its_null(model: Path, facts: Path, tmp_path: Path) -> None:
    mastery(model, facts, replace(SMALL, sizes=(4,)), out=tmp_path / "run")
    other = tiny(tmp_path / "other", seed=1)
    config = replace(SMALL, sft_prompt="{question}")
    result = closed_book([model, other], tmp_path / "run", config, out=tmp_path / "closed")
    answers = result.tables["answers"]
    assert set(answers["split"]) == {"test"}
    assert len(answers) == 12
    accuracy = result.tables["accuracy"]
    levels = result.tables["levels"]
    for row in accuracy.rows(named=True):
        mine = answers.filter(pl.col("model") == row["model"])
        assert row["accuracy"] == pytest.approx(mine["substring"].mean())
        per_level = levels.filter(pl.col("model") == row["model"])
        assert row["macro_present"] == pytest.approx(per_level["accuracy"].mean())
        assert (row["macro"] is None) == (len(per_level) < 5)
    spread = result.tables["spread"].row(0, named=True)
    assert spread["models"] == 2
    assert spread["accuracy"] == pytest.approx(accuracy["accuracy"].mean())
    data = json.loads((tmp_path / "closed" / "result.json").read_text())
    jsonschema.validate(data, json.loads((HOME / "closed_book.schema.json").read_text()))
    with pytest.raises(DataError, match="no finished run"):
        closed_book([model], tmp_path / "nothing", config)
    with pytest.raises(DataError, match="'closed-book'"):
        closed_book([model], tmp_path / "closed", config)
    with pytest.raises(ConfigError, match="twice"):
        closed_book([model, model], tmp_path / "run", config)


def test_the_published_macro_mean() -> None:
    from imprint.mastery.closed_book import accuracies

    shares = (1.75, 16.07, 55.03, 71.06, 83.46)
    rows = [
        {
            "model": "m",
            "split": "test",
            "relation": "r",
            "level": level,
            "substring": n < 100 * share,
            "null": False,
        }
        for level, share in enumerate(shares)
        for n in range(10_000)
    ]
    found = accuracies(pl.DataFrame(rows), "substring")["accuracy"].row(0, named=True)
    assert 100 * found["macro"] == pytest.approx(45.474)


def test_names_from_outside_are_escaped(model: Path, tmp_path: Path) -> None:
    rows = [
        {"fact": f"f{n}{text}", "relation": text, "subject": text, "prompts": ["a cat", "dog"],
         "answer": text, "question": text, "split": text}
        for n, text in enumerate(HOSTILE)
    ]  # fmt: skip
    result = mastery(model, write(tmp_path / "facts.jsonl", rows), replace(SMALL, sizes=(2,)))
    html = result.html()
    assert "<script>alert" not in html
    assert "<img" not in re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)
    result.summary()


def test_no_set_leaves_the_run_folder(model: Path, tmp_path: Path) -> None:
    rows = [
        {"prompts": ["a cat"], "answer": "a", "question": f"q{n}", "split": split}
        for n, split in enumerate(("train", "../../escaped", "/etc/x"))
    ]
    config = replace(SMALL, sizes=(2,))
    mastery(model, write(tmp_path / "facts.jsonl", rows), config, out=tmp_path / "deep" / "run")
    written = {
        p.relative_to(tmp_path / "deep" / "run") for p in (tmp_path / "deep").rglob("*.jsonl")
    }
    assert all(p.parent == Path("tables/splits") for p in written)
    assert len(list(tmp_path.glob("*.jsonl"))) == 1
