"""The scores of a sweep: every point on dev, the choice, and only then test and retain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from imprint.errors import DataError
from imprint.models import Loaded, load
from imprint.progress import Bar, Silent
from imprint.restoration.sweep.config import (
    SPLITS,
    Split,
)
from imprint.restoration.sweep.evaluators import (
    Floats,
    checked,
)
from imprint.restoration.sweep.inputs import Inputs
from imprint.restoration.sweep.memory import Memory
from imprint.restoration.sweep.points import Point
from imprint.restoration.sweep.states import States
from imprint.restoration.sweep.verdict import Comparison, beats, intervals, retains
from imprint.runs import Run, Tables

AGREE = 1e-5  # relative; two calls on equal weights that differ by more are not the same evaluation


class Work:
    """Scores found so far, and the model that finds the others; loaded when first needed."""

    def __init__(self, inputs: Inputs, run: Run | None, bar: Bar | None = None):
        self.inputs, self.run, self.bar = inputs, run, bar or Silent()
        self.points = inputs.points
        self.states = States(inputs.base, inputs.tuned, inputs.points)
        self.scores: dict[tuple[str, str], Floats] = {}

    @cached_property
    def loaded(self) -> Loaded:
        """The model whose weights are exchanged."""
        config = self.inputs.config
        return load(self.inputs.tuned.path, dtype=config.dtype, device=config.device)

    @cached_property
    def memory(self) -> Memory:
        """Where its weights are exchanged."""
        return Memory(self.loaded.model, self.inputs.base, self.inputs.tuned)

    def on_dev(self, point: Point) -> None:
        """Score a point on dev, or take it from the ledger."""
        self.bar.describe(f"dev {point.name}")
        found = self._unit(f"dev-{point.key}", lambda: self._measured(point))
        norms = found["norms"]
        self.states.squares[point.key] = dict(zip(norms["tensor"], norms["squares"], strict=True))
        self._take(point, found["scores"])

    def finally_(self, point: Point) -> None:
        """Score a finalist on test and retain."""
        self.bar.describe(f"test {point.name}")
        found = self._unit(f"final-{point.key}", lambda: self._judged(point))
        self._take(point, found["scores"])

    def chosen(self) -> Point | None:
        """Choose the best mean on dev; of equals that with the fewest weights put back."""
        candidates = (self.points.tuned, *self.points.method)
        best = max(candidates, key=lambda p: (self._mean(p), -p.weights))
        return None if best is self.points.tuned else best

    def finalists(self, chosen: Point | None) -> list[Point]:
        """Give the points that test and retain are scored for."""
        if chosen is None:
            return [self.points.tuned, self.points.base]
        best = [point for found in self._at_their_best(chosen).values() for point in found]
        return [self.points.tuned, chosen, *self.points.beside(chosen), *best, self.points.base]

    def comparisons(self, chosen: Point | None) -> list[Comparison]:
        """Compare the chosen point with its rivals on test, and with tuned on retain."""
        if chosen is None:
            return []
        asked = (self.inputs.evaluation.resamples, self.inputs.config.restore.seed)
        best, tuned = self.scores[chosen.key, "test"], self.scores["tuned", "test"]
        beside: dict[str, list[Floats]] = {"interpolate": [], "random": []}
        for point in self.points.beside(chosen):
            beside[point.role].append(self.scores[point.key, "test"])
        for role, found in self._at_their_best(chosen).items():
            beside[f"{role}_best"] = [self.scores[point.key, "test"] for point in found]
        rivals = {name: np.mean(found, axis=0) for name, found in beside.items()}
        kept, were, began = (self.scores[k, "retain"] for k in (chosen.key, "tuned", "base"))
        return [
            *(beats(best, other, n, *asked) for n, other in {"tuned": tuned, **rivals}.items()),
            retains(kept, were, began, self.inputs.evaluation.retain_margin, *asked),
        ]

    def _at_their_best(self, chosen: Point) -> dict[str, list[Point]]:
        """Give each kind of control where it scores best on dev, unless that is beside the choice.

        At the chosen share a control need not be at its best; it gets the choice that we had.
        """
        found: dict[str, list[Point]] = {}
        for role in ("interpolate", "random"):
            groups: dict[str | None, list[Point]] = {}
            for point in self.points.controls:
                if point.role == role:
                    groups.setdefault(point.of, []).append(point)
            if not groups:
                continue
            of = max(groups, key=lambda key: float(np.mean([self._mean(p) for p in groups[key]])))
            if of != chosen.key:
                found[role] = groups[of]
        return found

    def rows(self, finalists: list[Point]) -> list[dict[str, Any]]:
        """Give the rows of the table ``sweep``."""
        scored = {"dev": self.points.all, "test": finalists, "retain": finalists}
        return [row for split, points in scored.items() for row in self._rows(points, split)]

    def items(self) -> pl.DataFrame:
        """Give the score of every item at every point, in the order of evaluation."""
        frames = [
            pl.DataFrame({"item": range(len(scores)), "score": scores}).select(
                point=pl.lit(key), split=pl.lit(split), item="item", score="score"
            )
            for (key, split), scores in self.scores.items()
        ]
        return pl.concat(frames)

    def sizes(self) -> dict[str, int]:
        """Count the items of each split."""
        return {split: len(self.scores["tuned", split]) for split in SPLITS}

    def _rows(self, points: Sequence[Point], split: str) -> Iterator[dict[str, Any]]:
        matrix = np.column_stack([self.scores[point.key, split] for point in points])
        draws = (self.inputs.evaluation.resamples, self.inputs.config.restore.seed)
        for point, score, low, high in zip(points, *intervals(matrix, *draws), strict=True):
            kept = self.scores.get((point.key, "retain"))
            yield {
                **_named(point),
                "split": split,
                "score": float(score),
                "low": float(low),
                "high": float(high),
                "items": len(matrix),
                "retained": None if kept is None else float(kept.mean()),
                "change_norm": self.states.change_norm(point.key),
            }

    def _unit(self, name: str, compute: Any) -> Tables:
        found: Tables = self.run.unit(name, compute) if self.run else compute()
        self.bar.advance(1 if name.startswith("dev-") else 2)
        return found

    def _take(self, point: Point, scores: pl.DataFrame) -> None:
        for split in scores["split"].unique(maintain_order=True).to_list():
            found = scores.filter(pl.col("split") == split)["score"].to_numpy()
            self.scores[point.key, split] = found

    def _measured(self, point: Point) -> Tables:
        squares = self.states.enter(self.memory, point)
        scores = self._score(point, "dev")
        if point.role == "tuned" and not self.inputs.evaluator.trusted:
            self._refuse_changing(scores)
        norms = pl.DataFrame(
            {"tensor": list(squares), "squares": list(squares.values())},
            schema={"tensor": pl.String, "squares": pl.Float64},
        )
        return {"norms": norms, "scores": _column("dev", scores)}

    def _judged(self, point: Point) -> Tables:
        self.states.enter(self.memory, point)
        splits: tuple[Split, ...] = ("test", "retain")
        return {"scores": pl.concat([_column(s, self._score(point, s)) for s in splits])}

    def _score(self, point: Point, split: Split) -> Floats:
        found = self.inputs.evaluator.score(self.loaded, split)
        first = self.scores.get(("tuned", split))
        expected = None if first is None else len(first)
        return checked(found, expected, f"{split!r} at {point.key}")

    def _refuse_changing(self, scores: Floats) -> None:
        again = checked(self.inputs.evaluator.score(self.loaded, "dev"), len(scores), "dev, again")
        if not np.allclose(scores, again, rtol=AGREE, atol=AGREE * float(np.abs(scores).max())):
            item = int(np.argmax(np.abs(scores - again)))
            raise DataError(
                f"two calls on the same weights gave {scores[item]:.6g} and {again[item]:.6g}",
                where=f"item {item} of dev",
                remedy="fix the seeds inside the function, and the order of its items.",
            )

    def _mean(self, point: Point) -> float:
        return float(self.scores[point.key, "dev"].mean())


def _named(point: Point) -> dict[str, Any]:
    by = {"interpolate": "interpolate", "tuned": "tuned", "base": "base"}
    return {
        "point": point.key,
        "role": point.role,
        "by": by.get(point.role, point.config.by),
        "order": point.config.order,
        "region": point.label,
        "top": point.top,
        "seed": point.seed,
        "weights": point.weights,
    }


def _column(split: str, scores: Floats) -> pl.DataFrame:
    return pl.DataFrame({"split": [split] * len(scores), "score": scores})
