"""What every result offers: report, summary, JSON, and a view in a notebook."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from imprint.report.page import Page
from imprint.runs import Content, Run, describe_input, dump_json, write_atomic

LISTED = 50

if TYPE_CHECKING:
    import polars as pl


class Shown:
    """Base of the results of jobs, dataclasses with these attributes.

    Attributes:
        pages: the module that shows it, loaded when needed: its ``render``, ``summary`` and
            ``fragment`` each take the result and give text.
        tables: name → frame.
        headline: the verdict in a few sentences.
        data: the content of ``result.json``.
        notes: for the method section of the report.
    """

    pages: ClassVar[str]
    if TYPE_CHECKING:
        tables: dict[str, pl.DataFrame]
        headline: str
        data: dict[str, Any]
        notes: dict[str, Any]

    def report(self, path: str | Path) -> Path:
        """Write the report, one HTML file that opens without a network."""
        target = Path(path)
        write_atomic(target, self.html())
        return target

    def html(self) -> str:
        """Render the report."""
        return self._shown("render")

    def summary(self) -> str:
        """Give the result in Markdown, as in ``summary.md``."""
        return self._shown("summary")

    def json(self) -> str:
        """Give the content of ``result.json``."""
        return dump_json(self.data)

    def _repr_html_(self) -> str:
        return self._shown("fragment")

    def _shown(self, how: str) -> str:
        text: str = getattr(importlib.import_module(self.pages), how)(self)
        return text

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.headline!r}, {len(self.tables)} tables)"


def publish(run: Run, result: Shown, files: Mapping[str, Content] | None = None) -> None:
    """Write a result into its run folder, whole or not at all.

    Args:
        run: the run; its fingerprint and manifest enter the result.
        result: what was found.
        files: further files, path in the run folder → content (as ``Run.finish``).

    Raises:
        DataError: something cannot be written; the folder stays as it was.
    """
    result.data["fingerprint"] = run.fingerprint
    result.notes["manifest"] = run.manifest({})
    shown = {
        "result.json": result.json(),
        "report.html": result.html(),
        "summary.md": result.summary(),
    }
    run.finish(
        tables=result.tables,
        files={**shown, **(files or {})},
        notes={"headline": result.headline},
    )


def manifest_section(page: Page, result: Shown) -> None:
    """Add how a result came about: versions, command, files read."""
    section, manifest = page.section("Manifest"), result.notes.get("manifest")
    if manifest is None:
        section.text("No run folder was written.")
        return
    section.facts({"fingerprint": manifest["fingerprint"], **manifest["versions"]})
    section.code(" ".join(map(str, manifest["command"])))
    for entry in manifest["inputs"][:LISTED]:
        section.text(describe_input(entry))
    more = len(manifest["inputs"]) - LISTED
    if more > 0:
        section.text(f"and {more:,} more files")
