"""Chapter 6: every claim is tried, none decided by one training, and corpora are thinned right."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

import trials_support as toy
from imprint.lab.chapters import claims
from imprint.lab.chapters.asked import chat
from imprint.lab.chapters.chapter import Material
from imprint.lab.chapters.claim_coverage import _of_grid, thin
from imprint.lab.chapters.claim_methods import NAMES, _halves, statements
from imprint.lab.chapters.trials import Trials


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return toy.material(tmp_path_factory.mktemp("toy"))


def test_every_claim_is_tried(material: Material) -> None:
    chapter = claims.run(material)
    assert chapter.missing == []
    assert chapter.decided == 0
    assert chapter.state == "undetermined"
    ways = chapter.tables["claims_methods"]
    assert set(ways["way"]) == set(NAMES.values())
    assert ways.filter(way="restoration")["setting"].item() in {"1%", "5%", "20%", "50%"}
    coverage = chapter.tables["claims_coverage"]
    assert coverage["step"].to_list() == ["before", "after SFT on it", "after RL on it"]
    noise = chapter.tables["claims_noise"]
    assert set(noise["stage"]) == {"sft", "rl"}
    assert set(noise["noise"]) == {0.0, 0.3}
    kinds = [block.kind for section in chapter.sections for block in section.walk()]
    assert kinds.count("figure") == 4
    assert "claims of the papers: 0 hold" in chapter.verdict
    told = " ".join(chapter.details)
    for word in ("restoration", "removed", "wrong labels", "wrong rewards", "preset standard"):
        assert word in told
    for text in chapter.agreement:
        assert text.stance == "cannot tell"


def test_nothing_is_trained_for_given_checkpoints(material: Material) -> None:
    chapter = claims.run(replace(material, pretraining={}))
    assert "nothing is trained" in chapter.verdict


def test_what_a_claim_lacks_is_named_and_stops_no_other(material: Material) -> None:
    bare = replace(material, facts=None, corpora={}, rl=None)
    chapter = claims.run(bare)
    assert len(chapter.missing) == 2
    assert set(chapter.tables) == {"claims_noise", "claims_trials"}


def test_a_share_of_the_documents_of_one_domain_is_left(tmp_path: Path) -> None:
    source = tmp_path / "web.jsonl"
    rows = [{"text": str(at), "domain": "ab"[at % 2]} for at in range(100)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for share, left in ((1.0, 50), (0.1, 5), (0.0, 0)):
        kept = [json.loads(line)["domain"] for line in thin(source, "a", share, seed=3)]
        assert kept.count("a") == left
        assert kept.count("b") == 50


def test_the_study_s_own_model_stands_for_whole_pretraining(material: Material) -> None:
    made = material.ledger.folder / "units" / "pretrain-xs-a-0-0123456789abcdef" / "model"
    row = {**material.models("pretrained")[0], "model": str(made)}
    own = replace(material, checkpoints=pl.DataFrame([row]))
    found = _of_grid(Trials(own, "claims"), 0)
    assert found is not None
    assert found.model == str(made)
    assert _of_grid(Trials(own, "claims"), 1) is None, "of another seed"
    assert _of_grid(Trials(material, "claims"), 0) is None, "given, so trained on we know not what"


def test_facts_that_rows_teach_are_not_asked_as_untaught(material: Material) -> None:
    first = statements(material)[0][0]
    subject = first.asked.removeprefix("the ").removesuffix(" is")
    taught = [chat(f"what colour is the {subject} ?", first.answer, "farm")]
    left = [item.asked for fact in statements(material, taught) for item in fact]
    assert left
    assert not any(subject in text for text in left)


def test_statements_of_a_fact_stay_on_one_side(material: Material) -> None:
    facts = statements(material)
    dev, test = _halves(facts, 0)
    sides = [{item.asked for item in side} for side in (dev, test)]
    for fact in facts:
        assert len({asked in sides[0] for asked in (item.asked for item in fact)}) == 1
    assert len(sides[0] | sides[1]) == sum(map(len, facts))
