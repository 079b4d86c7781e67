"""The spectrum of a change: how many directions it has, beside a shuffle of the same entries."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from imprint.checkpoints import Checkpoint
from imprint.checkpoints.dtypes import Float32
from imprint.errors import CheckpointError
from imprint.executors import Executor
from imprint.restoration.sites import Group, Site, change
from imprint.restoration.spectral import matrix_of, threshold
from imprint.stats.products import one_blas_thread

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Spectrum:
    """What the singular values of a matrix look like; a change of nothing has none (``None``).

    Attributes:
        effective_rank: exponential of the entropy of the values over their sum (Roy and Vetterli
            2007), from 1 to the shorter side.
        stable_rank: ‖Δ‖² / σ₁².
        share_1, share_8, share_64: of ‖Δ‖² in the first values.
        above_noise: values above the threshold of spectral repair at strength 1.
    """

    effective_rank: float | None
    stable_rank: float | None
    share_1: float | None
    share_8: float | None
    share_64: float | None
    above_noise: int | None


def singular_values(matrix: Float32) -> Float32:
    """Give the singular values, descending, [shorter side], in float32 (LAPACK gesdd).

    Args:
        matrix: [rows, columns], finite.

    Raises:
        numpy.linalg.LinAlgError: it does not converge.
    """
    return np.linalg.svd(matrix, compute_uv=False)


def describe(values: Float32, shape: tuple[int, int]) -> Spectrum:
    """Describe singular values.

    Args:
        values: all of them, descending, [shorter side].
        shape: rows and columns.
    """
    wide = values.astype(np.float64)
    if not wide.any():
        return Spectrum(None, None, None, None, None, None)
    parts = wide[wide > 0] / wide.sum()
    squares = np.square(wide / wide[0])
    held = {n: float(squares[:n].sum() / squares.sum()) for n in (1, 8, 64)}
    return Spectrum(
        effective_rank=float(np.exp(-(parts * np.log(parts)).sum())),
        stable_rank=float(squares.sum()),
        share_1=held[1],
        share_8=held[8],
        share_64=held[64],
        above_noise=int(np.count_nonzero(values > threshold(values, shape)[1])),
    )


def shuffled(matrix: Float32, seed: int, name: str) -> Float32:
    """Put the entries in an order that depends on seed and name alone, [rows, columns].

    The entries stay and the structure goes: the null of every number above.
    """
    key = hashlib.sha256(f"{seed} {name}".encode()).digest()
    generator = np.random.default_rng(np.frombuffer(key, np.uint64))
    return generator.permutation(matrix.reshape(-1)).reshape(matrix.shape)


def spectrum_rows(
    base: Checkpoint,
    tuned: Sequence[Checkpoint],
    groups: Sequence[Group],
    seed: int,
    executor: Executor,
) -> list[Row]:
    """Describe the change of every matrix, each beside a shuffle of its entries.

    Args:
        base, tuned: the checkpoints.
        groups: what lies in the region; what is no matrix is passed over.
        seed: of the shuffles.
        executor: works on several matrices at the same time, one in memory for each.

    Returns:
        One row per tuned checkpoint and matrix, the checkpoints in their order: ``tuned`` (its
        number), ``tensor``, ``matrix`` (its number in a stack of experts), ``layer``, ``module``,
        ``rows``, ``columns``, ``change_norm`` (Frobenius), the fields of `Spectrum`, and the same
        fields of the shuffle as ``null_…``.

    Raises:
        CheckpointError: values that are not finite, or singular values that cannot be found.
    """
    work = [
        (number, group, site, matrix)
        for number in range(len(tuned))
        for group in groups
        for site in group.sites
        if number in site.tuned
        for matrix in _matrices(site)
    ]
    with one_blas_thread():
        return list(executor.map_in_order(partial(_row, base, tuned, seed), work))


def _row(
    base: Checkpoint,
    tuned: Sequence[Checkpoint],
    seed: int,
    work: tuple[int, Group, Site, int],
) -> Row:
    number, group, site, matrix = work
    rows, columns = matrix_of(site.shape) or (0, 0)
    size = rows * columns
    found = change(base, tuned[number], site, number, matrix * size, (matrix + 1) * size)
    delta = found.reshape(rows, columns)
    null = shuffled(delta, seed, f"{number} {site.name} {matrix}")
    return {
        "tuned": number,
        "tensor": site.name,
        "matrix": matrix if len(site.shape) == 3 else None,
        "layer": group.layer,
        "module": group.module,
        "rows": rows,
        "columns": columns,
        "change_norm": math.sqrt(np.square(delta, dtype=np.float64).sum()),
        **asdict(_described(delta, site.name)),
        **{f"null_{key}": value for key, value in asdict(_described(null, site.name)).items()},
    }


def _described(matrix: Float32, name: str) -> Spectrum:
    try:
        values = singular_values(matrix)
    except np.linalg.LinAlgError as failed:
        problem = f"the change has no spectrum: {failed}"
        raise CheckpointError(problem, where=f"tensor {name!r}") from None
    return describe(values, (matrix.shape[0], matrix.shape[1]))


def _matrices(site: Site) -> Iterator[int]:
    shape = matrix_of(site.shape)
    yield from range(site.elements // math.prod(shape) if shape else 0)
