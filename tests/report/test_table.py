import math
from datetime import date

import polars as pl
import pytest

from imprint.report import Page
from imprint.report.table import Table, show, table


def made(frame: pl.DataFrame, **settings: object) -> Table:
    return table(
        frame,
        caption="a table",
        formats=settings.get("formats", {}),  # type: ignore[arg-type]
        columns=settings.get("columns", {}),  # type: ignore[arg-type]
        page_size=25,
        hidden_after=None,
    )


@pytest.mark.parametrize(
    ("value", "spec", "text"),
    [
        (0.125, ".2f", "0.13"),
        (-0.125, ".2f", "−0.13"),
        (-0.001, ".2f", "0.00"),
        (0.5, "+.2f", "+0.50"),
        (1234567, ",d", "1,234,567"),
        (-1234.5, ",.1f", "−1,234.5"),
        (0.256, ".1%", "25.6%"),
        (0.000123, ".1e", "1.2e−4"),
        (1e30, ".2f", "1.000e+30"),
        (0.0004, "p", "<0.001"),
        (0.04, "p", "0.040"),
        (None, ".2f", "–"),
        (math.nan, ".2f", "–"),
        (math.inf, ".2f", "–"),
        (None, "", "–"),
        ("reliable", "state", "✓ reliable"),
        ("does_not_hold", "state", "✕ does not hold"),
        ("undetermined", "state", "? undetermined"),
        ("cannot tell", "state", "? cannot tell"),
        ("unheard of", "state", "unheard of"),
        ("a long claim", "words", "a long claim"),
    ],
)
def test_values_as_text(value: object, spec: str, text: str) -> None:
    assert show(value, spec) == text


def test_formats_follow_from_type_and_size() -> None:
    frame = pl.DataFrame(
        {
            "r": [0.5, None, math.nan],
            "loss": [12.0, 3.0, math.inf],
            "tokens": [1e9, 2e9, 0],
            "n": [1, 2, 3],
            "name": ["a", "b", "c"],
            "empty": [None, None, None],
        }
    )
    assert [column.format for column in made(frame).columns] == [".3f", ".2f", ",.0f", ",d", "", ""]


def test_other_types_are_written_as_text() -> None:
    frame = pl.DataFrame(
        {"flag": [True], "day": [date(2024, 5, 1)], "list": [["a", "b"]], "pair": [{"low": 1}]}
    )
    assert made(frame).rows == [["yes", "2024-05-01", "a, b", "low: 1"]]


def test_integers_beyond_doubles_stay_exact() -> None:
    frame = pl.DataFrame({"id": [2**60 + 1, None]})
    assert made(frame).rows == [["1152921504606846977"], ["–"]]


def test_headers_are_names_with_spaces_unless_given() -> None:
    frame = pl.DataFrame({"units_needed": [1], "r": [0.5]})
    assert [c.header for c in made(frame, columns={"r": "Pearson"}).columns] == [
        "units needed",
        "Pearson",
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"formats": {"r": ".2x"}}, "unknown number format '.2x' for column 'r'"),
        ({"formats": {"q": ".2f"}}, "no column 'q'"),
        ({"columns": {"q": "Q"}}, "no column 'q'"),
    ],
)
def test_mistakes_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(pl.DataFrame({"r": [0.5]}), **settings)


def test_an_empty_table_renders() -> None:
    page = Page("Nothing")
    page.section("Empty").table(pl.DataFrame(schema={"a": pl.Float64}), "No rows")
    assert "No rows" in page.render()


def test_twenty_thousand_rows_stay_light() -> None:
    height = 20_000
    frame = pl.DataFrame(
        {
            "benchmark": [f"benchmark-{i % 60}" for i in range(height)],
            "unit": [f"organisation/model-{i % 333}" for i in range(height)],
            **{f"r{k}": [math.sin(i * k + 1) for i in range(height)] for k in range(4)},
        }
    )
    page = Page("Big")
    page.section("Table").table(frame, "All rows")
    html = page.render()
    assert len(html) < 1_500_000
    assert html.count("<tr") < 40
