"""A checkpoint written so that it appears whole under its name, or not at all.

Everything goes into a hidden folder beside the final one, named by the fingerprint of the work, and
is renamed when it is whole. A run that was cut short leaves its finished shards there; the same
work finds them and goes on.
"""

from __future__ import annotations

import glob
import hashlib
import importlib.metadata
import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from imprint.checkpoints.checkpoint import Checkpoint
from imprint.checkpoints.lock import held
from imprint.checkpoints.shards import Shard, Tensors, plan_shard, safetensors_name, write_shards
from imprint.errors import CheckpointError, ConfigError, DataError
from imprint.executors import Executor, Threads
from imprint.progress import Bar, Silent
from imprint.runs import dump_json, write_atomic

RECORD = "imprint.json"
INDEX = "model.safetensors.index.json"
LONGEST = 220  # bytes of a name, so that with a fingerprint it stays below 255


def write_checkpoint(
    out: Path,
    like: Checkpoint,
    tensor: Tensors,
    *,
    card: str,
    fingerprint: str,
    record: Mapping[str, Any] | None = None,
    extra: Mapping[str, str | bytes] | None = None,
    inputs: Sequence[Path] = (),
    overwrite: bool = False,
    workers: int = 1,
    executor: Executor | None = None,
    bar: Bar | None = None,
) -> Path:
    """Write a checkpoint with the files, order, types and metadata of another.

    Args:
        out: the folder to make; of a link, the folder that it points to.
        like: the checkpoint whose layout is kept; its config and tokenizer are carried along.
        tensor: gives the values of a stored name in its storage type: one array, pieces of it in
            flat order, or ``None`` for those of ``like``. Called from ``workers`` threads, or
            pickled and called on the executor's workers.
        card: ``README.md``.
        fingerprint: names the work: equal only where every value comes out equal. It must cover
            the content of the inputs, the settings and the version of the code.
        record: facts for ``imprint.json``, the machine-readable twin of the card.
        extra: further files, name → content.
        inputs: folders that are read; none of them may lie in ``out``, nor ``out`` in them.
        overwrite: replace a folder that holds something else.
        workers: threads, each of which writes one tensor at a time.
        executor: writes the tensors instead of these threads; its workers see ``out`` and the
            inputs under the same paths. The bytes written do not depend on it.
        bar: told of written bytes.

    Returns:
        ``out``.

    Raises:
        ConfigError: ``out`` holds something else, or an input, lies in one, or is being written
            by another process.
        CheckpointError: ``like`` cannot be written, or a tensor came in another type or size.
        DataError: the disk is full or fails; nothing appears under ``out``.
    """
    if not like.restorable:
        raise CheckpointError(
            "holds float8 weights with block scales, which are read but never written",
            where=str(like.path),
            remedy="dequantise it with transformers and save it.",
        )
    shards = {source: plan_shard(like, source) for source in like.layout}
    work = _work_hash(fingerprint, shards)
    if _finished(out, work):
        return out
    refuse_foreign(out, (like.path, *inputs), overwrite=overwrite)
    given, out = out, resolved(out)
    part = out.with_name(f".{out.name}.{work[:16]}.partial")
    try:
        part.mkdir(parents=True, exist_ok=True)
        with held(part), _tidied(part):
            _forget_other_work(out, part)
            _keep(part, {shard.name for shard in shards.values()})
            crew = executor or Threads(workers)
            _write_weights(part, shards, like, tensor, crew, bar or Silent())
            _write_beside(part, shards, like, {**(extra or {}), "README.md": card})
            _write_record(part, record or {}, work)
            _publish(part, out)
    except OSError as failed:
        kept = f"finished files wait in {part}; the same command goes on from there."
        raise DataError(
            f"cannot be written: {failed.strerror or failed}",
            where=str(out),
            remedy=kept if part.is_dir() else "make room, or choose another target.",
        ) from failed
    return given


def refuse_foreign(out: Path, inputs: Sequence[Path], *, overwrite: bool) -> None:
    """Refuse an output folder that holds anything but an earlier output of ours.

    Raises:
        ConfigError: it is a file, holds other files and ``overwrite`` is not set, holds one of
            the inputs or lies in one, or has a name that leaves no room for a temporary one.
    """
    place, folders = resolved(out), [resolved(path) for path in inputs]
    if any(folder.is_relative_to(place) for folder in folders):
        raise ConfigError(
            "is or holds one of the inputs", where=str(out), remedy="write to another folder."
        )
    if any(place.is_relative_to(folder) for folder in folders):
        raise ConfigError(
            "lies in one of the inputs", where=str(out), remedy="write to another folder."
        )
    if len(os.fsencode(place.name)) > LONGEST:
        raise ConfigError(
            f"its name is longer than {LONGEST} bytes", where=str(out), remedy="shorten it."
        )
    if out.exists() and not out.is_dir():
        raise ConfigError("is a file, not a folder", where=str(out))
    present = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    foreign = sorted(present - _recorded(out).keys() - {RECORD})
    if foreign and not overwrite:
        raise ConfigError(
            f"the folder exists and holds {foreign[0]!r}, which no earlier run wrote there",
            where=str(out),
            remedy="choose another folder, or ask for it to be overwritten.",
        )


