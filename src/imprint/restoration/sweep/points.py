"""The points of a sweep: each a restoration, and the controls that stand beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from imprint.checkpoints import Checkpoint, place
from imprint.errors import ConfigError
from imprint.restoration.restore import RestoreConfig, survey
from imprint.restoration.selection import place_of
from imprint.restoration.sweep.config import SweepConfig

Role = Literal["tuned", "method", "interpolate", "random", "bottom", "base"]
MODULES = ("q", "k", "v", "o", "qkv", "kv", "gate", "up", "gate_up", "down", "router")


@dataclass(frozen=True, slots=True)
class Point:
    """One state of the weights.

    Attributes:
        key: its name in ledger and tables.
        role: the swept method, a control of it, or a reference.
        label: the swept region, or group of layers.
        top: share of that region that goes back; of ``interpolate`` the share that it is matched
            to.
        weights: how many weights that is.
        config: the restoration, one of the shares in ``config.top``; of ``interpolate`` only its
            region and scope count: where, and with one weight for what, changes shrink.
        at: which of the shares.
        of: key of the method's point that a control belongs to.
    """

    key: str
    role: Role
    label: str
    top: float
    weights: int
    config: RestoreConfig
    at: int = 0
    of: str = ""

    @property
    def seed(self) -> int | None:
        """The seed, where chance decides."""
        by_chance = self.role == "random" or (self.role == "method" and self.config.by == "dare")
        return self.config.seed if by_chance else None

    @property
    def name(self) -> str:
        """Say which point this is, in words."""
        if self.role == "tuned":
            return "nothing put back"
        if self.top == 1:
            return f"all of {self.label}"
        return f"{self.config.order} {self.top:.4g} of {self.label}"


@dataclass(frozen=True)
class Points:
    """All points of a sweep.

    Attributes:
        region: what change is measured over; the sum of the swept regions.
        tuned, base: the references.
        method: in order of the regions, then of the shares.
        controls: of all of them, in an order in which each adds to the one before where it can.
    """

    region: str
    tuned: Point
    base: Point
    method: tuple[Point, ...]
    controls: tuple[Point, ...]

    @property
    def all(self) -> tuple[Point, ...]:
        """Give every point in the order of evaluation; a control stands behind its point."""
        return (self.tuned, *self.method, *self.controls, self.base)

    def beside(self, point: Point) -> list[Point]:
        """Give the matched interpolation and the random restorations of a method's point."""
        wanted = ("interpolate", "random")
        return [c for c in self.controls if c.of == point.key and c.role in wanted]


def points_of(
    base: Checkpoint, tuned: Checkpoint, config: SweepConfig, *, seeds: int, bottom: bool
) -> Points:
    """List the points of a sweep; only headers are read.

    Args:
        base, tuned, config: what is swept.
        seeds: random restorations beside each point.
        bottom: also the other end of the order.

    Raises:
        ConfigError: settings that do not make sense, an empty region, or a single one.
        CheckpointError: checkpoints that do not fit.
    """
    config.check()
    made = _Maker(base, tuned, config, seeds)
    if bottom:
        made.check_bottom()
    method = tuple(point for region in made.regions for point in made.method(region))
    controls = (
        *(made.interpolated(point) for point in method),
        *(point for region in made.regions for point in made.random(region)),
        *(made.opposite(point) for point in method if bottom),
    )
    everything = replace(
        config.restore,
        by="relative",
        region="all",
        top=(1.0,),
        order="top",
        scope=None,
        compat=None,
    )
    nothing = replace(config.restore, region=made.whole)
    return Points(
        made.whole,
        Point("tuned", "tuned", made.whole, 0.0, 0, nothing),
        Point("base", "base", "all", 1.0, made.size("all"), everything),
        method,
        controls,
    )


