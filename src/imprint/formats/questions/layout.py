"""How rows of a file become questions: a layout, ours or the user's own, as a few templates.

Templates are Jinja texts over the fields of a row, run in a sandbox; expressions (``choices``,
``gold``, …) are Jinja expressions or plain field names, and keep their type.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from imprint.configuration import Settings, build, load_yaml
from imprint.errors import ConfigError, nearest

Style = Literal["cloze", "letter"]
NAME = re.compile(r"[^/\\\x00-\x1f.][^/\\\x00-\x1f]*")


@dataclass(frozen=True, slots=True)
class Layout:
    """How a row is read.

    Attributes:
        fields: what a row of this layout has; by them a file's layout is found.
        context: template of what stands before each option; ``listed`` is the options with their
            letters where the style is ``letter``, else empty.
        choices: expression that gives the options' texts, or a template for each.
        gold: expression that gives the right option: an index from 0, true or false (1 or 0), a
            label, a letter, or the option's text; a list of these where several are right.
        labels: expression or list of the options' labels, which ``gold`` then names.
        contexts: templates of the contexts where they vary; ``continuation`` follows each.
        continuation: template of what follows every context of ``contexts``.
        delimiter: what stands between context and option.
        style: ``cloze`` scores the options' texts, ``letter`` lists them and scores their letters.
        subset: expression that gives a part of the benchmark, such as a subject.
        split: expression that gives a row's split.
        test: the splits that are scored; all others but ``shots`` are left out.
        shots: the split that gives examples.
        file: part of the file name that decides between layouts of the same fields.
    """

    fields: tuple[str, ...] = ()
    context: str = ""
    choices: str | tuple[str, ...] = ()
    gold: str = ""
    labels: str | tuple[str, ...] | None = None
    contexts: tuple[str, ...] = ()
    continuation: str = ""
    delimiter: str = " "
    style: Style = "cloze"
    subset: str | None = None
    split: str | None = None
    test: tuple[str, ...] = ()
    shots: str | None = None
    file: str | None = None


@dataclass(frozen=True, slots=True)
class BenchmarkFile:
    """A YAML file that names questions and how to read them.

    Attributes:
        path: the JSON-lines file, relative to the YAML file.
        name: of the benchmark; by default the YAML file's.
        layout: name of a layout that comes with imprint, or the user's own.
    """

    path: str
    name: str | None = None
    layout: str | Layout | None = None


@cache
def layouts() -> dict[str, Layout]:
    """Give the layouts that come with imprint, by name."""
    folder = resources.files("imprint.formats.questions") / "layouts"
    found = {}
    for entry in sorted(folder.iterdir(), key=lambda e: e.name):
        if entry.name.endswith(".yaml"):
            found[entry.name.removesuffix(".yaml")] = build(Layout, load_yaml(Path(str(entry))))
    return found


def named(name: str) -> Layout:
    """Give a layout by name.

    Raises:
        ConfigError: there is none of that name.
    """
    known = layouts()
    if name not in known:
        raise ConfigError(f"unknown layout {name!r}; {nearest(name, known)}")
    return known[name]


def fitting(row: dict[str, Any], path: Path) -> str | None:
    """Name the layout that a row's fields fit, the one with the most fields; ``None`` for none.

    Raises:
        ConfigError: several layouts of the same fields fit, and the file's name decides for none.
    """
    fits = {n: la for n, la in layouts().items() if la.fields and set(la.fields) <= row.keys()}
    if not fits:
        return None
    most = max(len(layout.fields) for layout in fits.values())
    best = {name: layout for name, layout in fits.items() if len(layout.fields) == most}
    if len(best) == 1:
        return next(iter(best))
    by_name = [n for n, la in best.items() if la.file and la.file in path.name.lower()]
    if len(by_name) == 1:
        return by_name[0]
    raise ConfigError(
        f"the fields {', '.join(sorted(row))} fit the layouts {', '.join(best)}",
        where=str(path),
        remedy="write a YAML file with `path: …` and `layout: …` and give that as benchmark.",
    )


def load_benchmark_file(path: Path) -> tuple[BenchmarkFile, Settings]:
    """Read a YAML file that describes a benchmark.

    Raises:
        ConfigError: it is none, or its layout does not say what is needed.
    """
    settings = load_yaml(path)
    given = build(BenchmarkFile, settings)
    if given.name is not None and not NAME.fullmatch(given.name):
        raise ConfigError(
            f"{given.name!r} cannot name a benchmark: files are called by it",
            where=settings.place(("name",)),
            remedy="no slashes, no control characters, no dot at the start.",
        )
    if isinstance(given.layout, Layout):
        _check(given.layout, settings)
    return given, settings


def _check(layout: Layout, settings: Settings) -> None:
    place = settings.place(("layout",))
    if not layout.gold:
        raise ConfigError("the key 'gold' is missing", where=place)
    if not layout.choices and not layout.contexts:
        raise ConfigError("the key 'choices' is missing", where=place)
    if layout.contexts and layout.style == "letter":
        raise ConfigError("contexts that vary have no letters to score", where=place)