def resolved(path: Path) -> Path:
    """Give the place that a path leads to.

    Raises:
        ConfigError: it is a link in a circle.
    """
    try:
        return path.resolve()
    except (OSError, RuntimeError) as failed:
        raise ConfigError("is a link in a circle", where=str(path)) from failed


def _work_hash(fingerprint: str, shards: Mapping[str, Shard]) -> str:
    digest = hashlib.sha256(fingerprint.encode())
    for shard in shards.values():
        digest.update(shard.name.encode() + shard.header)
    return digest.hexdigest()


def _recorded(out: Path) -> dict[str, int]:
    found = _record(out).get("files")
    return found if isinstance(found, dict) else {}


def _record(out: Path) -> dict[str, Any]:
    try:
        found = json.loads((out / RECORD).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and "made_by" in found else {}


def _finished(out: Path, work: str) -> bool:
    if _record(out).get("work") != work:
        return False
    sizes = _recorded(out).items()
    return all((out / f).is_file() and (out / f).stat().st_size == n for f, n in sizes)


def _forget_other_work(out: Path, part: Path) -> None:
    for old in out.parent.glob(f".{glob.escape(out.name)}.*.partial"):
        if old != part and old.is_dir():
            with held(old):
                _remove(old)


@contextmanager
def _tidied(part: Path) -> Iterator[None]:
    """Of work that failed, leave the folder only where it holds finished files."""
    try:
        yield
    except BaseException:
        with suppress(OSError):
            part.rmdir()
        raise


def _keep(part: Path, names: Collection[str]) -> None:
    """Remove all but finished shards: a kill may have left any other file half-written."""
    for entry in part.iterdir():
        if entry.is_dir() or entry.name not in names:
            _remove(entry)


def _remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink(missing_ok=True)


def _write_weights(
    part: Path,
    shards: Mapping[str, Shard],
    like: Checkpoint,
    tensor: Tensors,
    executor: Executor,
    bar: Bar,
) -> None:
    open_shards = [s for s in shards.values() if not (part / s.name).is_file()]
    needed, free = sum(shard.size for shard in open_shards), shutil.disk_usage(part).free
    if needed > free:
        raise OSError(28, f"No space left on device: {needed:,} bytes needed, {free:,} free")
    for shard in shards.values():
        if shard not in open_shards:
            bar.advance(shard.size - len(shard.header))
    write_shards(part, open_shards, like, tensor, executor, bar)


def _write_beside(
    part: Path, shards: Mapping[str, Shard], like: Checkpoint, files: Mapping[str, str | bytes]
) -> None:
    for name, source in like.extra_files.items():
        (part / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, part / name)
    if json.loads((part / "config.json").read_text("utf-8")) != like.config:
        write_atomic(part / "config.json", _as_given(like.config))
    if like.index_file:
        write_atomic(part / INDEX, _index(shards, like))
    for name, content in files.items():
        write_atomic(part / name, content)


def _index(shards: Mapping[str, Shard], like: Checkpoint) -> bytes:
    unchanged = all(
        like.headers[source].length and like.stored[name] is like.headers[source].tensors[name]
        for source, names in like.layout.items()
        for name in names
    )
    if unchanged and like.index_file == INDEX:
        return (like.path / INDEX).read_bytes()
    total = sum(shard.size - len(shard.header) for shard in shards.values())
    files = {n: safetensors_name(s) for s, names in like.layout.items() for n in names}
    content = {
        "metadata": {**like.index_metadata, "total_size": total},
        "weight_map": dict(sorted(files.items())),
    }
    return _as_given(content)


def _as_given(content: Mapping[str, Any]) -> bytes:
    """Write JSON of a checkpoint's own; some configs hold infinities."""
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _write_record(part: Path, record: Mapping[str, Any], work: str) -> None:
    files = {p.relative_to(part).as_posix(): p for p in sorted(part.rglob("*")) if p.is_file()}
    content = {
        "made_by": f"imprint {importlib.metadata.version('imprint')}",
        **record,
        "work": work,
        "files": {name: path.stat().st_size for name, path in files.items()},
    }
    write_atomic(part / RECORD, dump_json(content) + "\n")


def _publish(part: Path, out: Path) -> None:
    old = out.with_name(f".{out.name}.replaced")
    _remove(old)
    if out.exists():
        out.rename(old)
    part.rename(out)
    shutil.rmtree(old, ignore_errors=True)
