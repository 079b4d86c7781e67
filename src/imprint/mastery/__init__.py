"""How well a model knows facts: ``imprint mastery``."""

from __future__ import annotations

from imprint.mastery.closed_book import ClosedBookResult, closed_book
from imprint.mastery.config import MasteryConfig
from imprint.mastery.result import MasteryResult
from imprint.mastery.study import mastery

__all__ = ["ClosedBookResult", "MasteryConfig", "MasteryResult", "closed_book", "mastery"]
