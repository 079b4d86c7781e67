"""The report of a study whose names are hostile, as a reader sees it in headless Chromium."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import imprint
from imprint.transfer import Design, TransferConfig
from imprint.transfer.design import Compare
from imprint.transfer.example import example_items
from tests_support import HOSTILE

pytestmark = pytest.mark.browser
DRAWN = "() => [...document.querySelectorAll('[data-figure] .chart')].every(c => c.dataset.drawn)"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    items = example_items(items=30)
    names = items["unit"].unique(maintain_order=True).to_list()
    benchmarks = items["benchmark"].unique(maintain_order=True).to_list()
    items = items.with_columns(
        unit=items["unit"].replace(dict(zip(names, HOSTILE, strict=False))),
        benchmark=items["benchmark"].replace(dict(zip(benchmarks, HOSTILE, strict=False))),
        category=items["category"].replace({"science": HOSTILE[0]}),
    )
    config = TransferConfig(resamples=200, permutations=200, quiet=True)
    design = Design(compare=Compare("pretrained", "sft"))
    result = imprint.transfer(items, design=design, config=config)
    return result.report(tmp_path_factory.mktemp("report") / "report.html")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_hostile_names_are_text_and_everything_is_drawn(
    report: Path, chromium: Any, scheme: str
) -> None:
    complaints: list[str] = []
    requests: list[str] = []
    tab = chromium.new_page(color_scheme=scheme)
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("dialog", lambda dialog: complaints.append("dialog") or dialog.dismiss())
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(report.as_uri() + "#all")
    tab.wait_for_function(DRAWN, timeout=60_000)
    drawn = tab.evaluate(
        "[...document.querySelectorAll('[data-figure] .chart')].map(c => c.dataset.drawn)"
    )
    shown = tab.inner_text("body")
    tab.close()
    assert len(drawn) >= 10
    assert set(drawn) == {scheme}
    assert complaints == []
    assert all(url.startswith(("file:", "data:", "blob:")) for url in requests)
    assert HOSTILE[0] in shown
