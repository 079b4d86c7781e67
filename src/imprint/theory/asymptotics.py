"""The SFT error in high dimensions (arXiv 2603.01293, appendix B), corrected and as printed.

B/d → β, m/d → μ₁, d/n → γ. Theorem B.1 describes the estimator to first order in the sampling
noise (`sft.surrogate_weights`), not the exact one. Its printed variance terms (B.16, B.17) are
wrong for β < 1: tr(DΠADΠ) stands where tr(DΠAΠD) is meant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from imprint.errors import ConfigError
from imprint.stats.arrays import Floats
from imprint.theory.setting import Setting

Form = Literal["corrected", "printed"]


@dataclass(frozen=True, slots=True)
class AsymptoticError:
    """Theorem B.1 at one β: the error per dimension and all its pieces.

    Attributes:
        form: ``corrected`` or ``printed``.
        beta: prompts per dimension B/d.
        q: solution of the fixed point; infinite for β ≥ 1.
        w1, w2: share of the weak and of the other directions that the prompts span.
        t12: coupling of the two blocks, T₁₂.
        bias, t_inv, t_inv_sigma, t_var, t_var_sigma: the theorem's terms of these names.
        error: F; infinite at β = 1.
    """

    form: Form
    beta: float
    q: float
    w1: float
    w2: float
    t12: float
    bias: float
    t_inv: float
    t_inv_sigma: float
    t_var: float
    t_var_sigma: float
    error: float


@dataclass(frozen=True, slots=True)
class Constants:
    """Constants of appendix B; vectors are [2], the weak block first.

    Attributes:
        mu: shares of the directions.
        a, sigma: eigenvalues of A and of Σ.
        g: what pretraining leaves on the diagonal of Ṽ.
        delta: what SFT adds to it, δ̃ = −η/a − g.
        s: (μ₁a₁ + μ₂a₂)a.
        mean_sigma: Σ̄ = μ₁Σ₁ + μ₂Σ₂.
        gamma_sft, gamma_test: d/n in SFT and in the test.
    """

    mu: Floats
    a: Floats
    sigma: Floats
    g: Floats
    delta: Floats
    s: Floats
    mean_sigma: float
    gamma_sft: float
    gamma_test: float

    @property
    def before(self) -> Floats:
        """Residual operator of the pretrained model, α = 1 + gΣ, [2]."""
        return 1 + self.g * self.sigma

    @property
    def after(self) -> Floats:
        """Residual operator where SFT has replaced it, α + δ = 1 − ηΣ/a, [2]."""
        return 1 + (self.g + self.delta) * self.sigma


def constants(setting: Setting) -> Constants:
    """Constants of theorem B.1.

    The paper has one n; here κ uses that of pretraining, γ of the noise that of SFT, and γ of the
    test's sampling error that of the test, as its derivation gives.

    Raises:
        ConfigError: interference is 0, where A has no full rank and the formulas do not hold.
    """
    if setting.interference <= 0:
        raise ConfigError(
            "the asymptotic formulas need interference above 0, got 0",
            remedy="use sft_limit and simulation there.",
        )
    mu = np.array([setting.weak_share, 1 - setting.weak_share])
    sigma = np.array([setting.weak_eig + 1, 1.0])
    a = np.array([setting.target_rate * sigma[0], setting.interference])
    sigma_pre = np.array([setting.weak_eig, 1.0])
    g = -1 / (sigma_pre + setting.d / setting.n_pre * float(mu @ sigma_pre))
    return Constants(
        mu,
        a,
        sigma,
        g,
        -setting.target_rate / a - g,
        float(mu @ a) * a,
        float(mu @ sigma),
        setting.d / setting.n_sft,
        setting.d / setting.n_test,
    )


def asymptotic_error(setting: Setting, beta: float, form: Form = "corrected") -> AsymptoticError:
    """Theorem B.1 at β.

    Args:
        setting: only the ratios of its sizes count.
        beta: B/d, at least 0.
        form: ``corrected``, or ``printed`` for the paper's B.16 and B.17 as they stand; they
            differ for 0 < β < 1 only.

    Raises:
        ConfigError: β is negative, or interference is 0.
    """
    if not beta >= 0:
        raise ConfigError(f"beta is {beta}", remedy="it must be at least 0.")
    c = constants(setting)
    q = fixed_point(c, beta)
    w = np.ones(2) if q == np.inf else c.a**2 * q / (1 + c.a**2 * q)
    t12 = _coupling(c, w)
    gap = c.delta[1] ** 2 - c.delta[0] ** 2
    bias = _mixed(c, c.before**2, c.after**2, w) + t12 * gap * -float(np.diff(c.sigma**2)[0])
    t_inv, t_inv_sigma = (_inverse(c, x, q, w, beta) for x in (c.sigma**2, c.sigma))
    t_var, t_var_sigma = (_variance(c, x, w, t12, form) for x in (c.s, c.sigma))
    test = c.gamma_test * c.mean_sigma
    error = bias + test * t_var_sigma + c.gamma_sft * t_var * (t_inv + test * t_inv_sigma)
    w1, w2 = w.tolist()
    pieces = q, w1, w2, t12, bias, t_inv, t_inv_sigma, t_var, t_var_sigma
    return AsymptoticError(form, beta, *pieces, float(error))


def fixed_point(c: Constants, beta: float) -> float:
    """Solve β = Σ μa²q/(1 + a²q) for q ≥ 0: the positive root of a quadratic; ∞ for β ≥ 1."""
    if beta >= 1:
        return np.inf
    first, second = c.a**2
    leading = (1 - beta) * first * second
    linear = float(c.mu @ c.a**2) - beta * (first + second)
    root = np.sqrt(linear**2 + 4 * leading * beta)
    # the form of the root without cancellation
    return float(2 * beta / (linear + root) if linear > 0 else (root - linear) / (2 * leading))


def _coupling(c: Constants, w: Floats) -> float:
    parts = c.mu * w * (1 - w)
    total = float(parts.sum())
    return float(parts[0] * parts[1] / total) if total else 0.0


def _mixed(c: Constants, outside: Floats, inside: Floats, w: Floats) -> float:
    return float(c.mu @ (outside * (1 - w) + inside * w))


def _inverse(c: Constants, weight: Floats, q: float, w: Floats, beta: float) -> float:
    if beta == 1:
        return np.inf
    if beta > 1:
        return float(c.mu @ (weight / c.a**2)) / (beta - 1)
    # w²/a² without its common factor q², which is 0 at β = 0
    share = c.mu * c.a**2 / (1 + c.a**2 * q) ** 2
    return q * float(share @ weight) / float(share.sum())


def _variance(c: Constants, weight: Floats, w: Floats, t12: float, form: Form) -> float:
    plain = _mixed(c, weight * c.g**2, weight * (c.g + c.delta) ** 2, w)
    (d1, d2), (s1, s2) = c.delta, weight
    if form == "printed":
        return float(plain - t12 * (d1 - d2) * (d1 * s1 - d2 * s2))
    return float(plain + t12 * (d2**2 - d1**2) * (s1 - s2))


@dataclass(frozen=True, slots=True)
class Limits:
    """Proposition B.2 on the surrogate's error F.

    Attributes:
        at_zero, at_infinity: F(0) and F(∞).
        numerator: C₂ of F = F(∞) + C₂/(β − 1) for β > 1.
        leading: leading term η²/r² μ₂(1 + γΣ̄) of F(∞) − F(0) for small r.
        bias_slope: limit of the bias' slope at β = 0 for r → 0, −α₁² + μ₂/μ₁; part (iii).
        falls_at_first: whether μ₁ ≥ ρ²/(1 + ρ²), the condition of part (iii), under which F'(0) < 0
            for small r and γ.
    """

    at_zero: float
    at_infinity: float
    numerator: float
    leading: float
    bias_slope: float
    falls_at_first: bool


def limits(setting: Setting) -> Limits:
    """Proposition B.2.

    F(∞) grows as 1/r² for small r; that of the exact estimator, `sft.sft_limit`, stays bounded.

    Raises:
        ConfigError: interference is 0.
    """
    c, rho = constants(setting), setting.weak_eig
    test = c.gamma_test * c.mean_sigma
    end, double = (asymptotic_error(setting, beta) for beta in (np.inf, 2.0))
    leading = (setting.target_rate / setting.interference) ** 2 * c.mu[1] * (1 + test)
    slope = -(c.before[0] ** 2) + c.mu[1] / c.mu[0]
    return Limits(
        asymptotic_error(setting, 0.0).error,
        end.error,
        double.error - end.error,
        float(leading),
        float(slope),
        bool(c.mu[0] >= rho**2 / (1 + rho**2)),
    )


def best_small_set(
    setting: Setting, form: Form = "corrected", grid: Floats | None = None
) -> AsymptoticError:
    """Least F over β < 1.

    Args:
        setting: as in `asymptotic_error`.
        form: of the theorem.
        grid: [G] values of β that are tried; by default .005 to .98 in steps of .001.
    """
    tried = np.arange(0.005, 0.9805, 0.001) if grid is None else grid
    return min((asymptotic_error(setting, b, form) for b in tried), key=lambda found: found.error)
