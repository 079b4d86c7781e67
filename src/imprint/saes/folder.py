"""What lies where an SAE is said to be: files by name, and settings read strictly."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from imprint.checkpoints.index import read_object
from imprint.errors import CheckpointError
from imprint.saes.tensors import Tensors

LARGEST = 1e30  # more is no size, norm or threshold of anything
WEIGHTS = (".safetensors", ".npz", ".pt", ".pth")


@dataclass(frozen=True)
class Folder:
    """A folder that holds one SAE, or a file in it.

    Attributes:
        path: the folder.
        named: how the user named it.
        chosen: the weights that the user chose, where a file was named.
        k: how many latents fire, where the user says so.
    """

    path: Path
    named: str
    chosen: str | None = None
    k: int | None = None

    @cached_property
    def weights(self) -> list[str]:
        """Names of files with weights, a step down for ``checkpoints/final.safetensors``."""
        if self.chosen:
            return [self.chosen]
        found = [p.name for p in self.path.iterdir() if p.is_file() and p.suffix in WEIGHTS]
        if (self.path / "checkpoints" / "final.safetensors").is_file():
            found.append("checkpoints/final.safetensors")
        return sorted(found)

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return (self.path / name).is_file()

    def settings(self, name: str) -> Settings:
        """Read a JSON file.

        Raises:
            CheckpointError: it is missing or not a JSON object.
        """
        file = self.path / name
        if not file.is_file():
            raise CheckpointError(f"has no {name}", where=str(self.path))
        return Settings(read_object(file), file)

    def tensors(self, name: str) -> Tensors:
        """Read a file of weights; it is read once."""
        if name not in self.read:
            self.read[name] = Tensors(self.path / name)
        return self.read[name]

    def pickled(self) -> Tensors | None:
        """Give the one pickled file that is chosen or lies here; ``None`` where there is none."""
        found = [name for name in self.weights if name.endswith((".pt", ".pth"))]
        return self.tensors(found[0]) if len(found) == 1 else None

    @cached_property
    def read(self) -> dict[str, Tensors]:
        """The files of weights that were read."""
        return {}

    def search(self, pattern: str) -> re.Match[str] | None:
        """Look for a pattern in the names of files, then of the folders above, nearest first."""
        at = self.path.absolute()
        names = [*self.weights, *(p.name for p in (at, *at.parents)), self.named]
        return next((m for name in names if (m := re.search(pattern, name))), None)


class Settings:
    """A JSON object whose values are taken with their types checked."""

    def __init__(self, values: dict[str, Any], file: Path, inside: str = ""):
        self.values, self.file, self._inside = values, file, inside

    def __contains__(self, key: str) -> bool:
        return self.values.get(key) is not None

    def text(self, key: str, default: str | None = None) -> str | None:
        """Give a text, or the default where there is none."""
        found: str | None = self._typed(key, str, default)
        return found

    def number(self, key: str, default: float | None = None) -> float | None:
        """Give a number above zero."""
        found: float | None = self._typed(key, (int, float), default)
        if found is None:
            return None
        if not 0 < found < LARGEST:
            raise self.wrong(key, f"is {found!r:.80}, not a number above 0")
        return float(found)

    def count(self, key: str, default: int | None = None) -> int | None:
        """Give a whole number from 0."""
        found: int | None = self._typed(key, int, default)
        if found is not None and found < 0:
            raise self.wrong(key, f"is {found}, less than 0")
        return found

    def flag(self, key: str, default: bool | None = None) -> bool | None:
        """Give true or false."""
        found: bool | None = self._typed(key, bool, default)
        return found

    def part(self, key: str) -> Settings:
        """Give an object inside; empty where there is none."""
        return Settings(self._typed(key, dict, {}), self.file, f"{self._inside}{key}.")

    def needed(self, key: str, problem: str = "") -> CheckpointError:
        """Make the error about a key that is missing."""
        return self.wrong(key, problem or "is missing")

    def wrong(self, key: str, problem: str, remedy: str | None = None) -> CheckpointError:
        """Make the error about a key."""
        return CheckpointError(problem, where=f"{self.file}, {self._inside}{key}", remedy=remedy)

    def _typed(self, key: str, kind: Any, default: Any) -> Any:
        found = self.values.get(key)
        if found is None:
            return default
        if not isinstance(found, kind) or (isinstance(found, bool) and kind is not bool):
            raise self.wrong(key, f"is {found!r:.80}, which is of the wrong kind")
        return found
