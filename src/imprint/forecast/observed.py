"""Changes that were observed after SFT, where they are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from imprint.errors import ConfigError, DataError, nearest
from imprint.findings import Finding
from imprint.forecast.material import Text
from imprint.forecast.predicted import Floats
from imprint.formats.own_tables import read_scores
from imprint.tables import Column, Schema, conform, load_frame, row_place

CHANGES = Schema(
    "observed changes",
    (
        Column("domain", "str", "the domain", required=True),
        Column(
            "change", "float", "score after less score before", required=True, low=-1e6, high=1e6
        ),
        Column("se", "float", "its standard error", low=0),
        Column("base_accuracy", "float", "accuracy before SFT", low=0, high=1),
        Column("sft", "str", "the SFT set it follows, where there are several"),
    ),
    key=("domain", "sft"),
)


@dataclass(frozen=True, eq=False)
class Observed:
    """Observed changes.

    Attributes:
        domains: their names, [D].
        change: score after less score before, [D], in any one unit.
        se: its standard error, [D], ``None`` where not all are known.
    """

    domains: tuple[str, ...]
    change: Floats
    se: Floats | None = None

    def only(self, kept: Sequence[int]) -> Observed:
        """Keep some domains, in the order given."""
        at = list(kept)
        se = None if self.se is None else self.se[at]
        return Observed(tuple(self.domains[n] for n in at), self.change[at], se)


def read_observed(paths: Sequence[Path]) -> dict[str | None, Observed]:
    """Read observed changes.

    Args:
        paths: one table with ``domain``, ``change`` and optionally ``se`` and ``sft``; or two
            tables of scores, before and after, whose benchmarks are the domains.

    Returns:
        SFT set → changes; the key ``None`` holds changes that name no set.

    Raises:
        ConfigError: more than two tables.
        DataError: a table that cannot be used, or a domain twice.
    """
    if len(paths) > 2:
        raise ConfigError(
            f"--observed is given {len(paths)} times",
            remedy="give one table of changes, or two of scores: before and after.",
        )
    if len(paths) == 2:
        return {None: _from_scores(*paths)}
    frame, _ = conform(load_frame(paths[0]), CHANGES, paths[0])
    if "sft" not in frame.columns:
        frame = frame.with_columns(sft=pl.lit(None, dtype=pl.String))
    _refuse_twice(frame, paths[0])
    parts = frame.partition_by("sft", maintain_order=True, as_dict=True)
    return {key[0]: _changes(part) for key, part in parts.items()}


def accuracy_before(paths: Sequence[Path]) -> dict[str, float]:
    """Give the accuracy of each domain before SFT, where tables of scores or a column tell it."""
    if len(paths) == 2:
        frame = _accuracies(paths[0]).rename({"benchmark": "domain", "accuracy": "base_accuracy"})
    elif paths:
        frame, _ = conform(load_frame(paths[0]), CHANGES, paths[0])
    if not paths or "base_accuracy" not in frame.columns:
        return {}
    known = frame.drop_nulls("base_accuracy").unique("domain", keep="first", maintain_order=True)
    return {row["domain"]: row["base_accuracy"] for row in known.iter_rows(named=True)}


def _refuse_twice(frame: pl.DataFrame, path: Path) -> None:
    twice = frame.select("domain", "sft").is_duplicated().arg_true()
    if len(twice):
        row = int(twice[1])
        raise DataError(
            f"the domain {frame['domain'][row]!r} has two changes",
            where=row_place(path, row),
            remedy="name the SFT set of each in a column `sft`, or leave one out.",
        )


def _changes(frame: pl.DataFrame) -> Observed:
    known = "se" in frame.columns and not frame["se"].null_count()
    return Observed(
        tuple(frame["domain"]),
        frame["change"].to_numpy().astype(np.float64),
        frame["se"].to_numpy().astype(np.float64) if known else None,
    )


def _from_scores(before: Path, after: Path) -> Observed:
    sides = [_accuracies(path) for path in (before, after)]
    both = sides[0].join(sides[1], on="benchmark", suffix="_after", maintain_order="left")
    if both.is_empty():
        raise DataError(
            f"shares no benchmark with {after}",
            where=str(before),
            remedy="both tables must score the same benchmarks, which are the domains.",
        )
    change = both.select(
        pl.col("accuracy_after") - pl.col("accuracy"),
        se=(pl.col("se").pow(2) + pl.col("se_after").pow(2)).sqrt(),
    )
    known = not change["se"].null_count()
    return Observed(
        tuple(both["benchmark"]),
        change["accuracy_after"].to_numpy(),
        change["se"].to_numpy() if known else None,
    )


def _accuracies(path: Path) -> pl.DataFrame:
    """Mean accuracy of each benchmark; rows of one benchmark are replicates."""
    frame, _ = read_scores(path)
    if "accuracy" not in frame.columns:
        raise DataError("has no column 'accuracy'", where=str(path))
    error = pl.col("accuracy_se") if "accuracy_se" in frame.columns else pl.lit(None, pl.Float64)
    return frame.group_by("benchmark", maintain_order=True).agg(
        pl.col("accuracy").mean(),
        se=pl.when(error.null_count() == 0).then(error.pow(2).sum().sqrt() / pl.len()),
    )


def changes_elsewhere(paths: Sequence[Path]) -> dict[str, dict[str, float]]:
    """Read changes that were seen elsewhere, each table under its file's name."""
    found = {}
    for path in paths:
        for sft, seen in read_observed([path]).items():
            name = path.stem if sft is None else f"{path.stem} {sft}"
            found[name] = dict(zip(seen.domains, map(float, seen.change), strict=True))
    return found


def observed_of(
    paths: Sequence[Path], sets: list[str], texts: Sequence[Text], findings: list[Finding]
) -> dict[str, Observed]:
    """Read the observed changes of every SFT set.

    Raises:
        DataError: it cannot be told which set they follow, or no domain is among them.
    """
    if not paths:
        return {}
    found = read_observed(paths)
    if None in found and len(sets) > 1:
        raise DataError(
            f"observed changes do not say which of the {len(sets)} SFT sets they follow",
            where=str(paths[0]),
            remedy="add a column `sft` with the name of the set: " + ", ".join(sets[:6]) + ".",
        )
    for name in found:
        if name is not None and name not in sets:
            raise DataError(
                f"observed changes of the SFT set {name!r}; {nearest(name, sets)}",
                where=str(paths[0]),
            )
    named = {(sets[0] if name is None else name): changes for name, changes in found.items()}
    domains = list(dict.fromkeys(text.group for text in texts))
    for changes in named.values():
        _compare_names(changes, domains, str(paths[0]), findings)
    return named


def _compare_names(
    changes: Observed, domains: list[str], where: str, findings: list[Finding]
) -> None:
    shared = [name for name in domains if name in changes.domains]
    if not shared:
        raise DataError(
            f"no observed change belongs to a domain; {nearest(domains[0], changes.domains)}",
            where=where,
            remedy="domains must have the same names in --domains and --observed.",
        )
    apart = sorted(set(changes.domains) ^ set(domains))
    if apart:
        detail = f"{len(apart)} domains stand on one side only: {', '.join(apart[:8])}"
        findings.append(Finding("unobserved", detail, count=len(apart)))
