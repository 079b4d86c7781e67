"""The batched program against transformers' own Llama."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from imprint.lab.pretraining.batched import Batched, initial, parts  # noqa: E402
from imprint.lab.pretraining.llama import build, to_llama  # noqa: E402
from imprint.lab.pretraining.shape import Shape  # noqa: E402

SHAPE = Shape(layers=2, width=32, heads=2, ffn=48, context=16, vocabulary=64)
UNTIED = Shape(layers=1, width=16, heads=1, ffn=24, context=8, vocabulary=32, tie=False)


def windows(shape: Shape, runs: int, batch: int = 2) -> Any:
    random = np.random.default_rng(0)
    return random.integers(0, shape.vocabulary, (runs, batch, shape.context + 1))


def peer(shape: Shape, flat: Any, run: int) -> Any:
    one = {name: rows[run].copy() for name, rows in parts(shape, flat).items()}
    return build(shape, to_llama(shape, one))


def peer_loss(model: Any, cut: Any) -> Any:
    logits = model(torch.from_numpy(cut[:, :-1])).logits.flatten(0, 1)
    return torch.nn.functional.cross_entropy(logits, torch.from_numpy(cut[:, 1:]).flatten())


@pytest.mark.parametrize("shape", [SHAPE, UNTIED], ids=["tied", "untied"])
def test_losses_and_gradients_are_those_of_transformers(shape: Shape) -> None:
    ours, cut = Batched(shape, [0, 1], 2, "fp32"), windows(shape, 2)
    losses = ours.losses_and_gradients(cut)
    slopes = ours.gradients.n
    for run in range(2):
        model = peer(shape, ours.masters, run)
        loss = peer_loss(model, cut[run])
        loss.backward()
        assert losses[run] == pytest.approx(loss.item(), abs=1e-5)
        one = {name: rows[run] for name, rows in parts(shape, slopes).items()}
        found = to_llama(shape, one)
        for name, weight in model.named_parameters():
            scale = weight.grad.abs().max().item()
            np.testing.assert_allclose(found[name], weight.grad, atol=2e-5 * scale, err_msg=name)


def test_logits_are_those_of_transformers() -> None:
    ours, cut = Batched(SHAPE, [3], 2, "fp32"), windows(SHAPE, 1)
    found = ours.logits(cut[:, :, :-1])[0].numpy()
    with torch.no_grad():
        theirs = peer(SHAPE, ours.masters, 0)(torch.from_numpy(cut[0, :, :-1])).logits
    np.testing.assert_allclose(found, theirs, atol=1e-5)


def test_bfloat16_is_near_float32() -> None:
    cut = windows(SHAPE, 1)
    made = [Batched(SHAPE, [0], 2, dtype) for dtype in ("fp32", "bf16")]
    losses = [one.losses_and_gradients(cut)[0] for one in made]
    assert losses[1] == pytest.approx(losses[0], abs=0.02)
    exact, rounded = (one.gradients.t.float().flatten() for one in made)
    assert torch.nn.functional.cosine_similarity(exact, rounded, dim=0) > 0.999


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_a_run_does_not_depend_on_its_neighbours(dtype: Any) -> None:
    cut = windows(SHAPE, 3)
    group = Batched(SHAPE, [5, 6, 7], 2, dtype)
    losses = group.losses_and_gradients(cut)
    for run in range(3):
        alone = Batched(SHAPE, [5 + run], 2, dtype)
        loss = alone.losses_and_gradients(cut[run : run + 1])
        assert loss[0] == pytest.approx(losses[run], abs=1e-6)
        mine, theirs = alone.gradients.t[0].float(), group.gradients.t[run].float()
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=0)


def test_a_start_is_decided_by_its_seed() -> None:
    assert np.array_equal(initial(SHAPE, 1), initial(SHAPE, 1))
    assert not np.array_equal(initial(SHAPE, 1), initial(SHAPE, 2))
    assert len(initial(SHAPE, 1)) == SHAPE.parameters


def test_parameters_are_counted_as_transformers_counts() -> None:
    for shape in (SHAPE, UNTIED):
        model = peer(shape, initial(shape, 0)[None], 0)
        assert shape.parameters == model.num_parameters()
