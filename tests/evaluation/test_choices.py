"""Options scored against a plain reference, and what stands before them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from imprint.errors import ConfigError
from imprint.evaluation.choices import asked_contexts, choose_items, score_items
from imprint.evaluation.config import EvaluateConfig, Normalisation, for_stage
from imprint.formats.questions import read_benchmark
from imprint.models import Likelihood, LocalEngine, Prompter, Prompting, load
from models_support import tiny, torch

ROWS = [
    {"prompt": "a cat", "choices": ["sat", "ran far", "is"], "answer": 0},
    {"prompt": "the dog is", "choices": ["big", "so small"], "answer": "so small"},
    {"prompt": "bees", "choices": ["fly", "swim", "run"], "answer": [0, 2]},
]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> LocalEngine:
    return LocalEngine(load(str(tiny(tmp_path_factory.mktemp("model") / "letters"))))


def questions(folder: Path, rows: Sequence[dict[str, Any]] = ROWS, name: str = "zoo") -> Path:
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def plain(engine: LocalEngine, context: str, option: str) -> float:
    """Sum the log-probabilities of an option's tokens, one forward pass, float32."""
    before = engine.tokenizer(context)["input_ids"] or [engine.tokenizer.bos_token_id]
    after = engine.tokenizer(context + option)["input_ids"][
        len(engine.tokenizer(context)["input_ids"]) :
    ]
    ids = torch.tensor([before + after])
    with torch.inference_mode():
        table = torch.log_softmax(engine.loaded.model(ids).logits[0].float(), -1)
    places = range(len(before) - 1, ids.shape[1] - 1)
    return sum(float(table[at, token]) for at, token in zip(places, after, strict=True))


@pytest.mark.parametrize("normalisation", ["raw", "token", "character", "byte", "unconditional"])
def test_scores_are_those_of_a_plain_reference(
    engine: LocalEngine, tmp_path: Path, normalisation: Normalisation
) -> None:
    benchmark = read_benchmark(questions(tmp_path))
    config = EvaluateConfig(("x",), normalisation=normalisation)
    found = score_items(benchmark.questions, (), engine, Prompter(), config)
    for question, row in zip(benchmark.questions, found.iter_rows(named=True), strict=True):
        sums = [plain(engine, question.context, f" {o}") for o in question.options]
        assert row["logprobs"] == pytest.approx(sums, abs=1e-4)
        lengths = {
            "raw": [1] * len(sums),
            "token": [len(o) + 1 for o in question.options],  # a token per letter, and the blank
            "character": [len(o) for o in question.options],
            "byte": [len(o.encode()) for o in question.options],
            "unconditional": [1] * len(sums),
        }[normalisation]
        alone = [plain(engine, "", f" {o}") for o in question.options]
        beside = alone if normalisation == "unconditional" else [0.0] * len(sums)
        scores = [(s - b) / n for s, b, n in zip(sums, beside, lengths, strict=True)]
        total = sum(map(math.exp, scores))
        p = [math.exp(score) / total for score in scores]
        best = max(range(len(p)), key=p.__getitem__)
        assert row["selected"] == best
        assert row["correct"] == (best in question.golds)
        assert row["confidence"] == pytest.approx(p[best], abs=1e-5)
        assert row["gold_probability"] == pytest.approx(sum(p[g] for g in question.golds), abs=1e-5)
        assert row["margin"] == pytest.approx(p[best] - sorted(p)[-2], abs=1e-5)
        assert row["entropy"] == pytest.approx(-sum(x * math.log(x) for x in p), abs=1e-5)
        assert row["tokens"] == [len(o) + 1 for o in question.options]


def test_one_right_option_stands_alone_and_several_in_a_list(
    engine: LocalEngine, tmp_path: Path
) -> None:
    benchmark = read_benchmark(questions(tmp_path))
    found = score_items(benchmark.questions, (), engine, Prompter(), EvaluateConfig(("x",)))
    assert found["gold"].to_list() == [0, 1, None]
    assert found["golds"].to_list() == [None, None, [0, 2]]


def test_contexts_that_vary_share_a_continuation(engine: LocalEngine, tmp_path: Path) -> None:
    row = {"sentence": "a _ is big.", "option1": "cat", "option2": "bee", "answer": "2"}
    benchmark = read_benchmark(questions(tmp_path, [row]))
    found = score_items(benchmark.questions, (), engine, Prompter(), EvaluateConfig(("x",)))
    sums = [plain(engine, "a cat", " is big."), plain(engine, "a bee", " is big.")]
    assert found["logprobs"][0].to_list() == pytest.approx(sums, abs=1e-4)
    assert found["characters"][0].to_list() == [5, 5]
    for normalisation in ("token", "unconditional"):
        with pytest.raises(ConfigError, match="has no meaning where contexts vary"):
            score_items(
                benchmark.questions,
                (),
                engine,
                Prompter(),
                EvaluateConfig(("x",), normalisation=normalisation),
            )


