"""Random prompts: all of what training sees of them, without drawing their inputs where possible.

A prompt has a task w* ~ N(0, I_d) and n inputs N(0, A); S = XXᵀ/n is its second-moment matrix.
SFT sees a prompt only through w* and Sw*, whose exact distribution costs O(d) to draw from.
"""

from __future__ import annotations

import numpy as np

from imprint.stats.arrays import Floats
from imprint.theory.covariance import Covariance


def draw_tasks(d: int, prompts: int, draw: np.random.Generator) -> Floats:
    """Draw Ω = [w*₁ … w*_B], [d, B]."""
    return draw.standard_normal((d, prompts))


def draw_columns(tasks: Floats, data: Covariance, n: int, draw: np.random.Generator) -> Floats:
    """Draw Φ = [S₁w*₁ … S_B w*_B] given the tasks, exactly, at O(d) per prompt.

    With y = Xᵀw, ‖y‖² is q = wᵀAw times a χ²_n variable c, and given y the inputs are Awy/q plus
    a Gaussian part without component along w, so that with G ~ N(0, A)

        nSw = c Aw + √(cq) (G − Aw wᵀG/q).

    Valid for one use of S on one w: outcome supervision needs `draw_moments`.

    Args:
        tasks: [d, B].
        data: covariance A of the inputs; directions without variance give rows of 0.
        n: context length.
        draw: source of randomness.

    Returns:
        [d, B]; each column has mean Aw and covariance (Aw wᵀA + qA)/n.
    """
    eigenvalues = data.eigenvalues[:, None]
    noise = draw.standard_normal(tasks.shape)
    noise *= np.sqrt(eigenvalues)
    along = eigenvalues * tasks
    power = np.einsum("db,db->b", tasks, along)
    length = draw.chisquare(n, tasks.shape[1])
    spread = np.sqrt(length * power)
    overlap = np.einsum("db,db->b", tasks, noise)
    noise *= spread / n
    along *= (length - spread * overlap / power) / n
    along += noise
    return along


def draw_moments(data: Covariance, n: int, prompts: int, draw: np.random.Generator) -> Floats:
    """Draw S of every prompt, [B, d, d].

    Where n ≥ d by Bartlett's factor of a Wishart matrix (a triangle of d² numbers instead of the
    d·n inputs), otherwise from the inputs.
    """
    root = np.sqrt(data.eigenvalues)
    found = np.empty((prompts, data.d, data.d))
    for matrix in found:
        factor = root[:, None] * _factor(data.d, n, draw)
        np.matmul(factor, factor.T, out=matrix)
    found /= n
    return found


def _factor(d: int, n: int, draw: np.random.Generator) -> Floats:
    if n < d:
        return draw.standard_normal((d, n))
    triangle = np.tril(draw.standard_normal((d, d)), -1)
    np.fill_diagonal(triangle, np.sqrt(draw.chisquare(n - np.arange(d))))
    return triangle


def draw_inputs(data: Covariance, n: int, draw: np.random.Generator) -> Floats:
    """Draw the inputs of one prompt, [d, n]; what the samplers above are compared with."""
    return np.sqrt(data.eigenvalues)[:, None] * draw.standard_normal((data.d, n))
