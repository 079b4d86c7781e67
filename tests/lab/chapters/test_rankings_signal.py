"""A benchmark carries signal where it is above chance and reliable, at both stages."""

from __future__ import annotations

import polars as pl

from imprint.lab.chapters.rankings_signal import signal, signal_words

CASES = {  # reliability before and after, clearly above chance before and after
    "good": (0.9, 0.6, True, True),
    "noisy before": (0.4, 0.9, True, True),
    "noisy after": (0.9, None, True, True),
    "undefined": (float("nan"), float("nan"), True, True),
    "at chance after": (0.9, 0.9, True, False),
}


def judged() -> pl.DataFrame:
    rows = [
        {"comparison": f"pretrained → {stage}", "scale": scale, "benchmark": name}
        | {"metric": metric, "rel_pt": case[0], "rel_sft": case[1]}
        for stage in ("sft", "rl")
        for scale in ("small", "large")
        for metric in ("accuracy", "confidence")
        for name, case in CASES.items()
    ]
    return pl.DataFrame(rows)


def above() -> pl.DataFrame:
    rows = [
        {"scale": scale, "stage": stage, "benchmark": name, "above": 0.1, "clearly": case[at]}
        for scale in ("small", "large")
        for stage, at in (("pretrained", 2), ("sft", 3), ("rl", 3))
        for name, case in CASES.items()
    ]
    return pl.DataFrame(rows)


def test_all_four_conditions_are_needed() -> None:
    found = signal(judged(), above())
    assert found is not None
    assert len(found) == 2 * len(CASES)
    kept = found.filter(scale="large", carries=True)
    assert kept["benchmark"].to_list() == ["good"]


def test_it_is_told_for_the_largest_scale_with_accuracy_by_scale() -> None:
    scores = pl.DataFrame(
        {
            "scale": ["small", "large", "large"],
            "stage": ["pretrained", "pretrained", "sft"],
            "accuracy": [0.5, 0.75, 0.1],
        }
    )
    found = signal(judged(), above())
    assert found is not None
    words = " ".join(signal_words(found, scores))
    assert "1 of 5 benchmarks at large" in words
    assert "50.0% at small, 75.0% at large" in words


def test_models_without_a_scale() -> None:
    rows = judged().filter(scale="large").with_columns(scale=pl.lit(None))
    base = above().filter(scale="large").with_columns(scale=pl.lit(None, pl.String))
    found = signal(rows, base)
    assert found is not None
    assert found.filter("carries")["benchmark"].to_list() == ["good"]
    assert "1 of 5 benchmarks have" in signal_words(found, None)[0]


def test_without_chance_there_is_no_signal_to_tell() -> None:
    assert signal(judged(), None) is None
    assert signal(pl.DataFrame(), above()) is None
