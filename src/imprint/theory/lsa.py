"""Linear self-attention over whole tokens: the definition, which `recursion` must equal.

arXiv 2603.01293, equations 3.1 to 3.3, 3.6 and A.1. A token has 2d + 2 rows: features (d), label
(1), weight estimate (d), flag (1).
"""

from __future__ import annotations

import numpy as np

from imprint.stats.arrays import Floats


def weight_rows(d: int) -> slice:
    """Rows of the weight estimate."""
    return slice(d + 1, 2 * d + 1)


def prompt(inputs: Floats, task: Floats) -> Floats:
    """Tokens of a prompt: a column per example and one of the estimate 0 with flag 1.

    Args:
        inputs: X, [d, n].
        task: w*, [d]; labels are Xᵀw*, without noise.

    Returns:
        [2d + 2, n + 1].
    """
    d, n = inputs.shape
    tokens = np.zeros((2 * d + 2, n + 1))
    tokens[:d, :n], tokens[d, :n] = inputs, task @ inputs
    tokens[-1, -1] = 1
    return tokens


def attention(value: Floats, key: Floats) -> tuple[Floats, Floats]:
    """Full matrices V and W with Ṽ and W̃ in their only free blocks, [2d + 2, 2d + 2] each.

    Population gradient flow keeps this sparsity; at finite B it is imposed.
    """
    d = len(value)
    V, W = np.zeros((2, 2 * d + 2, 2 * d + 2))
    V[weight_rows(d), :d] = value
    W[:d, weight_rows(d)] = key
    W[d, -1] = -1
    return V, W


def forward(tokens: Floats, V: Floats, W: Floats, n: int) -> Floats:
    """f(Z) = Z + VZ · ZᵀWZ/n, in the shape of Z.

    Args:
        tokens: Z, [2d + 2, columns].
        V, W: full matrices, [2d + 2, 2d + 2].
        n: context length. The paper leaves the divisor λ open; its proofs use n, not the number of
            columns, which grows with the steps.
    """
    return np.asarray(tokens + (V @ tokens) @ (tokens.T @ W @ tokens) / n)


def rollout(
    inputs: Floats, task: Floats, value: Floats, key: Floats, steps: int
) -> tuple[Floats, Floats]:
    """Let the model append k columns to a prompt, each the last of its output.

    Args:
        inputs: X, [d, n].
        task: w*, [d].
        value, key: Ṽ and W̃, [d, d].
        steps: k.

    Returns:
        Tokens [2d + 2, n + 1 + k], and the estimates ŵ₀ … ŵ_k in them, [k + 1, d].
    """
    d, n = inputs.shape
    V, W = attention(value, key)
    tokens = prompt(inputs, task)
    for _ in range(steps):
        tokens = np.column_stack([tokens, forward(tokens, V, W, n)[:, -1]])
    return tokens, tokens[weight_rows(d), n:].T
