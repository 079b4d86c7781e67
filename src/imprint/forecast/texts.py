"""Reading the texts of a forecast: examples of SFT, and the domains."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from imprint.errors import DataError, nearest
from imprint.findings import Finding
from imprint.forecast.columns import Columns
from imprint.forecast.material import Text
from imprint.tables import load_frame, row_place

PROMPTS = ("prompt", "question", "instruction")
COMPLETIONS = ("completion", "response", "answer", "output")
ANSWERS = ("answer", "completion", "response", "target")
TURNS = ("messages", "conversations")
DOMAINS = ("domain", "category", "subject")
NAMES = ("id",)


def read_sft(
    path: Path,
    *,
    columns: Columns | None = None,
    group_by: str | None = None,
    rewarded: bool = False,
) -> tuple[list[Text], list[Finding]]:
    """Read examples of SFT.

    A row has ``prompt`` and ``completion`` (texts, or turns with role and content), or
    ``messages``, of which the last user's turn and the assistant's answer to it are taken.

    Args:
        path: ``.jsonl``, ``.parquet`` or ``.csv``.
        columns: how they are found.
        group_by: column whose value tells the component of the mixture; else the file's name does.
        rewarded: rows have a ``reward``; only those above its mean are taken.

    Raises:
        DataError: the file cannot be read, or a row has no prompt or no answer; the message names
            file and line.
    """
    frame = load_frame(path)
    if group_by is not None and group_by not in frame.columns:
        raise DataError(
            f"no column {group_by!r}, by which components are told apart; "
            + nearest(group_by, frame.columns),
            where=str(path),
            remedy="name another column: --group-by NAME.",
        )
    columns = columns or Columns()
    turns = columns.find(frame, path, "messages", TURNS)
    prompt = columns.find(frame, path, "prompt", PROMPTS)
    answer = columns.find(frame, path, "completion", COMPLETIONS)
    name = columns.find(frame, path, "id", NAMES)
    if turns is None and prompt is None:
        problem = "neither 'messages' nor 'prompt' and 'completion'"
        raise columns.lacking(frame, path, problem, "prompt")
    if turns is None and answer is None:
        problem = "prompts but no answers, which SFT learns"
        raise columns.lacking(frame, path, problem, "completion")
    least = _mean_reward(frame, path) if rewarded else None
    found, cut = [], 0
    for number, row in enumerate(frame.iter_rows(named=True)):
        place = row_place(path, number)
        if least is not None and not row["reward"] > least:
            continue
        read: dict[str | None, int] = {prompt: 1, answer: 1}
        if turns is not None and row[turns] is not None:
            read = {turns: 2}
            asked, told = _last_pair(row[turns], place)
        else:
            asked = _content(row.get(prompt or ""), "user", place)
            told = _content(row.get(answer or ""), "assistant", place)
        if not asked.strip():
            raise DataError("the example has no prompt", where=place)
        if not told.strip():
            raise DataError(
                "the example has no answer, which SFT learns",
                where=place,
                remedy="leave the row out, or name the column: --map completion=THEIR_NAME.",
            )
        group = path.stem if group_by is None else str(row[group_by])
        found.append(Text(_name(row, name, number), group, asked, told, place))
        cut += _turns_beyond(row, read)
    return found, [*columns.findings(path), *_cut(cut, len(found), path)]


def read_domains(
    path: Path, *, columns: Columns | None = None, alike: Path | None = None
) -> tuple[list[Text], list[Finding]]:
    """Read texts of domains.

    A row has ``prompt``, optionally ``answer`` and ``domain``; without ``domain`` the file is one
    domain and its name that of the file.

    Args:
        path: ``.jsonl``, ``.parquet`` or ``.csv``.
        columns: how they are found.
        alike: another file of the same name, whose domain cannot be called by it too.

    Raises:
        DataError: the file cannot be read, a row has no prompt, or its domain no name of its own;
            the message names file and line.
    """
    frame = load_frame(path)
    columns = columns or Columns()
    prompt = columns.find(frame, path, "prompt", (*PROMPTS, "text"))
    domain = columns.find(frame, path, "domain", DOMAINS)
    answer = columns.find(frame, path, "answer", ANSWERS)
    name = columns.find(frame, path, "id", NAMES)
    if prompt is None:
        raise columns.lacking(frame, path, "no 'prompt'", "prompt")
    found, cut = [], 0
    for number, row in enumerate(frame.iter_rows(named=True)):
        place = row_place(path, number)
        asked = _content(row[prompt], "user", place)
        if not asked.strip():
            raise DataError("the row has no prompt", where=place)
        told = _content(row[answer], "assistant", place) if answer else ""
        group = None if domain is None or row[domain] is None else str(row[domain])
        if group is None and alike is not None:
            raise DataError(
                f"the domain would be called {path.stem!r}, and so would that of {alike}",
                where=place,
                remedy="rename one of the files, or name the domain of each row in a column "
                "`domain`.",
            )
        found.append(Text(_name(row, name, number), group or path.stem, asked, told or None, place))
        cut += _turns_beyond(row, {prompt: 1, answer: 1})
    return found, [*columns.findings(path), *_cut(cut, len(found), path)]


def _turns_beyond(row: Mapping[str, Any], read: Mapping[str | None, int]) -> bool:
    """Tell whether a row holds more turns than are read."""
    values = {name: row[name] for name in read if name is not None}
    return any(isinstance(v, list) and len(v) > read[name] for name, v in values.items())


def _cut(cut: int, total: int, path: Path) -> list[Finding]:
    if not cut:
        return []
    detail = (
        f"{cut} of {total} conversations of {path} have more turns than the last question and its "
        "answer; the others are not read, and stand in no mixture"
    )
    return [Finding("turns", detail, count=cut)]


def without_repeats(texts: Sequence[Text], what: str) -> tuple[list[Text], list[Finding]]:
    """Drop texts whose prompt stands in their group already, and say how many."""
    seen: set[tuple[str, str, str | None]] = set()
    kept = []
    for text in texts:
        key = (text.group, text.prompt, text.answer)
        if key not in seen:
            kept.append(text)
        seen.add(key)
    gone = len(texts) - len(kept)
    if not gone:
        return kept, []
    detail = f"{gone} of {len(texts)} {what} repeat another one and are left out"
    return kept, [Finding("repeated", detail, count=gone)]


def drawn(
    texts: Sequence[Text], lengths: Sequence[int], *, tokens: int, limit: int | None, seed: int
) -> list[int]:
    """Draw texts of each group until there are tokens enough.

    Args:
        texts: of any groups.
        lengths: tokens of each.
        tokens: of each group; the text that reaches them is taken too.
        limit: texts of each group at most.
        seed: of the draw.

    Returns:
        Places of the texts taken, in their order; groups in the order of their first text.
    """
    groups: dict[str, list[int]] = {}
    for number, text in enumerate(texts):
        groups.setdefault(text.group, []).append(number)
    kept: list[int] = []
    for group, members in groups.items():
        order = members[:]
        random.Random(f"{seed} {group}").shuffle(order)  # noqa: S311
        taken, sum_of = [], 0
        for number in order[:limit]:
            if sum_of >= tokens:
                break
            taken.append(number)
            sum_of += lengths[number]
        kept += sorted(taken)
    return kept


def _mean_reward(frame: pl.DataFrame, path: Path) -> float:
    if "reward" not in frame.columns or not frame["reward"].dtype.is_numeric():
        raise DataError("has no numbers in a column 'reward'", where=str(path))
    empty = frame["reward"].is_null().arg_true()
    if len(empty):
        raise DataError("the row has no reward", where=row_place(path, int(empty[0])))
    return float(frame["reward"].cast(pl.Float64).mean() or 0.0)  # type: ignore[arg-type]


def _name(row: Mapping[str, Any], column: str | None, number: int) -> str:
    return str(number) if column is None or row[column] is None else str(row[column])


def _content(value: Any, role: str, place: str) -> str:
    """Give a text, or what the last turn of a role says."""
    if isinstance(value, list):
        said = [content for who, content in _turns(value, place) if who == role]
        return said[-1] if said else ""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise DataError(f"holds {type(value).__name__} where a text is expected", where=place)


def _last_pair(value: Any, place: str) -> tuple[str, str]:
    """Give the last assistant's turn and the user's turn before it."""
    turns = list(_turns(value, place))
    for at in range(len(turns) - 1, 0, -1):
        if turns[at][0] == "assistant" and turns[at - 1][0] == "user":
            return turns[at - 1][1], turns[at][1]
    asked = [content for role, content in turns if role == "user"]
    return (asked[-1] if asked else ""), ""


def _turns(value: Any, place: str) -> Iterator[tuple[str, str]]:
    for turn in value if isinstance(value, list) else [value]:
        if not isinstance(turn, dict):
            raise DataError(
                f"holds {turn!r:.60} where a turn with role and content is expected", where=place
            )
        role, content = turn.get("role", turn.get("from")), turn.get("content", turn.get("value"))
        role = {"human": "user", "gpt": "assistant"}.get(str(role), role)
        if role not in ("user", "assistant", "system", "tool") or not isinstance(
            content, str | None
        ):
            raise DataError(f"holds the turn {turn!r:.60}, which is not read", where=place)
        yield str(role), content or ""
