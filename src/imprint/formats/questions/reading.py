"""Reading questions: JSON lines, by a layout found from the fields or named by the user."""

from __future__ import annotations

import gzip
import io
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from imprint.errors import ConfigError, DataError, nearest
from imprint.formats.json_input import DAMAGED, parse_lines
from imprint.formats.questions.layout import (
    Layout,
    Style,
    fitting,
    load_benchmark_file,
    named,
)
from imprint.formats.questions.question import Benchmark, Question, row_hash
from imprint.formats.questions.rendering import Rendering

Row = dict[str, Any]
SUFFIXES = (".jsonl", ".ndjson", ".json")


def read_benchmark(
    path: Path, *, rename: Mapping[str, str] | None = None, style: Style | None = None
) -> Benchmark:
    """Read the questions of a file.

    Args:
        path: JSON lines (may be gzipped), or a YAML file with ``path`` and ``layout``.
        rename: our field → the file's.
        style: score options as ``cloze`` or by ``letter``; by default as the layout says.

    Raises:
        ConfigError: the layout is unknown, does not fit, or has no options to choose from.
        DataError: the file is missing, empty, not UTF-8 or not JSON; a row has no options, or its
            right option is none of them. The message names file and line.
    """
    name, source, layout_name, layout = _named(path)
    rows = [(place, renamed(row, rename or {}, place)) for place, row in read_rows(source)]
    if layout is None:
        layout_name, layout = _found(rows[0][1], source)
    if not layout.gold:
        raise ConfigError(
            "the rows hold a question and its answers but no options, so no choice can be scored",
            where=str(source),
            remedy=f"ask for it in the model's own words: --prompts {source} --verify exact.",
        )
    rendering = Rendering(layout, style or layout.style)
    questions, shots = _questions(rows, layout, rendering)
    if not questions:
        raise DataError(f"no row is of a split in {list(layout.test)}", where=str(source))
    return Benchmark(name, source, layout_name, questions, shots, layout.delimiter)


def read_rows(path: Path) -> Iterator[tuple[str, Row]]:
    """Give the rows of a JSON-lines file, each with its place (file and line).

    Raises:
        DataError: the file is missing, empty, not UTF-8 or not JSON.
    """
    try:
        raw = path.read_bytes()
        content = gzip.decompress(raw) if path.name.endswith(".gz") else raw
        content.decode("utf-8-sig")
    except UnicodeDecodeError as broken:
        line = content[: broken.start].count(b"\n") + 1
        raise DataError(
            f"not UTF-8: byte 0x{content[broken.start]:02x}",
            where=f"{path}, line {line}",
            remedy="save the file as UTF-8.",
        ) from broken
    except (EOFError, zlib.error, gzip.BadGzipFile) as broken:
        raise DataError(
            f"cannot be unpacked: {broken}", where=str(path), remedy=DAMAGED
        ) from broken
    except OSError as failed:
        problem = failed.strerror or type(failed).__name__
        raise DataError(problem, where=str(path), remedy="check the path.") from failed
    yield from parse_lines(io.BytesIO(content.removeprefix(b"\xef\xbb\xbf")), str(path))


def benchmark_name(path: Path) -> str:
    """Name a benchmark after its file, without split and suffixes.

    >>> benchmark_name(Path("data/sciq.validation.jsonl.gz"))
    'sciq'
    """
    stem = path.name.removesuffix(".gz")
    for suffix in SUFFIXES:
        stem = stem.removesuffix(suffix)
    for split in (".validation", ".test", ".train", ".dev"):
        stem = stem.removesuffix(split)
    return stem


def _named(path: Path) -> tuple[str, Path, str, Layout | None]:
    if path.suffix.lower() not in (".yaml", ".yml"):
        return benchmark_name(path), path, "", None
    given, settings = load_benchmark_file(path)
    source = path.parent / given.path
    name = given.name or path.stem
    if isinstance(given.layout, str):
        try:
            return name, source, given.layout, named(given.layout)
        except ConfigError as unknown:
            place = settings.place(("layout",))
            raise ConfigError(unknown.problem, where=place) from None
    return name, source, "own" if given.layout else "", given.layout


def _found(row: Row, path: Path) -> tuple[str, Layout]:
    name = fitting(row, path)
    if name is None:
        raise ConfigError(
            f"the fields {', '.join(sorted(row)) or '(none)'} fit no layout",
            where=str(path),
            remedy="rename them with --map question=… --map choices=… --map answer=…, or write a "
            "YAML file with `path` and `layout`.",
        )
    return name, named(name)


def renamed(row: Row, rename: Mapping[str, str], place: str) -> Row:
    """Give a row under our field names (``--map ours=theirs``).

    Raises:
        DataError: the row lacks a field that is mapped.
    """
    for theirs in rename.values():
        if theirs not in row:
            raise DataError(
                f"no field {theirs!r}; {nearest(theirs, row)}", where=place, remedy="check --map."
            )
    moved = {theirs: ours for ours, theirs in rename.items()}
    kept = {k: v for k, v in row.items() if k not in rename or k in moved}
    return {moved.get(name, name): value for name, value in kept.items()}


def _questions(
    rows: list[tuple[str, Row]], layout: Layout, rendering: Rendering
) -> tuple[tuple[Question, ...], tuple[Question, ...]]:
    seen: Counter[str] = Counter()
    scored: list[Question] = []
    shots: list[Question] = []
    for place, row in rows:
        split = rendering.split(row, place)
        is_shot = layout.shots is not None and split == layout.shots
        if layout.test and split not in layout.test and not is_shot:
            continue
        item = row_hash(row)
        seen[item] += 1
        if seen[item] > 1:
            item = f"{item}#{seen[item]}"
        (shots if is_shot else scored).append(rendering.question(row, item, place))
    return tuple(scored), tuple(shots)
