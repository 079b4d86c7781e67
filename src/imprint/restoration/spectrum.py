"""The spectrum of a change: how many directions it has, beside a shuffle of the same entries."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from imprint.checkpoints import Checkpoint
from imprint.checkpoints.dtypes import Float32
from imprint.errors import CheckpointError
from imprint.executors import Executor
from imprint.progress import Bar, Silent
from imprint.restoration.kept import Unit
from imprint.restoration.sections import Ahead, sections
from imprint.restoration.sites import Group, Site, change
from imprint.restoration.spectral import matrix_of, threshold
from imprint.stats.products import one_blas_thread

Row = dict[str, Any]
PLACE = {
    "tuned": pl.Int64,
    "tensor": pl.String,
    "matrix": pl.Int64,
    "layer": pl.Int64,
    "module": pl.String,
    "rows": pl.Int64,
    "columns": pl.Int64,
    "change_norm": pl.Float64,
}
SECTION = 1 << 24  # weights of the matrices that are kept together: about a minute's work


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


@dataclass(frozen=True, slots=True)
class Work:
    """One matrix whose change is decomposed.

    Attributes:
        number: of the tuned checkpoint.
        group, site: where it lies.
        matrix: its number in a stack of experts, else 0.
        shape: rows and columns.
    """

    number: int
    group: Group
    site: Site
    matrix: int
    shape: tuple[int, int]

    def __str__(self) -> str:
        return self.site.name


def matrices(tuned: Sequence[Checkpoint], groups: Sequence[Group]) -> list[Work]:
    """List the matrices of a region, the tuned checkpoints in their order."""
    return [
        Work(number, group, site, matrix, shape)
        for number in range(len(tuned))
        for group in groups
        for site in group.sites
        if number in site.tuned and (shape := matrix_of(site.shape))
        for matrix in range(site.elements // math.prod(shape))
    ]


def spectrum_rows(
    base: Checkpoint,
    tuned: Sequence[Checkpoint],
    groups: Sequence[Group],
    seed: int,
    executor: Executor,
    *,
    unit: Unit | None = None,
    bar: Bar | None = None,
) -> list[Row]:
    """Describe the change of every matrix, each beside a shuffle of its entries.

    Args:
        base, tuned: the checkpoints.
        groups: what lies in the region; what is no matrix is passed over.
        seed: of the shuffles.
        executor: works on several matrices at the same time, one in memory for each.
        unit: keeps sections of rows, as `imprint.runs.Run.unit`.
        bar: told of matrices.

    Returns:
        One row per tuned checkpoint and matrix, the checkpoints in their order: ``tuned`` (its
        number), ``tensor``, ``matrix`` (its number in a stack of experts), ``layer``, ``module``,
        ``rows``, ``columns``, ``change_norm`` (Frobenius), the fields of `Spectrum`, and the same
        fields of the shuffle as ``null_…``.

    Raises:
        CheckpointError: values that are not finite, or singular values that cannot be found.
    """
    found, bar = matrices(tuned, groups), bar or Silent()
    ahead: Ahead[Work, Row] = Ahead(executor, partial(_row, base, tuned, seed), found)

    def section(part: range) -> Iterator[Row]:
        for row in ahead.take(part):
            yield row
            bar.advance()

    rows: list[Row] = []
    with one_blas_thread():
        for number, part in enumerate(sections([math.prod(w.shape) for w in found], SECTION)):
            rows += _kept(unit, f"spectrum-{number:04}", partial(section, part))
            if ahead.stop != part.stop:  # an earlier run has done it
                bar.advance(len(part))
    return rows


def _kept(unit: Unit | None, name: str, find: Callable[[], Iterator[Row]]) -> list[Row]:
    if unit is None:
        return list(find())
    return unit(name, lambda: {"rows": rows_frame(find())})["rows"].to_dicts()


def rows_frame(rows: Iterable[Row]) -> pl.DataFrame:
    """Give the rows of ``spectrum_rows`` as a frame with fixed types, also where there are none."""
    described = {
        f"{null}{field.name}": pl.Int64 if field.name == "above_noise" else pl.Float64
        for null in ("", "null_")
        for field in fields(Spectrum)
    }
    return pl.DataFrame(list(rows), schema={**PLACE, **described})


def _row(base: Checkpoint, tuned: Sequence[Checkpoint], seed: int, work: Work) -> Row:
    site, size = work.site, math.prod(work.shape)
    span = work.matrix * size, (work.matrix + 1) * size
    delta = change(base, tuned[work.number], site, work.number, *span).reshape(work.shape)
    null = shuffled(delta, seed, f"{site.name} {work.matrix}")
    return {
        "tuned": work.number,
        "tensor": site.name,
        "matrix": work.matrix if len(site.shape) == 3 else None,
        "layer": work.group.layer,
        "module": work.group.module,
        "rows": work.shape[0],
        "columns": work.shape[1],
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
