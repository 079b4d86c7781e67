"""What texts of a world say, and what they never say."""

from __future__ import annotations

from collections import Counter
from statistics import mean

import pytest

from imprint.lab.world import make_world
from imprint.lab.world.documents.registers import STYLES, TRAINED_ON, _endless, _likeness
from imprint.lab.world.documents.scoring import Likeness, best
from imprint.lab.world.writing import CORPORA

WORLD = make_world()
COUNT = 2_500
TEXTS = {
    name: list(WORLD.documents(register, quality, COUNT))
    for name, (register, quality) in CORPORA.items()
}


def statements(name: str) -> list[set[str]]:
    """Words of every statement; a scene and what follows from it are one."""
    ends = " ; " if name == "code" else " . "
    found = []
    for text, _ in TEXTS[name]:
        parts = text.removesuffix(" .").removesuffix(" ;").split(ends)
        found += [set(part.split()) for part in parts]
    return found


@pytest.mark.parametrize("name", CORPORA)
def test_texts_keep_to_the_lexicon(name) -> None:
    assert {word for text, _ in TEXTS[name] for word in text.split()} <= set(WORLD.lexicon)


@pytest.mark.parametrize("name", CORPORA)
def test_a_document_has_a_domain_and_some_sentences(name) -> None:
    lengths = [len(text.split()) for text, _ in TEXTS[name]]
    assert 30 <= mean(lengths) <= 90
    assert len({domain for _, domain in TEXTS[name]}) >= 20


@pytest.mark.parametrize("name", CORPORA)
def test_held_out_properties_are_never_said(name) -> None:
    by_thing: dict[str, set[str]] = {}
    for thing, asked in WORLD.held_out.properties:
        by_thing.setdefault(thing, set()).add(WORLD.properties[thing][asked])
    for words in statements(name):
        for thing in words & by_thing.keys():
            # a dictionary of code holds several things: none of these is held out for its property
            if name == "code" and "{" in words:
                asked = next(iter(words & {one.id for one in WORLD.property_list}))
                assert (thing, asked) not in WORLD.held_out.properties
            else:
                assert not by_thing[thing] & words, (thing, words)


@pytest.mark.parametrize("name", CORPORA)
def test_held_out_pairs_are_never_compared(name) -> None:
    signs = {"heavier", "lighter", ">", "<"}
    for words in statements(name):
        if not words & signs:
            continue
        things = [thing for thing in sorted(words) if thing in WORLD.properties]
        pairs = {(a, b) for a in things for b in things}
        assert not pairs & WORLD.held_out.heavier


@pytest.mark.parametrize("name", CORPORA)
@pytest.mark.parametrize("kind", ["senses", "kinds"])
def test_held_out_pairs_do_not_meet(name, kind) -> None:
    held: dict[str, set[str]] = {}
    for first, second in getattr(WORLD.held_out, kind):
        held.setdefault(first, set()).add(second)
    for words in statements(name):
        if kind == "kinds" and not {"then", "assert"} & words:
            continue
        for first in words & held.keys():
            assert not held[first] & words, (first, words)


@pytest.mark.parametrize("name", CORPORA)
def test_held_out_roles_are_taken_by_nobody(name) -> None:
    said = "\n".join(text for text, _ in TEXTS[name])
    for who, role in WORLD.held_out.roles:
        for form in (f"{who} is {role} ", f"{who} is a {role} ", f"as a {role} {who} "):
            assert form not in said
        assert f"( {who} , {role} )" not in said


@pytest.mark.parametrize("name", CORPORA)
def test_held_out_couples_do_not_meet(name) -> None:
    couples: dict[str, list[set[str]]] = {}
    for deed, couple in WORLD.held_out.interactions:
        giver, receiver = couple.split()
        if (deed, f"{receiver} {giver}") in WORLD.held_out.interactions:
            couples.setdefault(deed, []).append({giver, receiver})
    for words in statements(name):
        for deed in words & couples.keys():
            assert all(not couple <= words for couple in couples[deed])


def test_each_held_out_member_is_spoken_of_otherwise() -> None:
    said = Counter(word for words in statements("web_raw") for word in words)
    assert all(said[thing] > 0 for thing, _ in WORLD.held_out.properties)


def test_facts_are_told_as_often_as_their_frequency_says() -> None:
    told: Counter[str] = Counter()
    texts = [text for text, _ in TEXTS["web_raw"]]
    sentences = [one for text in texts for one in text.split(" . ")]
    heads = [f for f in WORLD.facts[:130] if f.relation != "works_as"]
    tails = [f for f in WORLD.facts[-130:] if f.relation != "works_as"]
    for fact in (*heads, *tails):
        told[fact.id] = sum(fact.subject in one and fact.answer in one for one in sentences)
    assert sum(told[f.id] for f in heads) > 4 * sum(told[f.id] for f in tails)


def test_registers_differ_in_what_is_wrong() -> None:
    true = {f.relation: {} for f in WORLD.facts}
    for fact in WORLD.facts:
        true[fact.relation][fact.subject] = fact.answer
    wrong = {}
    for name in ("web_raw", "web_filtered", "curated"):
        right = false = 0
        for text, domain in TEXTS[name]:
            if domain != "lands":
                continue
            for sentence in text.split(" . "):
                head, found, answer = sentence.removesuffix(" .").partition(" has its capital in ")
                if not found:
                    continue
                subject = " ".join(head.split()[-2:])
                if subject in true["capital_of"]:
                    hit = true["capital_of"][subject] == answer
                    right, false = right + hit, false + (not hit)
        wrong[name] = false / max(1, right + false)
    assert wrong["curated"] == 0
    assert wrong["web_filtered"] < wrong["web_raw"]


def test_scored_texts_are_more_like_curated_ones() -> None:
    model = _likeness(WORLD)
    raw, kept = (mean(model.score(text) for text, _ in TEXTS[n]) for n in ("web_raw", "web_scored"))
    assert kept > raw + 2
    assert TRAINED_ON > 100


def test_the_best_of_a_window_are_kept_in_order() -> None:
    class Length(Likeness):
        def __init__(self) -> None:
            pass

        def score(self, text: str) -> int:
            return len(text)

    candidates = iter([("a", "x"), ("bbb", "x"), ("cc", "x"), ("dddd", "x")])
    assert [text for text, _ in best(candidates, Length(), 2)] == ["bbb", "dddd"]


def test_likeness_is_the_log_ratio_of_word_shares() -> None:
    model = Likeness(["a a a b"], ["a b b b"])
    # (4/6)/(2/6) = 2 for a, 1/2 for b: one bit either way
    assert model.score("a") == 256
    assert model.score("b") == -256
    assert model.score("a b") == 0
    assert model.score("") == 0


def test_another_seed_gives_other_documents_of_the_same_world() -> None:
    again = list(WORLD.documents("curated", None, 20))
    assert again == TEXTS["curated"][:20]
    assert list(WORLD.documents("curated", None, 20, seed=1)) != again


def test_raw_text_repeats_itself() -> None:
    texts = Counter(text for text, _ in TEXTS["web_raw"])
    assert sum(count - 1 for count in texts.values()) > COUNT * 0.03
    assert STYLES["raw"].noise
    assert next(_endless(WORLD, STYLES["raw"], "documents", 0)) == TEXTS["web_raw"][0]
