"""The setting of the weight-prediction theory (arXiv 2603.01293, sections 3, 5 and 8)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Self

import numpy as np

from imprint.errors import ConfigError
from imprint.theory.covariance import Covariance


@dataclass(frozen=True)
class Setting:
    """Two blocks of directions: weak ones, which pretraining hardly covers and the test adds to.

    The first ``weak`` directions have eigenvalue ``weak_eig`` in pretraining and 1 more in the
    test; the others have 1 in both. SFT data follow the best allocation on the weak directions and
    have ``interference`` on the others. The defaults are those of the paper's figures 1 and 2; its
    one context length n is three parameters here.

    Raises:
        ConfigError: a value is outside its range.
    """

    d: int = 400
    """Features."""
    weak: int = 200
    """Weak directions, m in the paper, 1 to d."""
    weak_eig: float = 0.1
    """Their eigenvalue in pretraining, ρ in the paper."""
    target_rate: float = 0.2
    """Share η of the way that each reasoning step of the targets goes, in (0, 1]. Not stated in
    the paper: of .2, .5 and 1 only .2 gives the ranges of its axes."""
    interference: float = 0.1
    """Eigenvalue r of the SFT data on the other directions; 0 leaves them out, otherwise the
    further it is from η, the more SFT harms what the model knows there."""
    n_pre: int = 800
    """Context length in pretraining."""
    n_sft: int = 800
    """Context length in SFT."""
    n_test: int = 800
    """Context length in the test."""
    cot: int = 3
    """Reasoning steps k in training."""

    def __post_init__(self) -> None:
        for name in ("d", "n_pre", "n_sft", "n_test", "cot"):
            _check(name, getattr(self, name) >= 1, getattr(self, name), "at least 1")
        _check("weak", 1 <= self.weak <= self.d, self.weak, f"1 to d = {self.d}")
        _check("weak_eig", 0 <= self.weak_eig < np.inf, self.weak_eig, "at least 0")
        _check("target_rate", 0 < self.target_rate <= 1, self.target_rate, "above 0, at most 1")
        _check("interference", 0 <= self.interference < np.inf, self.interference, "at least 0")
        _check("weak_eig", self.pretraining.trace > 0, self.weak_eig, "above 0 where weak = d")

    def with_context(self, n: int) -> Self:
        """Give the same with one context length for pretraining, SFT and test, as in the paper."""
        return dataclasses.replace(self, n_pre=n, n_sft=n, n_test=n)

    @property
    def pretraining(self) -> Covariance:
        """Σ₀: ``weak_eig`` on the weak directions, 1 on the others.

        The text of section 5.2 has 0 on the others; the captions and appendix B have 1.
        """
        return self._blocks(self.weak_eig, 1)

    @property
    def shift(self) -> Covariance:
        """Δ: 1 on the weak directions."""
        return self._blocks(1, 0)

    @property
    def test(self) -> Covariance:
        """Σ = Σ₀ + Δ."""
        return self.pretraining + self.shift

    @property
    def data(self) -> Covariance:
        """A of the SFT data: η(ρ + 1) on the weak directions, r on the others."""
        return self._blocks(self.target_rate * (self.weak_eig + 1), self.interference)

    @property
    def weak_share(self) -> float:
        """Share μ₁ = m/d of weak directions."""
        return self.weak / self.d

    def prompts(self, beta: float) -> int:
        """Give the nearest number of prompts B with B/d = β, at least 1."""
        return max(1, round(beta * self.d))

    def _blocks(self, weak: float, strong: float) -> Covariance:
        return Covariance(np.repeat([weak, strong], [self.weak, self.d - self.weak]).astype(float))


def _check(name: str, good: bool, value: float, needed: str) -> None:
    if not good:
        raise ConfigError(f"{name} is {value}", remedy=f"it must be {needed}.")
