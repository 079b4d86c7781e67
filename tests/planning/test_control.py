from __future__ import annotations

import numpy as np
import polars as pl

from imprint.planning.control import random_control
from imprint.planning.diversity import first_of_each


def frame(lengths: list[float], domains: list[str]) -> pl.DataFrame:
    return pl.DataFrame({"row": range(len(lengths)), "domain": domains, "length": lengths})


def test_equal_lengths_give_a_plain_random_draw() -> None:
    pool = frame([5.0] * 40, ["a", "b"] * 20)
    chosen = pool.head(10)
    seen = np.zeros(40)
    for seed in range(2000):
        drawn = random_control(pool, chosen, seed=[seed])
        assert len(drawn) == 10
        seen[drawn.to_list()] += 1
    # every row is as likely as any other: 5 of 20 in each domain
    assert abs(seen / 2000 - 0.25).max() < 0.05


def test_longer_sets_get_longer_controls() -> None:
    rng = np.random.default_rng(0)
    pool = frame(rng.gamma(4, 50, 4000).tolist(), ["a"] * 2000 + ["b"] * 2000)
    chosen = pool.sort("length").tail(1500).sample(500, seed=1)
    drawn = pool.filter(pl.col("row").is_in(random_control(pool, chosen, seed=[0]).implode()))
    assert abs(drawn["length"].sum() / chosen["length"].sum() - 1) < 0.002
    assert (
        drawn["domain"]
        .value_counts()
        .sort("domain")
        .equals(chosen["domain"].value_counts().sort("domain"))
    )
    # and is no copy of the longest rows
    assert drawn["length"].std() > chosen["length"].std()


def test_a_domain_used_up_is_taken_whole() -> None:
    pool = frame([1.0, 2.0, 3.0, 4.0], ["a", "a", "b", "b"])
    drawn = random_control(pool, pool.head(3), seed=[0])
    assert set(drawn.to_list()) >= {0, 1}
    assert len(drawn) == 3
    assert random_control(pool, pool.clear(), seed=[0]).is_empty()


def test_near_duplicates_are_found_as_by_every_pair() -> None:
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(400)]
    texts: list[str] = []
    for _ in range(150):
        base = rng.choice(words, 30).tolist()
        texts.append(" ".join(base))
        near = list(base)
        for at in rng.integers(0, 30, int(rng.integers(0, 3))):
            near[at] = "changed"
        texts.append(" ".join(near))

    def grams(text: str) -> set[tuple[str, ...]]:
        said = text.split()
        return set(zip(said, said[1:], said[2:], strict=False))

    plain: list[int] = []
    for place, text in enumerate(texts):
        own = grams(text)
        shares = [len(own & grams(texts[o])) / len(own | grams(texts[o])) for o in plain]
        if max(shares, default=0.0) < 0.8:
            plain.append(place)
    assert first_of_each(texts, 0.8, len(texts)) == plain
    assert first_of_each(texts, 1.0, 7) == list(range(7))


def test_short_prompts_differ_by_one_number() -> None:
    assert first_of_each(["12 + 34 =", "12 + 35 =", "12 + 34 ="], 0.8, 9) == [0, 1, 2]
