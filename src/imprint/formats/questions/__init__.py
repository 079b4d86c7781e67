"""Questions with options, read from JSON lines of several layouts or the user's own."""

from __future__ import annotations

from imprint.formats.questions.layout import Layout, Style, layouts
from imprint.formats.questions.prompts import Prompt, read_prompts
from imprint.formats.questions.question import Benchmark, Question, row_hash
from imprint.formats.questions.reading import benchmark_name, read_benchmark, read_rows

__all__ = [
    "Benchmark",
    "Layout",
    "Prompt",
    "Question",
    "Style",
    "benchmark_name",
    "layouts",
    "read_benchmark",
    "read_prompts",
    "read_rows",
    "row_hash",
]
