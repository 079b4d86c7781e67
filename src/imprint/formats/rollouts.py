"""Verified rollouts of any origin as one pool: a row per prompt with its counts of passes.

Read are a run folder of ``imprint evaluate --prompts`` or ``imprint mastery``, samples of lm-eval,
and tables (JSON lines, Parquet, CSV) with one row per prompt or one per rollout; columns of other
names by ``--map``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from imprint.errors import DataError, nearest
from imprint.findings import Finding
from imprint.formats.rollouts_columns import one_model, refuse_nested, typed
from imprint.formats.rollouts_counting import counted
from imprint.formats.rollouts_lm_eval import is_lm_eval, read_lm_eval
from imprint.formats.rollouts_runs import read_run
from imprint.tables import BROKEN, load_frame, row_place, unreadable

POOL: dict[str, pl.DataType] = {
    "id": pl.String(),
    "domain": pl.String(),
    "source": pl.String(),
    "prompt": pl.String(),  # or messages
    "answer": pl.String(),
    "reference": pl.String(),
    "reference_verified": pl.Boolean(),
    "n": pl.Int64(),
    "c": pl.Int64(),
    "ref_nll": pl.Float64(),
    "ref_tokens": pl.Int64(),
    "tokens": pl.Float64(),
}
ABOUT = (
    *("model", "stage", "template", "temperature", "top_p", "max_tokens", "verifier"),
    "rollout_seed",
)
COUNTS = ("correct", "pass_rate")
TOLD = ("domain", "source", "reference_verified", "ref_tokens", "tokens")  # typed as they stand
ALIASES = {
    **dict.fromkeys(("item", "uuid", "question_id"), "id"),
    **dict.fromkeys(("problem", "question"), "prompt"),
    **dict.fromkeys(("pass_rate_rewards", "passed", "rewards", "reward"), "correct"),
    **dict.fromkeys(("passes", "hits"), "c"),
    **dict.fromkeys(("samples",), "n"),
    **dict.fromkeys(("solution", "completion", "response"), "reference"),
    **dict.fromkeys(("answers", "ground_truth", "target"), "answer"),
    **dict.fromkeys(("category", "data_source", "problem_type"), "domain"),
    **dict.fromkeys(("unit",), "model"),
    **dict.fromkeys(("chat_template",), "template"),
    **dict.fromkeys(("verify",), "verifier"),
    **dict.fromkeys(("max_new_tokens",), "max_tokens"),
}
WANTED = (*POOL, *ABOUT, *COUNTS, "messages")


@dataclass(frozen=True, slots=True)
class Reading:
    """How rollouts are read.

    Attributes:
        rename: our column → theirs.
        samples: rollouts per prompt, for pass rates that come without.
        pass_at: a reward of at least this is a pass; without it rewards must be 0 or 1.
        model, stage: which model of an evaluation with several.
        filter: which filter of an lm-eval run with several.
    """

    rename: Mapping[str, str] = field(default_factory=dict)
    samples: int | None = None
    pass_at: float | None = None
    model: str | None = None
    stage: str | None = None
    filter: str | None = None


def read_pool(
    paths: Sequence[Path], reading: Reading | None = None
) -> tuple[pl.DataFrame, list[Finding]]:
    """Read rollouts into one row per prompt.

    Args:
        paths: run folders or files; several files of one kind are read one after the other.
        reading: names and choices.

    Returns:
        Columns of ``POOL`` (``prompt`` a text, or messages as a list of role and content;
        ``ref_nll`` in nats per token; ``tokens`` the mean length of a rollout) and those of
        ``ABOUT`` that are known, in the order of the input; and what was noticed. Without rollouts
        (only ``ref_nll``) ``n`` and ``c`` are null.

    Raises:
        DataError: nothing usable, rewards that are not verified, rates that are no rates, or an id
            that stands twice; the message names file and row.
    """
    reading = reading or Reading()
    parts = [_read(path, reading) for path in paths]
    if not parts:
        raise DataError("no rollouts given", remedy="name --rollouts or --mastery.")
    findings = [finding for _, found in parts for finding in found]
    types = {str(frame.schema["prompt"]) for frame, _ in parts}
    if len(types) > 1:
        raise DataError(
            "some files hold prompts as texts, others as messages",
            remedy="give them to two plans, or write them alike.",
        )
    pool = pl.concat([frame for frame, _ in parts], how="diagonal_relaxed", rechunk=False)
    _refuse_twice(pool, paths)
    return pool, [*findings, *_several_models(pool)]


def _read(path: Path, reading: Reading) -> tuple[pl.DataFrame, list[Finding]]:
    if path.is_dir():
        frame, findings = read_run(path, unit=reading.model, stage=reading.stage)
        return conformed(frame, path), findings
    if is_lm_eval(path):
        frame, findings = read_lm_eval(path, filtered=reading.filter, pass_at=reading.pass_at)
        return conformed(frame, path), findings
    return _tabled(_load(path, reading.rename), path, reading)


def pool_from_frame(
    frame: pl.DataFrame, reading: Reading | None = None
) -> tuple[pl.DataFrame, list[Finding]]:
    """Make a pool of rows in memory; columns, results and errors as ``read_pool``."""
    if frame.is_empty():
        raise DataError("the frame has no rows")
    source = Path("the frame")
    pool, findings = _tabled(frame, source, reading or Reading())
    _refuse_twice(pool, [source])
    return pool, findings


def _tabled(
    frame: pl.DataFrame, path: Path, reading: Reading
) -> tuple[pl.DataFrame, list[Finding]]:
    frame, findings = _named(frame, path, reading.rename)
    refuse_nested(frame, ("id", "domain", "source", *ABOUT), path)
    for name in TOLD:
        if name in frame.columns:
            frame = typed(frame, name, POOL[name], path)
    frame, noticed = _prompted(frame, path)
    frame = one_model(frame, path, model=reading.model, stage=reading.stage)
    frame, told = counted(frame, path, samples=reading.samples, pass_at=reading.pass_at)
    return conformed(frame, path), [*findings, *noticed, *told]


def conformed(frame: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Give a frame all columns of the pool, in order, and their types.

    Raises:
        DataError: a value is not of its column's type; the message names the row.
    """
    columns: list[pl.Expr] = []
    for name, dtype in POOL.items():
        if name not in frame.columns:
            columns.append(pl.lit(None, dtype=dtype).alias(name))
            continue
        if name not in ("prompt", "n", "c"):  # those have been checked
            frame = typed(frame, name, dtype, path)
        columns.append(pl.col(name))
    known = [pl.col(name).cast(pl.String) for name in ABOUT if name in frame.columns]
    return frame.select(*columns, *known)


