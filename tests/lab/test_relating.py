"""Stages are compared where a scale has models of both."""

from __future__ import annotations

import polars as pl
import pytest

from imprint.lab.relating import design_of

SETTINGS = {"stages": ["sft", "rl"], "factors": [], "share": None, "categories": {}}


def items(*rows: tuple[str | None, str]) -> pl.DataFrame:
    schema = {"scale": pl.String, "stage": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


@pytest.mark.parametrize(
    ("rows", "stages"),
    [
        ([("s", "pretrained"), ("s", "sft"), ("l", "rl")], ["sft"]),
        ([(None, "pretrained"), (None, "sft")], ["sft"]),
        ([(None, "pretrained"), ("s", "sft")], None),
        ([("s", "pretrained")], None),
        ([("s", "sft"), ("s", "rl")], None),
    ],
)
def test_stages_that_share_a_scale(
    rows: list[tuple[str | None, str]], stages: list[str] | None
) -> None:
    design = design_of(SETTINGS, items(*rows))
    assert (design and [compare.after for compare in design.compare]) == stages


def test_without_scales() -> None:
    design = design_of(SETTINGS, items(("s", "pretrained"), ("s", "sft")).drop("scale"))
    assert len(design.compare) == 1
