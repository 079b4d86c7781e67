"""A model's weights on disk, seen tensor by tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from imprint.checkpoints.dtypes import FLOATS, Array, Float32, to_float32
from imprint.checkpoints.header import Header, TensorInfo
from imprint.checkpoints.index import Index, read_index, read_object
from imprint.checkpoints.quantised import block_scales, block_shape, dequantise
from imprint.checkpoints.reading import map_values, read_values
from imprint.checkpoints.reference import Reference
from imprint.checkpoints.regions import is_buffer
from imprint.checkpoints.ties import find_aliases
from imprint.errors import CheckpointError, nearest

CHUNK = 1 << 20
CARRIED = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "additional_chat_templates/*.jinja",
    "*preprocessor_config.json",
    "processor_config.json",
    "*.tiktoken",
    "*.spm",
    "*.py",
    "LICENSE*",
    "NOTICE*",
)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A frozen view of a folder of weights; nothing is loaded until it is asked for.

    Attributes:
        path: the folder.
        reference: how it was named.
        config: ``config.json``.
        tensors: every weight once, in order of files and of data; tied copies and block scales are
            left out.
        stored: every tensor on disk, in the same order.
        aliases: name → the name in ``tensors`` that holds the same weights.
        scales: float8 weight → its block scales; such a checkpoint is read, never written.
        layout: file name → names stored in it.
        headers: file name → its header.
        index_file, index_metadata: the index beside the shards, where there is one.
        extra_files: what goes along with the weights: relative name → file.
    """

    path: Path
    reference: Reference
    config: dict[str, Any]
    tensors: dict[str, TensorInfo]
    stored: dict[str, TensorInfo]
    aliases: dict[str, str]
    scales: dict[str, str]
    layout: dict[str, tuple[str, ...]]
    headers: dict[str, Header]
    index_file: str | None = None
    index_metadata: dict[str, Any] = field(default_factory=dict)
    extra_files: dict[str, Path] = field(default_factory=dict)

    @property
    def parameters(self) -> int:
        """The number of weights, tied ones once, constants left out."""
        return sum(
            info.elements
            for name, info in self.tensors.items()
            if info.dtype in FLOATS and not is_buffer(name)
        )

    @property
    def metadata(self) -> dict[str, dict[str, str]]:
        """The ``__metadata__`` of each file."""
        return {file: header.metadata for file, header in self.headers.items()}

    @property
    def restorable(self) -> bool:
        """Whether weights can be written back in their type (not so with block scales)."""
        return not self.scales

    def info(self, name: str) -> TensorInfo:
        """Find a tensor, also by an alias.

        Raises:
            CheckpointError: no such tensor.
        """
        found = self.tensors.get(self.aliases.get(name, name)) or self.stored.get(name)
        if found is None:
            raise CheckpointError(
                f"has no tensor {name!r}; {nearest(name, self.tensors)}", where=str(self.path)
            )
        return found

    def raw(self, name: str) -> Array:
        """Map a tensor into memory, read-only, in its shape and storage type.

        bfloat16 comes as ``uint16``, float8 as ``uint8``.
        """
        return map_values(self.info(name))

    def read(self, name: str, start: int = 0, stop: int | None = None) -> Array:
        """Read a flat range in the storage type, [stop - start]."""
        return self._reader(name)(start, self.info(name).elements if stop is None else stop)

    def chunks(
        self, name: str, elements: int = CHUNK, *, start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[int, Float32]]:
        """Give a tensor as float32 in flat order, piece by piece.

        Args:
            name: the tensor.
            elements: values per piece; the last may be shorter.
            start, stop: the flat range, by default the whole tensor.

        Yields:
            The flat index of the piece's first value, and its values.
        """
        read = self._reader(name)
        stop = self.info(name).elements if stop is None else stop
        for at in range(start, stop, elements):
            yield at, self.to_float32(name, read(at, min(at + elements, stop)), at)

    def float32(self, name: str) -> Float32:
        """Give a whole tensor as float32 in its shape."""
        return self.to_float32(name, self.read(name)).reshape(self.info(name).shape)

    def to_float32(self, name: str, values: Array, start: int = 0) -> Float32:
        """Give storage values of a flat range as float32, block scales applied.

        Args:
            name: the tensor they belong to.
            values: one dimension, as ``read`` gives them.
            start: the flat index of the first.
        """
        info = self.info(name)
        if info.name in self.scales:
            scale = self.stored[self.scales[info.name]]
            return dequantise(values, info, scale, block_shape(self.config), start)
        return to_float32(values, info.dtype)

    def refuse_not_finite(self, name: str, chunk: Float32, start: int = 0) -> None:
        """Refuse values that are NaN or infinite.

        Args:
            name: the tensor.
            chunk: some of its values.
            start: the flat index of the first, for the message.

        Raises:
            CheckpointError: naming file, tensor and the first such value.
        """
        with np.errstate(all="ignore"):
            if np.isfinite(np.add.reduce(chunk, axis=None)):
                return
        wrong = np.flatnonzero(~np.isfinite(chunk))
        if len(wrong):  # a sum may also overflow on finite values
            rounded = " in float32" if self.info(name).dtype == "F64" else ""
            raise CheckpointError(
                f"holds {chunk.reshape(-1)[wrong[0]]}{rounded} "
                f"at flat index {start + int(wrong[0])} "
                f"({len(wrong)} such values in {chunk.size} looked at)",
                where=self.info(name).where,
                remedy="the training diverged or the file is damaged; use another checkpoint.",
            )

    def _reader(self, name: str) -> Callable[[int, int], Array]:
        return partial(read_values, self.info(name))


def open_folder(folder: Path, reference: Reference | None = None) -> Checkpoint:
    """Open a folder of weights; headers and config are read and checked, no data.

    Only where both copies of a tied embedding are stored are these compared.

    Raises:
        CheckpointError: anything damaged, missing, or of a layout that is not read.
    """
    index = read_index(folder)
    config = read_object(folder / "config.json")
    scales = block_scales(config, index.stored, folder)
    aliases = find_aliases(index, config)
    return Checkpoint(
        path=folder,
        reference=reference or Reference(str(folder)),
        config=config,
        tensors=_once(index, aliases, scales),
        stored=index.stored,
        aliases=aliases,
        scales=scales,
        layout=index.layout,
        headers=index.headers,
        index_file=index.file,
        index_metadata=index.metadata,
        extra_files=carried_files(folder),
    )


def carried_files(folder: Path) -> dict[str, Path]:
    """Find what goes along with weights: config, tokenizer, chat template, code, licence."""
    found = {path for pattern in CARRIED for path in folder.glob(pattern) if path.is_file()}
    return {path.relative_to(folder).as_posix(): path for path in sorted(found)}


def _once(
    index: Index, aliases: Mapping[str, str], scales: Mapping[str, str]
) -> dict[str, TensorInfo]:
    left_out = {*aliases, *scales.values()}
    return {name: info for name, info in index.stored.items() if name not in left_out}
