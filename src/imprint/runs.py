"""A run folder: what went in, what came out, and a ledger so that a killed run resumes.

Everything is written to ``.work`` inside the folder and renamed into place when the run is whole.
Until then nothing else in the folder changes. The ledger in ``.work`` holds each finished unit of
work under the run's fingerprint; the same command finds and reuses them.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imprint.errors import ConfigError, DataError

if TYPE_CHECKING:
    import polars as pl

Tables = dict[str, "pl.DataFrame"]
Content = str | bytes | Callable[[Path], None]
PARTS = ("tables", "result.json", "report.html", "summary.md", "manifest.json")
LARGE = 1 << 28  # bytes
VERSIONED = ("numpy", "scipy", "polars", "pyarrow", "altair")


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file so that it appears whole or not at all.

    Raises:
        DataError: the file cannot be written (no permission, disk full); nothing is left behind.
    """
    raw = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as handle:
            handle.write(raw)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    except OSError as failed:
        with suppress(OSError):
            temporary.unlink()
        raise DataError(f"cannot be written: {failed.strerror}", where=str(path)) from failed


def file_hash(path: Path) -> str:
    """Give the sha256 of a file's content, in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def file_identity(path: Path) -> dict[str, Any]:
    """Tell a file apart from others: path, size, and the sha256 of its content.

    Hashing the weights of a large model takes longer than comparing them. Of files beyond ``LARGE``
    the time of the last change and the sha256 of 64 evenly spaced megabytes are taken instead.
    """
    about = path.stat()
    found: dict[str, Any] = {"path": str(path), "bytes": about.st_size}
    if about.st_size <= LARGE:
        return {**found, "sha256": file_hash(path)}
    digest, last = hashlib.sha256(), about.st_size - (1 << 20)
    with path.open("rb") as handle:
        for piece in range(64):
            handle.seek(last * piece // 63)
            digest.update(handle.read(1 << 20))
    return {**found, "modified_ns": about.st_mtime_ns, "sha256_of_sample": digest.hexdigest()}


def describe_input(entry: Mapping[str, Any]) -> str:
    """Say in a line what ``file_identity`` found."""
    sampled = "sha256" not in entry
    digest = entry["sha256_of_sample"] if sampled else entry["sha256"]
    kind = "sha256 of a sample" if sampled else "sha256"
    return f"{entry['path']}: {entry['bytes']:,} bytes, {kind} {digest}"


def dump_json(value: Any, *, indent: int | None = 2) -> str:
    """Write JSON with NaN and infinities refused, so that any reader can parse it."""
    return json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False, default=str)


@cache
def versions() -> dict[str, str]:
    """Versions of Python, imprint (with a hash of its code) and the libraries that compute."""
    package = Path(__file__).parent
    code = hashlib.sha256()
    for source in sorted(package.rglob("*.py")):
        code.update(source.relative_to(package).as_posix().encode() + source.read_bytes())
    found = {name: importlib.metadata.version(name) for name in VERSIONED}
    ours = f"{importlib.metadata.version('imprint')}+{code.hexdigest()[:12]}"
    return {"python": platform.python_version(), "imprint": ours, **found}


class Run:
    """One run of one job into one folder.

    Args:
        out: the folder; made if absent. An earlier run of the same job in it is replaced when this
            one is whole; a run of another job is refused.
        job: name of the job (``transfer``).
        settings: everything that changes what the numbers mean, JSON-serialisable.
        inputs: files read; their hashes enter the fingerprint. Folders are hashed file by file.
        seed: the seed, recorded with the settings.
        parts: further names that the run writes into the folder.

    Raises:
        ConfigError: the folder holds a run of another job or files that a run would replace, is a
            file, or cannot be written.
    """

    def __init__(
        self,
        out: Path,
        job: str,
        settings: Mapping[str, Any],
        inputs: Iterable[Path] = (),
        *,
        seed: int = 0,
        parts: Iterable[str] = (),
    ):
        self.out, self.job, self.seed = out, job, seed
        self._parts = (*PARTS, *parts)
        self.settings = dict(settings)
        self.started = time.time()
        self.timings: dict[str, float] = {}
        self.resumed: list[str] = []
        self.facts: dict[str, Any] = {}  # further ones for the manifest
        self._work = out / ".work"
        try:
            self._refuse_unfit()
            self._refuse_foreign()
        except OSError as failed:
            raise ConfigError(f"cannot be used: {failed.strerror}", where=str(out)) from failed
        self.inputs = [file_identity(path) for path in _files(inputs)]
        self.fingerprint = self._fingerprint()
        self._ledger = self._work / self.fingerprint[:16]
        self._forget_other_runs()

    def unit(self, name: str, compute: Callable[[], Tables]) -> Tables:
        """Do one unit of work, or take its result from the ledger of a run that was cut short.

        Args:
            name: names the unit; letters, digits, ``.``, ``-`` and ``_``.
            compute: gives named frames. It must depend on the run's settings and inputs alone.

        Raises:
            DataError: the result cannot be written.
        """
        import polars as pl

        folder = self._ledger / name
        if (folder / "done").is_file():
            self.resumed.append(name)
            found = sorted(folder.glob("*.parquet"))
            return {path.stem: pl.read_parquet(path) for path in found}
        begun = time.perf_counter()
        tables = compute()
        self.timings[name] = round(time.perf_counter() - begun, 3)
        with self._writing():
            folder.mkdir(parents=True, exist_ok=True)
            for key, frame in tables.items():
                frame.write_parquet(folder / f"{key}.parquet")
            write_atomic(folder / "done", "")
        return tables

    def finish(
        self, *, tables: Tables, files: Mapping[str, Content], notes: Mapping[str, Any]
    ) -> None:
        """Write everything and rename it into place.

        Args:
            tables: name → frame, written to ``tables/NAME.parquet`` with the fingerprint inside.
            files: file name → content (``result.json``, ``report.html``, ``summary.md``), or a
                function that writes a file too large to hold.
            notes: further facts for the manifest.

        Raises:
            DataError: something cannot be written; the folder stays as it was.
        """
        staged = self._work / "staged"
        shutil.rmtree(staged, ignore_errors=True)
        with self._writing():
            (staged / "tables").mkdir(parents=True)
            for name, frame in tables.items():
                frame.write_parquet(
                    staged / "tables" / f"{name}.parquet",
                    metadata={"imprint_run": self.fingerprint, "imprint_job": self.job},
                )
            for name, content in files.items():
                if callable(content):
                    (staged / name).parent.mkdir(parents=True, exist_ok=True)
                    content(staged / name)
                else:
                    write_atomic(staged / name, content)
            made = sorted(entry.name for entry in staged.iterdir())
            manifest = {**self.manifest(notes), "files": made}
            write_atomic(staged / "manifest.json", dump_json(manifest))
            self._publish(staged)
        shutil.rmtree(self._work, ignore_errors=True)

    def manifest(self, notes: Mapping[str, Any]) -> dict[str, Any]:
        """Tell how the run came about: settings, inputs, versions, timings, peak memory."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {
            "job": self.job,
            "fingerprint": self.fingerprint,
            "command": sys.argv,
            "settings": self.settings,
            "seed": self.seed,
            "inputs": self.inputs,
            "versions": versions(),
            "platform": platform.platform(),
            "started": datetime.fromtimestamp(self.started, UTC).isoformat(timespec="seconds"),
            "seconds": round(time.time() - self.started, 3),
            "timings": self.timings,
            "resumed": self.resumed,
            "peak_memory_bytes": peak * (1 if sys.platform == "darwin" else 1024),
            **self.facts,
            **notes,
        }

    def _fingerprint(self) -> str:
        facts = {
            "job": self.job,
            "settings": self.settings,
            "seed": self.seed,
            "inputs": [{**i, "path": Path(i["path"]).name} for i in self.inputs],
            "versions": versions(),
        }
        return hashlib.sha256(dump_json(facts, indent=None).encode()).hexdigest()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        import polars as pl

        try:
            yield
        except (OSError, pl.exceptions.PolarsError) as failed:
            problem = f"cannot be written: {str(failed).splitlines()[0]}"
            remedy = "make room or choose another --out; the same command resumes."
            raise DataError(problem, where=str(self.out), remedy=remedy) from failed

    def _refuse_unfit(self) -> None:
        there = next(path for path in (self.out, *self.out.absolute().parents) if path.exists())
        if self._work.exists() and not self._work.is_dir():
            there = self._work
        problem = None
        if self.out.is_symlink() and not self.out.exists():
            problem, there = "is a link to nothing", self.out
        elif not there.is_dir():
            problem = "is a file, not a folder"
        elif not os.access(there, os.W_OK | os.X_OK):
            problem = "cannot be written"
        if problem:
            raise ConfigError(problem, where=str(there), remedy="choose another --out.")

    def _refuse_foreign(self) -> None:
        manifest = self.out / "manifest.json"
        taken = [name for name in self._parts if (self.out / name).exists()]
        if not manifest.is_file():
            # a run that was cut off while its parts were put in place has left its work behind
            if taken and not self._work.is_dir():
                raise ConfigError(
                    f"the folder has {taken[0]!r}, which no run of imprint wrote",
                    where=str(self.out),
                    remedy="choose another --out.",
                )
            return
        try:
            job = json.loads(manifest.read_text()).get("job")
        except (ValueError, AttributeError, OSError):
            job = None
        if job != self.job:
            raise ConfigError(
                f"the folder holds something else than a run of `imprint {self.job}`",
                where=str(self.out),
                remedy="choose another --out, or remove the folder.",
            )

    def _forget_other_runs(self) -> None:
        if self._work.is_dir():
            for entry in self._work.iterdir():
                if entry != self._ledger:
                    shutil.rmtree(entry, ignore_errors=True)

    def _publish(self, staged: Path) -> None:
        old = self._work / "old"
        old.mkdir(exist_ok=True)
        made = {entry.name for entry in staged.iterdir()}
        folders = {name for name in made if (staged / name).is_dir()}
        stale = self._earlier() - made
        # without a manifest the folder is no finished run: it goes first and comes last
        for name in ("manifest.json", *sorted(folders | stale)):
            if (self.out / name).exists():
                shutil.rmtree(old / name, ignore_errors=True)
                (self.out / name).replace(old / name)
        for entry in sorted(staged.iterdir(), key=lambda e: e.name == "manifest.json"):
            entry.replace(self.out / entry.name)

    def _earlier(self) -> set[str]:
        """Name what the run that this one replaces has written."""
        try:
            listed = json.loads((self.out / "manifest.json").read_bytes()).get("files", [])
        except (OSError, ValueError, AttributeError):
            return set()
        names = {name for name in listed if isinstance(name, str)}
        return {name for name in names if Path(name).name == name and not name.startswith(".")}


def _files(inputs: Iterable[Path]) -> list[Path]:
    found: list[Path] = []
    for path in inputs:
        found += sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return found
