"""How pass rates are spread over a pool: a beta distribution fitted to its counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.optimize import minimize
from scipy.special import betaln

from imprint.findings import Finding

Floats = npt.NDArray[np.float64]
LARGE = 200  # prompts from which a domain has a fit of its own
WIDEST = 9.0  # natural logarithms of a and b stay within ±9
JEFFREYS = (0.5, 0.5)
STEP = 1e-3
LOOSE = 2.0  # standard deviation of a logarithm that the counts say nothing about


@dataclass(frozen=True)
class Prior:
    """Beta(a, b) of the pass rates of a pool or a domain.

    Attributes:
        domain: whose; ``None`` for the whole pool.
        a, b: the parameters.
        covariance: [2, 2] of their natural logarithms, from the curvature of the likelihood.
        prompts: how many it was fitted to.
        fitted: whether the counts determine it; else it is assumed.
    """

    domain: str | None
    a: float
    b: float
    covariance: Floats
    prompts: int
    fitted: bool

    @property
    def mean(self) -> float:
        """The mean pass rate."""
        return self.a / (self.a + self.b)

    def draws(self, count: int, rng: np.random.Generator) -> Floats:
        """Draw parameters that the counts allow, [count, 2]."""
        logs = rng.multivariate_normal(np.log([self.a, self.b]), self.covariance, count)
        return np.exp(np.clip(logs, -WIDEST, WIDEST))


def fit(counts: pl.DataFrame, domain: str | None = None) -> Prior:
    """Fit by maximum likelihood (beta-binomial).

    Where all rollouts passed, or none, the likelihood grows without end; a weak penalty then holds
    the logarithms near Beta(½, ½), and the more prompts agree, the further it gives way. Where no
    prompt has two rollouts the mean rate is given the weight of one. Both are called assumed.

    Args:
        counts: distinct pairs ``n``, ``c`` with ``prompts``, how often each occurs.
        domain: whose they are.
    """
    known = counts.filter(pl.col("n") > 0)
    n, c, w = (known[name].to_numpy().astype(np.float64) for name in ("n", "c", "prompts"))
    prompts, rate = int(w.sum()), float((w * c).sum() / max((w * n).sum(), 1.0))
    unanimous = rate in (0.0, 1.0)
    if not unanimous and n.max() < 2:
        return Prior(domain, rate, 1 - rate, np.diag([LOOSE**2] * 2), prompts, fitted=False)
    held = np.log(JEFFREYS)

    def loss(logs: Floats) -> float:
        a, b = np.exp(logs)
        unlikely = -(w * (betaln(c + a, n - c + b) - betaln(a, b))).sum()
        penalty = (((logs - held) / LOOSE) ** 2).sum() / 2 if unanimous else 0.0
        return float(unlikely + penalty) / max(prompts, 1)

    start = held if unanimous else np.log([rate, 1 - rate])
    found = minimize(loss, start, bounds=[(-WIDEST, WIDEST)] * 2).x
    covariance = _covariance(loss, found, max(prompts, 1))
    a, b = np.exp(found).tolist()
    return Prior(domain, a, b, covariance, prompts, fitted=not unanimous)


def fit_all(counts: pl.DataFrame) -> tuple[list[Prior], list[Finding]]:
    """Fit the pool and every domain that is large enough.

    Args:
        counts: distinct ``domain``, ``n``, ``c`` with ``prompts``.

    Returns:
        The pool's prior first; and what was noticed.
    """
    whole = counts.group_by("n", "c").agg(pl.col("prompts").sum()).sort("n", "c")
    priors = [fit(whole)]
    for (domain,), part in counts.sort("domain", "n", "c").group_by("domain", maintain_order=True):
        if part.filter(pl.col("n") > 0)["prompts"].sum() >= LARGE:
            priors.append(fit(part, str(domain)))
    return priors, [_assumed(prior, whole) for prior in priors if not prior.fitted]


def _assumed(prior: Prior, counts: pl.DataFrame) -> Finding:
    whose = "the pool" if prior.domain is None else f"domain {prior.domain}"
    if counts["n"].max() in (0, 1):
        why = "with one rollout per prompt nothing tells how rates are spread"
    else:
        why = "all rollouts went the same way, which no distribution of rates explains best"
    told = f"{whose}: {why}; the prior Beta({prior.a:.3g}, {prior.b:.3g}) is assumed, not fitted"
    return Finding("prior_assumed", told)


def _covariance(loss: Callable[[Floats], float], at: Floats, prompts: int) -> Floats:
    """Invert the likelihood's curvature; directions that it leaves open get a wide spread."""
    curvature = np.empty((2, 2))
    for i in range(2):
        for j in range(2):
            moves = [(x, y) for x in (STEP, -STEP) for y in (STEP, -STEP)]
            total = 0.0
            for x, y in moves:
                point = at.copy()
                point[i] += x
                point[j] += y
                total += np.sign(x * y) * loss(point)
            curvature[i, j] = total / (4 * STEP**2)
    values, vectors = np.linalg.eigh(prompts * (curvature + curvature.T) / 2)
    spread = np.where(values > LOOSE**-2, 1 / np.maximum(values, LOOSE**-2), LOOSE**2)
    return np.asarray((vectors * spread) @ vectors.T)
