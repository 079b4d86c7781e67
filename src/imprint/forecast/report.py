"""The report of a forecast."""

from __future__ import annotations

from imprint.forecast.result import ForecastResult
from imprint.report import Page, summary_html
from imprint.report import summary as markdown


def render(result: ForecastResult) -> str:
    """Render the result as one HTML page."""
    page = Page("Forecast", "")
    page.verdicts(result.verdicts, headline=result.headline)
    return page.render()


def summary(result: ForecastResult) -> str:
    """Write the result as Markdown."""
    return markdown("Forecast", result.verdicts, {}, headline=result.headline)


def fragment(result: ForecastResult) -> str:
    """Show the result in a notebook."""
    return summary_html(result.headline, result.verdicts, result.tables["forecast"])
