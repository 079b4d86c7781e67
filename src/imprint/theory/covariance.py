"""Data covariances that share their eigenvectors, as lists of eigenvalues.

The model of arXiv 2603.01293 is studied in the common eigenbasis of all covariances, so a
covariance is a vector here and every formula costs O(d).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imprint.errors import ConfigError
from imprint.stats.arrays import Bools, Floats, floats


@dataclass(frozen=True, slots=True, eq=False)
class Covariance:
    """A diagonal covariance.

    Args:
        eigenvalues: [d] float64, in the order of the directions.

    Raises:
        ConfigError: they are not a vector of finite numbers of at least 0.
    """

    eigenvalues: Floats

    def __post_init__(self) -> None:
        values = floats(self.eigenvalues)
        if values.ndim != 1 or not np.isfinite(values).all() or not (values >= 0).all():
            raise ConfigError(
                f"a covariance needs a vector of finite eigenvalues of at least 0, got {values}"
            )
        object.__setattr__(self, "eigenvalues", values)

    @property
    def d(self) -> int:
        """Number of features."""
        return len(self.eigenvalues)

    @property
    def trace(self) -> float:
        """Sum of the eigenvalues."""
        return float(self.eigenvalues.sum())

    @property
    def support(self) -> Bools:
        """[d] the directions the data have."""
        return self.eigenvalues > 0

    @property
    def rank(self) -> int:
        """Number of directions the data have."""
        return int(self.support.sum())

    def __add__(self, other: Covariance) -> Covariance:
        return Covariance(self.eigenvalues + other.eigenvalues)

    def __sub__(self, other: Covariance) -> Covariance:
        return Covariance(self.eigenvalues - other.eigenvalues)

    def __mul__(self, scale: float) -> Covariance:
        return Covariance(scale * self.eigenvalues)

    __rmul__ = __mul__

    def second_moment(self, n: float) -> Floats:
        """E[S²] of S = XXᵀ/n for n Gaussian inputs: (1 + 1/n)Λ² + (trΛ/n)Λ, [d]."""
        return self.eigenvalues * self.ridged(n)

    def ridged(self, n: float) -> Floats:
        """(1 + 1/n)Λ + (trΛ/n)I of arXiv 2603.01293, equation 3.7, [d]: E[S²] = Λ times this."""
        return (1 + 1 / n) * self.eigenvalues + self.trace / n

    def task_hardness(self) -> float:
        """trΛ/λ_min(Λ) of arXiv 2510.03605, whatever the model; infinite without full rank."""
        least = float(self.eigenvalues.min())
        return self.trace / least if least else np.inf

    def hardness(self, weights: Floats, n: float = np.inf) -> float:
        """How hard these data are for a model: its squared error in the task, summed over d.

        Args:
            weights: [d] or [d, d] the model's Ṽ; −Γ₀⁻¹ for the pretrained one.
            n: context length; infinite gives the leading term ‖I + ṼΛ‖² of arXiv 2603.01293,
                section 5.1.
        """
        return float(error_by_direction(weights, self, n).sum())

    def alignment(self, shift: Covariance) -> float:
        """Cosine of the angle to a shift, tr(AΔ)/(‖A‖‖Δ‖), in [0, 1]; NaN where either is 0.

        The paper calls data aligned with the shift informative and defines no measure; this is
        ours.
        """
        norms = np.linalg.norm(self.eigenvalues) * np.linalg.norm(shift.eigenvalues)
        return float(self.eigenvalues @ shift.eigenvalues / norms) if norms else np.nan


def error_by_direction(weights: Floats, test: Covariance, n: float) -> Floats:
    """Squared error of one-step prediction by the feature it is owed to.

    Column j of ‖I + ṼΣ‖²_F + (1/n)[tr(ṼΣ²Ṽᵀ) + tr(ṼΣṼᵀ) trΣ] (arXiv 2603.01293, equation 5.1,
    with W̃ = I; the last line of the paper's proof has a factor 2 that does not belong there).

    Args:
        weights: [d] the diagonal of Ṽ, or [d, d] Ṽ itself.
        test: covariance Σ of the test inputs.
        n: context length of the test; may be infinite.

    Returns:
        [d]; the sum over j is E‖ŵ − w*‖².
    """
    sigma = test.eigenvalues
    if weights.ndim == 1:
        own, squares = weights, weights**2
    else:
        own, squares = weights.diagonal(), np.einsum("ij,ij->j", weights, weights)
    bias = 1 + 2 * own * sigma + squares * sigma**2
    return np.asarray(bias + squares * sigma * (sigma + test.trace) / n)
