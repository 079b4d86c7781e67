"""Reports: any job's result as one HTML file, a Markdown summary and a notebook fragment.

The package knows pages, sections, charts and tables, and no job. Chart builders are in
:mod:`imprint.report.figures`.
"""

from __future__ import annotations

from imprint.report.markdown import summary
from imprint.report.notebook import summary_html
from imprint.report.page import Page
from imprint.report.section import Section
from imprint.report.shown import Shown, manifest_section, publish
from imprint.report.verdict import State, Verdict

__all__ = [
    "Page",
    "Section",
    "Shown",
    "State",
    "Verdict",
    "manifest_section",
    "publish",
    "summary",
    "summary_html",
]
