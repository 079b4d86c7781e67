"""Orthogonal steps."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from imprint.lab.pretraining.muon import matrices, matrix_count, orthogonal  # noqa: E402
from imprint.lab.pretraining.shape import Shape  # noqa: E402

SHAPE = Shape(layers=2, width=16, heads=2, ffn=48, context=8, vocabulary=32)


def test_steps_are_those_of_torch_for_every_matrix() -> None:
    zeropower = pytest.importorskip("torch.optim._muon")._zeropower_via_newtonschulz
    torch.manual_seed(0)
    flat = torch.randn(3, matrix_count(SHAPE))
    before = [view.clone() for view in matrices(SHAPE, flat)]
    orthogonal(torch, flat, SHAPE)
    for given, found in zip(before, matrices(SHAPE, flat), strict=True):
        for matrix, step in zip(given, found, strict=True):
            scale = max(1, matrix.shape[1] / matrix.shape[0]) ** 0.5
            expected = zeropower(matrix.T, (3.4445, -4.7750, 2.0315), 5, 1e-7).T.float() * scale
            # torch's are bfloat16, which the iteration amplifies where a singular value is small
            assert torch.linalg.norm(step - expected) < 0.1 * torch.linalg.norm(expected)


def test_singular_values_come_near_one() -> None:
    torch.manual_seed(0)
    flat = torch.randn(1, matrix_count(SHAPE))
    orthogonal(torch, flat, SHAPE)
    values = torch.linalg.svdvals(matrices(SHAPE, flat)[0])
    assert values.max() < 1.3
    assert values.median() > 0.6


def test_matrices_are_all_and_each_once() -> None:
    flat = torch.arange(matrix_count(SHAPE), dtype=torch.float64)[None]
    seen = torch.cat([view.flatten() for view in matrices(SHAPE, flat)])
    assert sorted(seen.tolist()) == flat[0].tolist()
