"""Predictors that need no model."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from imprint.forecast.material import Material, Text
from imprint.forecast.predictors import PREDICTORS
from imprint.forecast.predictors.bm25 import best_matches, bm25
from imprint.forecast.predictors.dsir import BUCKETS, SMOOTHING, buckets, dsir
from imprint.forecast.predictors.history import history
from imprint.forecast.predictors.lexical import lexical
from imprint.forecast.predictors.stand_in import stand_ins
from imprint.forecast.setting import Setting

SFT = tuple(Text(f"s{n}", "maths", f"What is {n} plus {n}?", str(2 * n)) for n in range(12))
MATHS = tuple(Text(f"m{n}", "maths", f"What is {n} times {n + 1}?", str(n)) for n in range(6))
LAW = tuple(Text(f"l{n}", "law", f"Who may appeal against ruling {'i' * n}?") for n in range(5))
WORK = Setting(Material(SFT, (*MATHS, *LAW)))


def named(found):
    return {one.name: one for one in found}


def test_characters_are_counted() -> None:
    texts = (Text("a", "x", "1+1 = 2", "23"), Text("b", "x", "abcdefgh"), Text("c", "y", "éé 4"))
    found = named(lexical(Setting(Material((), texts))))
    np.testing.assert_allclose(found["digit_share"].values, [[3 / 7, 0, 0.25]])
    np.testing.assert_allclose(found["symbol_share"].values, [[2 / 7, 0, 0]])
    np.testing.assert_array_equal(found["prompt_length"].values, [[7, 8, 4]])
    np.testing.assert_array_equal(found["answer_length"].values, [[2, np.nan, np.nan]])
    np.testing.assert_array_equal(found["has_digit"].values, [[1, 0, 1]])
    np.testing.assert_array_equal(found["items"].values, [[2, 2, 1]])
    assert "base_accuracy" not in found
    assert all(one.family == "lexical" and one.null is None for one in found.values())


def test_digits_by_length_multiplies_means_of_the_domain() -> None:
    """Published is the product of two means; the mean of products would be another number."""
    texts = (Text("a", "x", "1 2 3 4 5"), Text("b", "x", "a"))
    found = named(lexical(Setting(Material((), texts))))["digits_by_length"].values
    assert found.mean() == pytest.approx((5 / 9 + 0) / 2 * (9 + 1) / 2)


def test_what_is_known_of_domains_stands_in_every_text() -> None:
    setting = Setting(WORK.material, items={"law": 400}, base_accuracy={"maths": 0.25})
    found = named(lexical(setting))
    assert found["items"].values[0, -1] == 400
    assert found["items"].values[0, 0] == 6
    np.testing.assert_array_equal(found["base_accuracy"].values[0], [0.25] * 6 + [np.nan] * 5)


def test_an_empty_prompt_has_no_digits() -> None:
    found = named(lexical(Setting(Material((), (Text("a", "x", ""),)))))
    assert found["digit_share"].values == 0


def plain_weight(text: str, target: list[str], pool: list[str]) -> float:
    """DSIR's log weight per n-gram, word for word."""

    def grams(text):
        words = re.findall(r"\w+|[^\w\s]+", text.lower())
        return words + [" ".join(two) for two in pairwise(words)]

    def place(gram):
        return int(hashlib.sha256(gram.encode()).hexdigest(), 16) % BUCKETS

    def log_p(texts):
        counts = Counter(place(gram) for text in texts for gram in grams(text))
        total = sum(counts.values()) + SMOOTHING * BUCKETS
        return lambda gram: math.log((counts[place(gram)] + SMOOTHING) / total)

    one, other = log_p(target), log_p(pool)
    return sum(one(gram) - other(gram) for gram in grams(text)) / len(grams(text))


def test_dsir_is_the_log_weight_of_hashed_words_and_pairs() -> None:
    found = dsir(WORK)[0]
    whole = [f"{text.prompt} {text.answer or ''}" for text in WORK.texts]
    target = [f"{text.prompt} {text.answer}" for text in SFT]
    expected = [plain_weight(text, target, whole) for text in whole]
    np.testing.assert_allclose(found.values[0], expected, rtol=1e-10)
    assert found.values[0, :6].min() > found.values[0, 6:].max()