def _load(path: Path, rename: Mapping[str, str]) -> pl.DataFrame:
    """Read a table, columns that a pool has no use for left on disk where the format allows it."""
    plain = path.name.lower()
    if not path.is_file() or not plain.endswith((".parquet", ".jsonl", ".ndjson")):
        return load_frame(path)
    if path.stat().st_size == 0:
        raise DataError("the file is empty", where=str(path))
    try:
        if plain.endswith(".parquet"):
            lazy = pl.scan_parquet(path)
        else:
            lazy = pl.scan_ndjson(path, infer_schema_length=None)
        there = lazy.collect_schema().names()
        _check_names(rename, there, path)
        wanted = {*WANTED, *ALIASES, *rename.values()}
        frame = lazy.select([name for name in there if name in wanted] or there).collect()
    except BROKEN as broken:
        if plain.endswith(".parquet"):
            raise unreadable(broken, path) from broken
        frame = load_frame(path)  # slower, and names the line that is broken
    if frame.is_empty():
        raise DataError("the file has no rows", where=str(path))
    return frame


def _check_names(rename: Mapping[str, str], there: Sequence[str], path: Path) -> None:
    for ours, theirs in rename.items():
        if ours not in WANTED:
            raise DataError(f"--map {ours}=…: {nearest(ours, WANTED)}", where=str(path))
        if theirs not in there:
            raise DataError(
                f"no column {theirs!r} (mapped to {ours!r}); {nearest(theirs, there)}",
                where=str(path),
            )


def _named(
    frame: pl.DataFrame, path: Path, rename: Mapping[str, str]
) -> tuple[pl.DataFrame, list[Finding]]:
    """Give columns our names: what the user maps first, then known aliases, with a notice."""
    _check_names(rename, frame.columns, path)
    moves = {theirs: ours for ours, theirs in rename.items()}
    findings = []
    for theirs, ours in ALIASES.items():
        taken = ours in frame.columns or ours in moves.values()
        if theirs in frame.columns and theirs not in moves and not taken:
            moves[theirs] = ours
            detail = f"column {theirs!r} of {path} is read as {ours!r}"
            findings.append(Finding("alias", detail, "info"))
    covered = [ours for theirs, ours in moves.items() if ours in frame.columns and ours != theirs]
    frame = frame.drop(covered).rename(moves)
    return frame.select(name for name in frame.columns if name in WANTED), findings


