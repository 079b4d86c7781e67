"""What tests share: the public data beside the repository, where it is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

# before any library starts threads: workers that each take all cores stand in each other's way
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"


@pytest.fixture
def shared() -> Path:
    """The folder of public data; the test skips where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the public data is not beside the repository")
    return SHARED


@pytest.fixture
def examples() -> Path:
    """The design files that the documentation shows."""
    return ROOT / "docs" / "examples" / "transfer"


@pytest.fixture(scope="session")
def chromium() -> Iterator[object]:
    """A headless Chromium, one for all tests that look at what a reader sees."""
    found = (
        os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    )
    if not found or not Path(found).exists():
        pytest.skip("no Chromium is installed")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    flags = [*root, "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=found, args=flags)
        yield browser
        browser.close()
