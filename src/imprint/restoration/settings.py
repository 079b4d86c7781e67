"""Settings given as keywords from Python, checked as those of a file are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from imprint.configuration import build

Settings = TypeVar("Settings")
SEVERAL = ("top", "strength")


def configured(
    cls: type[Settings], config: Settings | None, settings: Mapping[str, Any]
) -> Settings:
    """Make settings of keywords, or change some of those given.

    One share may stand for a list of one: ``top=0.2``.

    Raises:
        ConfigError: an unknown keyword, or a value of a wrong type.
    """
    given = {
        name: (value,) if name in SEVERAL and isinstance(value, (int, float)) else value
        for name, value in settings.items()
    }
    checked = build(cls, given)
    if config is None:
        return checked
    changed = {name: getattr(checked, name) for name in given}
    return replace(config, **changed)  # type: ignore[type-var]
