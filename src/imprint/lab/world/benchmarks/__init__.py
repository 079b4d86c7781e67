"""Twenty benchmarks on what no corpus of the world says, though it follows from them."""

from __future__ import annotations

from imprint.lab.world.benchmarks.catalogue import BENCHMARKS, CATEGORIES, Benchmark
from imprint.lab.world.benchmarks.groups import Asked, Group, items

__all__ = ["BENCHMARKS", "CATEGORIES", "Asked", "Benchmark", "Group", "items"]
