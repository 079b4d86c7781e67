"""Domains, dialogues and RL prompts of the world."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from imprint.evaluation.verification import exact
from imprint.formats.questions import read_prompts
from imprint.lab.world import World, WorldConfig, make_world
from imprint.lab.world.benchmarks import BENCHMARKS
from imprint.lab.world.dialogues import GROUPS, sft_rows
from imprint.lab.world.domains import DOMAINS, Dealt, deal, domain_rows
from imprint.lab.world.rewards import rl_rows
from imprint.lab.world.tasks import benchmarks_table, task_files


@pytest.fixture(scope="module")
def world() -> World:
    return make_world()


@pytest.fixture(scope="module")
def dealt(world: World) -> list[Dealt]:
    return deal(world)


def test_parts_share_no_prompt(dealt: list[Dealt]) -> None:
    assert len(dealt) == len(DOMAINS) >= 12
    for part in dealt:
        prompts = [one.prompt for one in (*part.test, *part.rl, *part.sft)]
        assert len(set(prompts)) == len(prompts)
        assert min(len(part.test), len(part.rl), len(part.sft)) >= 20


def test_facts_that_are_tested_are_not_taught(world: World, dealt: list[Dealt]) -> None:
    split = {(fact.subject, fact.answer): fact.split for fact in world.facts}
    for part in dealt:
        for one in (*part.rl, *part.sft):
            for (subject, answer), name in split.items():
                if name != "train" and subject in one.prompt and answer == one.answer:
                    facts = [f for f in world.facts if f.subject == subject]
                    assert any(f.split == "train" and f.answer == answer for f in facts)


def test_words_are_known(world: World, dealt: list[Dealt]) -> None:
    known = set(world.lexicon)
    for part in dealt:
        for one in (*part.test, *part.rl, *part.sft):
            assert set(f"{one.prompt} {one.answer}".split()) <= known


def test_sets_teach_some_domains_each(world: World, dealt: list[Dealt]) -> None:
    taught = {g: {row["domain"] for row in sft_rows(world, dealt, g)} for g in GROUPS}
    assert len(taught) >= 3
    assert all(0 < len(domains) < len(DOMAINS) for domains in taught.values())
    assert sum(map(len, taught.values())) == len(DOMAINS)


def test_dialogues_are_of_several_skills(world: World, dealt: list[Dealt]) -> None:
    rows = sft_rows(world, dealt)
    assert len({row["skill"] for row in rows}) >= 8
    assert [m["role"] for m in rows[0]["messages"]] == ["user", "assistant"]


def test_rewards_are_read_and_their_answers_are_right(
    world: World, dealt: list[Dealt], tmp_path: Path
) -> None:
    rows = rl_rows(world, dealt)
    path = tmp_path / "rl.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    prompts = read_prompts(path)
    assert all(exact(prompt, row["answer"]) == 1 for prompt, row in zip(prompts, rows, strict=True))
    assert {row["level"] for row in rows} == {1, 2, 3, 4}


def test_no_single_answer_serves_a_domain(dealt: list[Dealt]) -> None:
    answers = defaultdict(Counter)
    for row in domain_rows(dealt):
        answers[row["domain"]][row["answer"]] += 1
    shares = {name: max(found.values()) / found.total() for name, found in answers.items()}
    assert max(shares.values()) < 0.7


@pytest.mark.parametrize(
    ("prompt", "domain"),
    [("from last to first :", "order"), ("what is last :", "places")],
)
def test_lists_have_the_answer_that_follows(dealt: list[Dealt], prompt: str, domain: str) -> None:
    part = next(part for part in dealt if part.domain.name == domain)
    one = next(one for one in part.sft if one.prompt.startswith(prompt))
    things = one.prompt.removeprefix(prompt).removesuffix("?").split()
    assert one.answer == (" ".join(reversed(things)) if domain == "order" else things[-1])


def test_bytes_are_pinned(world: World) -> None:
    # changes only with the world's VERSION and a line in the changelog
    rows = json.dumps(list(task_files(world)))
    assert hashlib.sha256(rows.encode()).hexdigest()[:16] == "c6f6b3d02dddfcc0"


def test_files_are_all_there_and_follow_from_the_seed(world: World) -> None:
    files = dict(task_files(world))
    assert len(files) == 20 + 3 + len(GROUPS)
    assert files == dict(task_files(make_world()))
    assert files["rl.jsonl"] != dict(task_files(make_world(WorldConfig(seed=1))))["rl.jsonl"]
    assert set(benchmarks_table()) == {one.name for one in BENCHMARKS}
