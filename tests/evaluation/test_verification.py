"""Which rollouts are right, by each rule."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from imprint.errors import ConfigError, DataError
from imprint.evaluation.verification import final_answer, verifier
from imprint.formats.questions import Prompt, read_prompts


def prompt(*answers: str) -> Prompt:
    return Prompt("1", "q", (), answers, line=3, row={"answer": answers[0]})


@pytest.mark.parametrize(
    ("answer", "said", "right"),
    [
        ("Paris", " paris.\n", True),
        ("14 December 1972 UTC", "14  december 1972 utc", True),
        ("Paris", "Paris, France", False),
        ("a.b", "axb", False),
        ("U.S.", "U.S", True),
    ],
)
def test_exact(answer: str, said: str, right: bool) -> None:
    assert verifier("exact")(prompt("x", answer), said) == right


@pytest.mark.parametrize(
    ("answer", "said", "right"),
    [
        ("#### 1,000", "It is 1000.", True),
        ("18", "First 9, then 2, so the answer is 18 dollars and 3 cents.", True),
        ("18", "#### 18.0", True),
        ("18", "18, no, 19", False),
        ("0.5", "\\boxed{\\frac{1}{2}}", True),
        ("1/2", "\\boxed{0.50}", True),
        ("\\boxed{x^{2}+1}", "so $\\boxed{x^{2} + 1}$", True),
        ("-3", "the answer is -3", True),
        ("50%", "50 percent? The answer is: 50\\%", True),
        ("7", "", False),
        ("7", "1/0", False),
        ("2", "9" * 5000, False),
    ],
)
def test_math(answer: str, said: str, right: bool) -> None:
    assert verifier("math")(prompt(answer), said) == right


def test_nested_braces_and_cut_boxes() -> None:
    assert final_answer("\\boxed{a{b}c} and \\boxed{{d}}") == "{d}"
    assert final_answer("\\boxed{1") == "1"


def test_regex() -> None:
    assert verifier("regex")(prompt(r"\b4\d\b"), "it is 42 now") == 1
    assert verifier("regex")(prompt(r"^4"), "it is 42 now") == 0
    with pytest.raises(DataError, match=r"line 3 of the prompts: .*no regular expression"):
        verifier("regex")(prompt("("), "x")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "judges_of_ours.py").write_text(
        "def length(row, said):\n    return len(said) == int(row['answer'])\n"
        "def half(row, said):\n    return 0.5\n"
        "def wild(row, said):\n    return 'yes'\n"
        "def broken(row, said):\n    raise KeyError('x')\n"
        "constant = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield "judges_of_ours"
    sys.modules.pop("judges_of_ours", None)


def test_functions_of_ones_own(own: str) -> None:
    assert verifier(f"{own}:length")(prompt("2"), "ab") == 1
    assert verifier(f"{own}:half")(prompt("2"), "ab") == 0.5
    for name, problem in (("wild", "gave 'yes'"), ("broken", "failed: KeyError")):
        with pytest.raises(ConfigError, match=problem):
            verifier(f"{own}:{name}")(prompt("2"), "ab")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("no_such_module_here:f", "cannot be imported"),
        ("judges_of_ours:absent", "cannot be imported"),
        ("judges_of_ours:constant", "no function"),
        ("a b:c", "not of the form"),
    ],
)
def test_functions_that_are_none(own: str, name: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        verifier(name)


@pytest.mark.shared
def test_every_reference_solution_of_gsm8k_verifies_itself(shared: Path) -> None:
    rule = verifier("math")
    prompts = read_prompts(shared / "sft" / "gsm8k" / "test.jsonl")
    for one in prompts:
        final = final_answer(one.answers[0])
        assert rule(one, one.answers[0]) == 1
        assert rule(one, f"After some work, the answer is {final}.") == 1
        assert rule(one, f"\\boxed{{{final}1}}") == 0