def test_whole_sentences_stand_after_nothing(engine: LocalEngine, tmp_path: Path) -> None:
    row = {"sentence_good": "the cat is big.", "sentence_bad": "the cat are big.", "UID": "agree"}
    benchmark = read_benchmark(questions(tmp_path, [row]))
    assert benchmark.layout == "blimp"
    found = score_items(
        benchmark.questions, (), engine, Prompter(), EvaluateConfig(("x",)), delimiter=""
    )
    sums = [plain(engine, "", row["sentence_good"]), plain(engine, "", row["sentence_bad"])]
    assert found["logprobs"][0].to_list() == pytest.approx(sums, abs=1e-4)
    assert found["subset"][0] == "agree"
    assert found["gold"][0] == 0


def test_contexts_that_are_too_long_are_cut_and_counted(
    engine: LocalEngine, tmp_path: Path
) -> None:
    rows = [ROWS[0], {**ROWS[0], "prompt": "a" * 40}]
    benchmark = read_benchmark(questions(tmp_path, rows))
    found = score_items(benchmark.questions, (), engine, Prompter(), EvaluateConfig(("x",)))
    # 40 tokens and 8 of the longest option, of which 33 are kept: the last one is never read
    assert found["cut"].to_list() == [0, 15]


def test_examples_come_first_and_are_not_scored(tmp_path: Path) -> None:
    rows = [{"prompt": f"n{n}", "choices": ["x", "y"], "answer": n % 2} for n in range(20)]
    benchmark = read_benchmark(questions(tmp_path, rows))
    items, shots = choose_items(benchmark, EvaluateConfig(("x",), num_fewshot=3, limit=5))
    assert (len(items), len(shots)) == (5, 3)
    assert not {q.item for q in items} & {q.item for q in shots}
    assert choose_items(benchmark, EvaluateConfig(("x",), num_fewshot=3, limit=5))[0] == items
    other = choose_items(benchmark, EvaluateConfig(("x",), num_fewshot=3, limit=5, seed=1))[0]
    assert other != items
    (context,) = asked_contexts(items[0], shots, Prompter(), 2)
    first, second = (f"{s.context} {s.options[s.golds[0]]}" for s in shots[:2])
    assert context == f"{first}\n\n{second}\n\n{items[0].context}"


def test_more_examples_than_rows_are_refused(tmp_path: Path) -> None:
    benchmark = read_benchmark(questions(tmp_path))
    with pytest.raises(ConfigError, match="leaves 0 of 3 items"):
        choose_items(benchmark, EvaluateConfig(("x",), num_fewshot=3))


def test_a_template_leaves_no_blank_before_the_option(tmp_path: Path) -> None:
    class Asks:
        """Keeps what it is asked."""

        def __init__(self) -> None:
            self.seen: list[Any] = []

        def choices(self, wanted: Sequence[Any]) -> list[Any]:
            from imprint.models import OptionScores

            self.seen = list(wanted)
            return [
                OptionScores(
                    (0.0,) * len(q.options), (1,) * len(q.options), (True,) * len(q.options)
                )
                for q in wanted
            ]

        def loglikelihoods(self, _: object) -> list[Likelihood]:
            return []

    template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
    told = Prompter(Prompting("auto", "be kind"), template)
    engine = Asks()
    benchmark = read_benchmark(questions(tmp_path, ROWS[:1]))
    score_items(benchmark.questions, (), engine, told, EvaluateConfig(("x",)))  # type: ignore[arg-type]
    assert engine.seen[0].context == "<system>be kind<user>a cat<assistant>"
    assert engine.seen[0].options == ("sat", "ran far", "is")


def test_a_stage_may_have_a_template_of_its_own() -> None:
    stages = {"pretrained", "sft"}
    assert for_stage(("sft=auto",), "pretrained", stages) is None
    assert for_stage(("a=b",), "sft", stages) == "a=b"  # no stage: the value itself
    config = EvaluateConfig(("x",), chat_template=("none", "sft=auto"), system_prompt=("sft=hi",))
    assert config.prompting("sft", stages) == Prompting("auto", "hi", 0)
    assert config.prompting("pretrained", stages) == Prompting("none", None, 0)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({}, "nothing to evaluate on"),
        ({"benchmarks": ("x",), "engine": "vlm"}, "--engine 'vlm'"),
        ({"benchmarks": ("x",), "samples": 0}, "--samples 0 is below 1"),
        ({"benchmarks": ("x",), "limit": 0}, "--limit 0 is below 1"),
        ({"benchmarks": ("x",), "temperature": -1.0}, "--temperature -1 is below 0"),
        ({"prompts": "x", "temperature": 0.0}, "would repeat it"),
        ({"prompts": "x", "verify": "exakt"}, "did you mean 'exact'"),
        ({"benchmarks": ("x",), "normalisation": "tokens"}, "did you mean 'token'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        EvaluateConfig(**settings).check()
