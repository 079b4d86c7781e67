"""Tensors of one file, each checked as it is taken: there, of the right shape, finite numbers."""

from __future__ import annotations

import pickle
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from imprint.checkpoints.header import AGAIN, read_header
from imprint.errors import CheckpointError, nearest, require

# what torch and zipfile raise for a damaged file
BROKEN = (
    *(RuntimeError, ValueError, EOFError, OSError, KeyError, TypeError, IndexError),
    *(NotImplementedError, AttributeError, OverflowError, MemoryError),
    *(zipfile.BadZipFile, zlib.error),
)


class Tensors:
    """The tensors of a ``.safetensors``, ``.npz`` or ``.pt`` file; no code of a file is run.

    Args:
        file: the file.

    Raises:
        CheckpointError: damaged, of another kind, or holding code.
        DependencyError: torch is not installed.
    """

    def __init__(self, file: Path):
        self.file = file
        self._all = _read(file)
        self._taken: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._all

    @property
    def names(self) -> list[str]:
        """Names of all tensors."""
        return sorted(self._all)

    def shape(self, name: str) -> tuple[int, ...]:
        """Give the shape of a tensor that must be there."""
        return tuple(self._raw(name).shape)

    def take(self, name: str, *shape: int) -> Any:
        """Give a tensor as float32.

        Args:
            name: its name.
            shape: what it must be; one number per axis.

        Raises:
            CheckpointError: it is missing, of another shape, not of numbers, or not finite.
        """
        torch = require("torch", "models")
        found = self._raw(name)
        if tuple(found.shape) != shape:
            raise self.wrong(
                name,
                f"has shape {list(found.shape)} where {list(shape)} is expected",
                "is it the file of another SAE, or of another width?",
            )
        if not (found.is_floating_point() or found.dtype in (torch.int32, torch.int64)):
            raise self.wrong(name, f"holds {found.dtype}, not numbers of an SAE")
        found = found.detach().to(torch.float32)
        if not bool(torch.isfinite(found).all()):
            bad = int((~torch.isfinite(found)).sum())
            raise self.wrong(name, f"holds {bad:,} values that are NaN or infinite", AGAIN)
        return found

    def refuse_rest(self, *ignored: str) -> None:
        """Refuse tensors that were not taken: a variant that is not known here."""
        rest = sorted(set(self._all) - self._taken - set(ignored))
        if rest:
            raise self.wrong(rest[0], "is not known in this format", "which library wrote it?")

    def wrong(self, name: str, problem: str, remedy: str | None = None) -> CheckpointError:
        """Make the error about a tensor."""
        return CheckpointError(problem, where=f"{self.file}, tensor {name!r}", remedy=remedy)

    def _raw(self, name: str) -> Any:
        if name not in self._all:
            raise CheckpointError(
                f"has no tensor {name!r}; {nearest(name, self._all)}", where=str(self.file)
            )
        self._taken.add(name)
        return self._all[name]


def _read(file: Path) -> dict[str, Any]:
    if file.suffix == ".safetensors":
        read_header(file)
        from safetensors.torch import load_file

        require("torch", "models")
        return dict(load_file(file))
    return _npz(file) if file.suffix == ".npz" else _pickled(file)


def _npz(file: Path) -> dict[str, Any]:
    import numpy as np

    torch = require("torch", "models")
    found = {}
    with _damage(file, BROKEN), zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
            with archive.open(name) as held:
                values = np.lib.format.read_array(held, allow_pickle=False)
            found[name.removesuffix(".npy")] = torch.from_numpy(values)
    return found


def _pickled(file: Path) -> dict[str, Any]:
    torch = require("torch", "models")
    try:
        with _damage(file, BROKEN), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it cannot read it refuses
            state = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise CheckpointError(
            "holds more than tensors, and could run code when it is loaded",
            where=str(file),
            remedy="if you trust it, load it yourself and save its tensors as safetensors.",
        ) from None
    if isinstance(state, dict) and len(state) == 1:
        inner = next(iter(state.values()))
        state = inner if isinstance(inner, dict) else state
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise CheckpointError("is not a dictionary of tensors", where=str(file))
    found = {}
    for name, value in state.items():
        if isinstance(value, (int, float)):
            value = torch.tensor(value)
        if not isinstance(value, torch.Tensor):
            problem = f"is a {type(value).__name__}, not a tensor"
            raise CheckpointError(problem, where=f"{file}, tensor {name!r}")
        found[name] = value
    return found


@contextmanager
def _damage(file: Path, kinds: tuple[type[Exception], ...]) -> Iterator[None]:
    try:
        yield
    except kinds as failed:
        said = str(failed).strip().splitlines()
        raise CheckpointError(
            f"cannot be read as weights: {said[0] if said else type(failed).__name__}",
            where=str(file),
            remedy=AGAIN,
        ) from None