def test_dsir_of_a_set_like_other_domains_is_its_null() -> None:
    """An SFT set that is the other domain's texts gives that domain's texts their null."""
    found = dsir(Setting(Material(LAW, (*MATHS, *LAW)), draws=3))[0]
    assert found.null is not None
    assert found.null.shape == (3, 11)
    np.testing.assert_allclose(found.null[:, :6], np.tile(found.values[:, :6], (3, 1)))


def test_texts_without_a_word_have_no_weight() -> None:
    assert len(buckets("")) == 0
    texts = (Text("a", "x", ""), Text("b", "y", "word"))
    found = dsir(Setting(Material(SFT, texts)))[0]
    assert np.isnan(found.values[0, 0])
    assert np.isfinite(found.values[0, 1])
    assert np.isnan(bm25(Setting(Material(SFT, texts)))[0].values[0, 0])


def plain_bm25(query: set[str], documents: list[list[str]]) -> float:
    mean = sum(map(len, documents)) / len(documents)
    scores = []
    for words in documents:
        total = 0.0
        for word in query:
            n = sum(word in other for other in documents)
            rarity = math.log(1 + (len(documents) - n + 0.5) / (n + 0.5))
            tf = words.count(word)
            total += rarity * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * len(words) / mean))
        scores.append(total)
    return max(scores) / len(query)


def test_bm25_is_the_plain_formula() -> None:
    chances = np.random.default_rng(0)
    words = [f"w{n}" for n in range(15)]
    texts = [list(chances.choice(words, chances.integers(1, 9))) for _ in range(30)]
    queries, documents = texts[:12], texts[12:]
    expected = [plain_bm25(set(one), documents) for one in queries]
    np.testing.assert_allclose(best_matches(queries, documents), expected, rtol=1e-12)


def test_bm25_sees_which_domain_shares_words() -> None:
    found = bm25(WORK)[0]
    assert found.values[0, :6].min() > found.values[0, 6:].max()
    assert found.null is not None
    assert found.values[0, :6].mean() > found.null[:, :6].mean()


def test_stand_ins_come_from_other_domains_and_differ_by_draw() -> None:
    texts = tuple(Text(str(n), f"d{n % 4}", "x") for n in range(40))
    setting = Setting(Material(SFT, texts))
    first, second = stand_ins(setting, 0, 12), stand_ins(setting, 1, 12)
    assert first is not None
    assert second is not None
    for domain, numbers in first.items():
        assert len(set(numbers.tolist())) == 12
        assert all(texts[n].group != domain for n in numbers)
    assert any(not np.array_equal(first[d], second[d]) for d in first)
    assert stand_ins(Setting(Material(SFT, MATHS)), 0, 5) is None


def test_one_domain_alone_has_no_null() -> None:
    assert dsir(Setting(Material(SFT, MATHS)))[0].null is None
    assert bm25(Setting(Material(SFT, MATHS)))[0].null is None


def test_without_sft_only_lexical_and_history_speak() -> None:
    setting = Setting(Material((), MATHS))
    assert [one.name for one in PREDICTORS if one.needs == "text" and one.function(setting)] == [
        "lexical"
    ]


def test_history_gives_changes_seen_elsewhere() -> None:
    setting = Setting(WORK.material, history={"qwen": {"maths": -0.04}})
    (found,) = history(setting)
    assert found.name == "history:qwen"
    assert found.signed
    np.testing.assert_array_equal(found.values[0], [-0.04] * 6 + [np.nan] * 5)
    assert "1 domain" in found.note


def test_demonstrations_are_the_same_in_every_run() -> None:
    again = Setting(WORK.material)
    assert [WORK.drawn(d) for d in range(5)] == [again.drawn(d) for d in range(5)]
    assert len({WORK.drawn(d) for d in range(5)}) > 1
    assert Setting(WORK.material, seed=1).drawn(0) != WORK.drawn(0)
    assert len(Setting(WORK.material, examples=4).sample) == 4
    assert WORK.sample == SFT


def test_several_histories_have_a_mean() -> None:
    history_ = {"one": {"maths": -0.4, "law": 0.1}, "other": {"maths": 0.2}}
    found = named(history(Setting(WORK.material, history=history_)))
    assert list(found) == ["history:one", "history:other", "history_mean"]
    np.testing.assert_allclose(found["history_mean"].values[0], [-0.1] * 6 + [0.1] * 5)
