"""Rendering a row by a layout into a question."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from string import ascii_uppercase
from typing import Any

from jinja2 import StrictUndefined, TemplateError, Undefined
from jinja2.sandbox import SandboxedEnvironment

from imprint.errors import ConfigError, DataError
from imprint.formats.questions.layout import Layout, Style
from imprint.formats.questions.question import Question

Row = dict[str, Any]


class Rendering:
    """A layout made ready.

    Args:
        layout: how rows are read.
        style: whether options' texts or their letters are scored.

    Raises:
        ConfigError: a template or expression of the layout is not Jinja.
    """

    def __init__(self, layout: Layout, style: Style):
        if layout.contexts and style == "letter":
            raise ConfigError("contexts that vary have no letters to score", remedy="--style cloze")
        self.layout, self.style = layout, style
        # the value of an undefined name is told apart from null, and refused with its name
        self._environment = SandboxedEnvironment(
            undefined=StrictUndefined, keep_trailing_newline=True
        )
        self._context = self._text(layout.context)
        self._contexts = [self._text(text) for text in layout.contexts]
        self._continuation = self._text(layout.continuation)
        self._choices = self._list(layout.choices)
        self._labels = self._list(layout.labels) if layout.labels is not None else None
        self._gold = self._expression(layout.gold)
        self._subset = self._expression(layout.subset) if layout.subset else None
        self._split = self._expression(layout.split) if layout.split else None

    def split(self, row: Row, place: str) -> str | None:
        """Give the split that a row belongs to, where the layout has splits."""
        return None if self._split is None else str(_of(self._split, row, place))

    def question(self, row: Row, item: str, place: str) -> Question:
        """Render one row.

        Raises:
            DataError: a field is missing, there are fewer than two options, one is empty, or the
                right option is none of them.
        """
        contexts = tuple(_of(text, row, place) for text in self._contexts)
        if contexts:
            options = (_of(self._continuation, row, place),) * len(contexts)
        else:
            options = _options(_of(self._choices, row, place), place)
        labels = None if self._labels is None else _of(self._labels, row, place)
        golds = _golds(_of(self._gold, row, place), options, labels, place)
        context = ""
        if not contexts:
            context, options = self._asked(row, options, place)
        subset = None if self._subset is None else _of(self._subset, row, place)
        line = int(place.rpartition(" ")[2])
        named = None if subset is None else str(subset)
        return Question(item, context, options, golds, contexts, named, row, line)

    def _asked(self, row: Row, options: tuple[str, ...], place: str) -> tuple[str, tuple[str, ...]]:
        if self.style == "cloze":
            return _of(self._context, {**row, "listed": ""}, place), options
        if len(options) > len(ascii_uppercase):
            raise DataError(f"{len(options)} options are more than letters", where=place)
        letters = tuple(ascii_uppercase[: len(options)])
        listed = "".join(f"{a}. {text}\n" for a, text in zip(letters, options, strict=True))
        context = _of(self._context, {**row, "listed": listed}, place)
        if listed not in context:
            raise ConfigError(
                "the layout's context does not show the options",
                where=place,
                remedy="--style cloze",
            )
        return context, letters

    def _text(self, template: str) -> Callable[[Row], Any]:
        try:
            return self._environment.from_string(template).render
        except TemplateError as broken:
            raise ConfigError(f"the template {template!r} is not Jinja: {broken}") from broken

    def _list(self, given: str | Sequence[str]) -> Callable[[Row], Any]:
        if isinstance(given, str):
            return self._expression(given)
        parts = [self._text(text) for text in given]
        return lambda row: [part(row) for part in parts]

    def _expression(self, text: str) -> Callable[[Row], Any]:
        if not text:
            return lambda row: None
        try:
            found = self._environment.compile_expression(text, undefined_to_none=False)
        except TemplateError as broken:
            raise ConfigError(f"the expression {text!r} is not Jinja: {broken}") from broken
        return lambda row: found(row)


def _of(render: Callable[[Row], Any], row: Row, place: str) -> Any:
    try:
        found = render(row)
        if isinstance(found, Undefined):
            str(found)  # raises, with the name that is missing
        return found
    except (TemplateError, TypeError, AttributeError, IndexError, ValueError) as broken:
        raise DataError(
            f"the layout does not fit the row: {broken}",
            where=place,
            remedy="every row needs the same fields.",
        ) from broken


def _options(found: Any, place: str) -> tuple[str, ...]:
    if not isinstance(found, list | tuple) or not found:
        raise DataError(f"the row has no options (found {found!r:.60})", where=place)
    if len(found) < 2:
        raise DataError("one option leaves nothing to choose", where=place)
    options = tuple(str(option) for option in found)
    if not all(option.strip() for option in options):
        raise DataError(
            f"option {[bool(o.strip()) for o in options].index(False)} is empty", where=place
        )
    return options


def _golds(given: Any, options: tuple[str, ...], labels: Any, place: str) -> tuple[int, ...]:
    answers = list(given) if isinstance(given, list | tuple) else [given]
    names = None if labels is None else [str(label) for label in labels]
    golds = tuple(sorted({_index(answer, options, names) for answer in answers}))
    if not golds or golds[0] < 0 or golds[-1] >= len(options):
        named = f"labels {names}" if names else f"{len(options)} options, counted from 0"
        raise DataError(f"the answer {given!r:.80} is none of the {named}", where=place)
    return golds


def _index(answer: Any, options: tuple[str, ...], labels: list[str] | None) -> int:
    """Find an option by index, label, text or letter, in this order; -1 where it is none."""
    if labels is not None:
        return labels.index(str(answer)) if str(answer) in labels else -1
    if isinstance(answer, bool | int):
        return int(answer)
    if isinstance(answer, float):
        return int(answer) if answer.is_integer() else -1
    if answer in options:
        return options.index(answer)
    # a digit alone may be an index from 0 or from 1: it is not guessed
    if isinstance(answer, str) and len(answer) == 1 and answer in ascii_uppercase:
        return ascii_uppercase.index(answer)
    return -1
