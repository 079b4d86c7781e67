"""Naming a model: ``PATH_OR_REPO[@REVISION][+ADAPTER[@REVISION]]``, and finding it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from imprint.errors import CheckpointError, ConfigError

REPOSITORY = re.compile(r"[\w.-]+(/[\w.-]+)?")
WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
BESIDE = ("*.json", "*.model", "*.txt", "*.jinja", "*.py", "README.md")
UNUSED = ("consolidated*", "original/*", "onnx/*", "openvino/*", "coreml/*")


@dataclass(frozen=True, slots=True)
class Reference:
    """A model that a user named.

    Attributes:
        source: a local folder, or a repository (``org/name``).
        revision: branch, tag or commit of a repository.
        adapter: a LoRA adapter to merge over it, itself a reference.
    """

    source: str
    revision: str | None = None
    adapter: Reference | None = None

    def __str__(self) -> str:
        text = f"{self.source}@{self.revision}" if self.revision else self.source
        return f"{text}+{self.adapter}" if self.adapter else text


def parse_reference(text: str) -> Reference:
    """Read a model's name; a local path wins.

    A path may itself hold ``@`` and ``+``: the whole text is tried as a path first, then the
    longest beginning of it that is one.

    >>> str(parse_reference("org/name@main+org/lora@v1").adapter)
    'org/lora@v1'

    Raises:
        ConfigError: the text is empty or fits no form, or two readings of it both exist on disk.
    """
    readings = list(_readings(text))
    local = [reading for reading in readings if exists(reading.source)]
    whole = [r for r in local if r.revision is None and _adapter_stands(r)]
    if len(whole) > 1:
        shown = " and ".join(f"({', '.join(_parts(r))})" for r in whole)
        raise ConfigError(
            f"{text!r} can be read in {len(whole)} ways, which all exist: {shown}",
            remedy="rename or move one of the folders, or name it by a link.",
        )
    if local:
        return (whole or local)[0]
    hosted = [reading for reading in readings if REPOSITORY.fullmatch(reading.source)]
    if not hosted:
        raise ConfigError(
            f"{text!r} names no folder here and no repository",
            remedy="write PATH_OR_REPO[@REVISION][+ADAPTER[@REVISION]].",
        )
    return hosted[-1]


def locate(reference: Reference) -> Path:
    """Find the folder of a model (not of its adapter), downloading a repository where needed.

    Raises:
        CheckpointError: the path is no folder, or the repository cannot be had.
    """
    path = Path(reference.source)
    if exists(reference.source) and path.is_dir():
        if reference.revision is not None:
            raise CheckpointError(
                f"is a local folder and has no revision {reference.revision!r}",
                where=str(path),
                remedy="leave the revision out.",
            )
        return path
    if exists(reference.source):
        raise CheckpointError("is a file", where=str(path), remedy="name the folder that holds it.")
    return _snapshot(reference)


def exists(path: str) -> bool:
    """Whether a text names something on disk; what no path can be does not."""
    return os.path.exists(path)  # noqa: PTH110 - a name too long for a path is no error here


def _readings(text: str) -> Iterator[Reference]:
    """Give every way to cut the text, those with the longest source first."""
    for end in (len(text), *(at for at in range(len(text) - 1, 0, -1) if text[at] in "@+")):
        source, rest = text[:end], text[end:]
        if not rest:
            if source:
                yield Reference(source)
        elif rest.startswith("+"):
            yield from (Reference(source, None, a) for a in _adapters(rest[1:]))
        else:
            revision, plus, adapter = rest[1:].partition("+")
            if revision and "@" not in revision:
                if not plus:
                    yield Reference(source, revision)
                yield from (Reference(source, revision, a) for a in _adapters(adapter))


def _adapters(text: str) -> Iterator[Reference]:
    """Give an adapter's readings: a path as it stands first, then ``NAME@REVISION``."""
    if not text:
        return
    name, at, revision = text.rpartition("@")
    if exists(text) or not at:
        yield Reference(text)
    if name and revision and not (exists(text) and not exists(name)):
        yield Reference(name, revision)


def _adapter_stands(reading: Reference) -> bool:
    return reading.adapter is None or (
        reading.adapter.revision is None and exists(reading.adapter.source)
    )


def _parts(reading: Reference) -> list[str]:
    adapter = [f"adapter {str(reading.adapter)!r}"] if reading.adapter else []
    return [f"model {reading.source!r}", *adapter]


def _snapshot(reference: Reference) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    def fetch(*patterns: str) -> Path:
        return Path(
            snapshot_download(
                reference.source,
                revision=reference.revision,
                allow_patterns=list(patterns),
                ignore_patterns=list(UNUSED),
            )
        )

    named = str(Reference(reference.source, reference.revision))
    try:
        folder = fetch(*WEIGHTS, *BESIDE)
        return folder if any(folder.glob("*.safetensors")) else fetch("*.bin", *BESIDE)
    except (OSError, HFValidationError) as failed:
        first = str(failed).strip().splitlines()[0] if str(failed).strip() else ""
        raise CheckpointError(
            f"no such folder here, and it cannot be had as a repository ({type(failed).__name__}: "
            f"{first})",
            where=named,
            remedy="check the name and revision; offline, download it first or give its folder.",
        ) from failed