class _Maker:
    """Makes the points of a sweep."""

    def __init__(self, base: Checkpoint, tuned: Checkpoint, config: SweepConfig, seeds: int):
        self.base, self.tuned, self.config, self.seeds = base, tuned, config, seeds
        self.top = tuple(sorted(share for share in config.restore.top if share))
        self.regions = self._regions()
        self.whole = config.restore.region
        if config.axis == "layers":
            first, last = self.regions[0], self.regions[-1]
            self.whole = f"layers {first.split()[1].split('-')[0]}-{last.split('-')[-1]}"
        self._sizes: dict[str, int] = {}

    def method(self, region: str) -> Iterator[Point]:
        config = replace(self.config.restore, region=region, top=self.top)
        for at, top in enumerate(self.top):
            key = f"{config.by}-{_slug(region)}-{top:.12g}"
            yield Point(key, "method", region, top, place_of(top, self.size(region)), config, at)

    def interpolated(self, point: Point) -> Point:
        around = self._around(point)
        # around a region one weight for all: each region's own would give the point again
        scope = point.config.scope if around == point.label else "global"
        config = replace(point.config, region=around, scope=scope)
        key = f"interpolate-{point.key}"
        return replace(point, key=key, role="interpolate", config=config, of=point.key)

    def random(self, region: str) -> Iterator[Point]:
        for number in range(self.seeds):
            # whole regions have their controls around them, all others within
            for around in (False, True):
                points = [p for p in self.method(region) if (self._around(p) != region) == around]
                where = self.whole if around else region
                shares = tuple(share_for(p.weights, self.size(where)) for p in points)
                config = replace(
                    self.config.restore,
                    by="random",
                    region=where,
                    top=shares or (1.0,),
                    order="top",
                    seed=self._seed(number),
                )
                for at, point in enumerate(points):
                    key = f"random-{config.seed}-{point.key}"
                    yield replace(point, key=key, role="random", config=config, at=at, of=point.key)

    def opposite(self, point: Point) -> Point:
        order: Literal["top", "bottom"] = "top" if point.config.order == "bottom" else "bottom"
        config = replace(point.config, order=order)
        return replace(
            point, key=f"{order}-{point.key}", role="bottom", config=config, of=point.key
        )

    def size(self, region: str) -> int:
        if region not in self._sizes:
            _, parts = survey(self.base, self.tuned, replace(self.config.restore, region=region))
            self._sizes[region] = sum(part.pair.elements for part in parts)
        return self._sizes[region]

    def check_bottom(self) -> None:
        if self.config.restore.by == "dare":
            raise ConfigError("controls: bottom has no meaning with --by dare")
        if 1.0 in self.top:
            raise ConfigError("controls: bottom has no meaning where --top 1 puts everything back")

    def _seed(self, number: int) -> int:
        return (self.config.restore.seed + number) % (1 << 32)

    def _around(self, point: Point) -> str:
        """Give the region of a point's controls.

        Where all of a region goes back, chance within it would do the same; there the controls
        take as much from all regions.
        """
        return self.whole if point.top == 1 else point.label

    def _regions(self) -> list[str]:
        if self.config.axis == "ratios":
            return [self.config.restore.region]
        _, parts = survey(self.base, self.tuned, self.config.restore)
        places = [place(part.pair.name) for part in parts]
        if self.config.axis == "regions":
            found = {where.module for where in places}
            regions = [module for module in MODULES if module in found]
        else:
            layers = sorted({where.layer for where in places if where.layer is not None})
            regions = layer_ranges(layers, self.config.layer_groups)
        if len(regions) < 2:
            raise ConfigError(f"--axis {self.config.axis}: there is only {', '.join(regions)}")
        return regions


def layer_ranges(layers: list[int], groups: int) -> list[str]:
    """Cut layers into groups of consecutive ones, as equal as can be.

    >>> layer_ranges([0, 1, 2, 3, 4], 2)
    ['layers 0-2', 'layers 3-4']
    """
    groups = min(groups, len(layers))
    ends = [math.ceil(len(layers) * n / groups) for n in range(groups + 1)]
    return [f"layers {layers[first]}-{layers[stop - 1]}" for first, stop in pairwise(ends)]


def share_for(count: int, elements: int) -> float:
    """Give the share of so many elements that selects just ``count``."""
    share = count / elements
    while place_of(share, elements) < count:
        share = math.nextafter(share, 1.0)
    return share


def _slug(region: str) -> str:
    kept = "".join(c if c.isalnum() or c == "-" else "_" for c in region)
    return kept[:40]
