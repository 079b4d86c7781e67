"""Grids and settings that experiments share."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence

import numpy as np

from imprint.errors import ConfigError
from imprint.theory.config import TheoryConfig
from imprint.theory.setting import Setting


def shares_of(d: int, shares: Iterable[float], *also: int) -> tuple[int, ...]:
    """Give multiples of ``d`` as whole numbers of at least 1, without repeats, in order.

    >>> shares_of(400, (0.125, 1, 5), 200)
    (50, 200, 400, 2000)
    """
    return tuple(sorted({*(max(1, round(share * d)) for share in shares), *also}))


def setting_of(config: TheoryConfig, interference: float, n: int, *, cot: int = 1) -> Setting:
    """Give the two-block setting at one prompt length, parts held fixed where the user said so."""
    return Setting(
        d=config.d,
        weak=config.weak_directions,
        weak_eig=config.weak_eig,
        target_rate=config.target_rate,
        interference=interference,
        n_pre=config.n_pre or n,
        n_sft=config.n_sft or n,
        n_test=config.n_test or n,
        cot=cot,
    )


def seeds_of(config: TheoryConfig, *key: object) -> list[int]:
    """Give a seed for each realisation of one point, independent between points.

    A point's seeds depend on its name alone, so that a larger grid keeps the numbers of a smaller.
    """
    name = zlib.crc32(repr(key).encode())
    state = np.random.SeedSequence([config.seed, name])
    return [int(value) for value in state.generate_state(config.seeds, np.uint32)]


def columns_memory(d: int, prompts: int) -> float:
    """Bytes that SFT in closed form takes: about seven arrays of a column per prompt."""
    return 8.0 * (7 * d * prompts + 4 * d * d)


def moments_memory(d: int, prompts: int) -> float:
    """Bytes of the prompts' second moments and what is computed from them."""
    return 8.0 * (d * d * prompts * 1.5 + 20 * d * prompts)


def single(flag: str, given: Sequence[int], default: int) -> int:
    """Give the one value of a setting that other experiments take several of.

    Raises:
        ConfigError: there are several.
    """
    if len(given) > 1:
        raise ConfigError(f"--{flag} {listed(given)} is more than one value")
    return given[0] if given else default


def listed(values: Sequence[float]) -> str:
    """Write numbers with commas.

    >>> listed((0.01, 400))
    '0.01, 400'
    """
    return ", ".join(f"{value:g}" for value in values)