def _prompted(frame: pl.DataFrame, path: Path) -> tuple[pl.DataFrame, list[Finding]]:
    """Give every row a prompt and an id; a conversation's last answer becomes the reference."""
    if "prompt" not in frame.columns and "messages" in frame.columns:
        frame = _from_messages(frame, path)
    if "prompt" not in frame.columns:
        raise DataError(
            f"there is no column of prompts; {nearest('prompt', frame.columns)}",
            where=str(path),
            remedy="rename it, or map it: --map prompt=THEIR_NAME.",
        )
    dtype = frame.schema["prompt"]
    if dtype != pl.String and not _is_messages(dtype):
        raise DataError(
            f"prompts are {dtype}, neither texts nor lists of messages (role and content, both "
            "texts)",
            where=str(path),
        )
    bare = pl.col("prompt").is_null()
    if dtype == pl.String:
        bare = bare | (pl.col("prompt").str.strip_chars().str.len_bytes() == 0)
        _refuse_mixed(frame, path)
    else:
        bare = bare | (pl.col("prompt").list.len() == 0)
        _refuse_silent(frame, path)
    lacking = frame.select(bare.arg_true()).to_series()
    if len(lacking):
        raise DataError("the row has no prompt", where=row_place(path, int(lacking[0])))
    for name in ("answer", "reference"):
        frame = _as_text(frame, name)
    if "id" in frame.columns and frame["id"].null_count() == 0:
        return frame.with_columns(pl.col("id").cast(pl.String)), []
    numbers = pl.format("row-{}", pl.int_range(1, pl.len() + 1))
    ids = pl.coalesce(pl.col("id").cast(pl.String), numbers) if "id" in frame else numbers
    told = f"rows of {path} without an id are called by their number (row-1, …)"
    return frame.with_columns(id=ids), [Finding("no_id", told, "info")]


def _is_messages(dtype: pl.DataType) -> bool:
    inner = dtype.inner if isinstance(dtype, pl.List) else None
    if not isinstance(inner, pl.Struct):
        return False
    types = {field.name: field.dtype for field in inner.fields}
    return types.get("role") == pl.String and types.get("content") == pl.String


def _from_messages(frame: pl.DataFrame, path: Path) -> pl.DataFrame:
    if not _is_messages(frame.schema["messages"]):
        raise DataError("messages are no lists of role and content", where=str(path))
    last = pl.col("messages").list.last()
    answered = last.struct.field("role") == "assistant"
    before = pl.col("messages").list.head(pl.col("messages").list.len() - 1)
    made = {"prompt": pl.when(answered).then(before).otherwise(pl.col("messages"))}
    if "reference" not in frame.columns:
        made["reference"] = pl.when(answered).then(last.struct.field("content"))
    return frame.with_columns(**made).drop("messages")


def _refuse_silent(frame: pl.DataFrame, path: Path) -> None:
    """Refuse messages without content, as those of tool calls."""
    silent = pl.element().struct.field("content").is_null() | pl.element().is_null()
    rows = frame.select(pl.col("prompt").list.eval(silent).list.any().arg_true()).to_series()
    if len(rows):
        raise DataError("a message has no content", where=row_place(path, int(rows[0])))


def _refuse_mixed(frame: pl.DataFrame, path: Path) -> None:
    """Refuse messages among texts, which the reader of JSON lines turns into texts."""
    mixed = frame.select(pl.col("prompt").str.starts_with('[{"role"').arg_true()).to_series()
    if 0 < len(mixed) < len(frame):
        raise DataError(
            "the prompt is a list of messages, those of other rows are texts",
            where=row_place(path, int(mixed[0])),
            remedy="write all prompts alike.",
        )


def _as_text(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """Make an answer a text: the first of a list, a number as it is written."""
    if name not in frame.columns:
        return frame
    dtype = frame.schema[name]
    value = pl.col(name).list.first() if isinstance(dtype, pl.List) else pl.col(name)
    inner = dtype.inner if isinstance(dtype, pl.List) else dtype
    if isinstance(inner, (pl.Struct, pl.List)):
        return frame.drop(name)
    return frame.with_columns(value.cast(pl.String).alias(name))


def _several_models(pool: pl.DataFrame) -> list[Finding]:
    """Warn where files name different models: it may be one under two names."""
    if "model" not in pool or pool["model"].drop_nulls().n_unique() < 2:
        return []
    names = pool["model"].drop_nulls().unique(maintain_order=True).to_list()
    told = f"{', '.join(names[:5])}: a plan is for one checkpoint; these names must mean the same"
    return [Finding("several_models", told, "warn", len(names))]


def _refuse_twice(pool: pl.DataFrame, paths: Sequence[Path]) -> None:
    if pool["id"].n_unique() == len(pool):
        return
    twice = pool.filter(pl.col("id").is_duplicated())["id"]
    raise DataError(
        f"the id {twice[0]!r} stands {int((twice == twice[0]).sum())} times; "
        f"{twice.n_unique():,} ids repeat",
        where=", ".join(map(str, paths)),
        remedy="one row per prompt with all its rollouts, or one row per rollout with a single "
        "`correct`, which are counted together.",
    )
