"""Divergences of logits against plain float64, their properties, and published numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imprint.errors import ConfigError, DataError

torch = pytest.importorskip("torch", reason="torch is not installed")

from imprint.models.divergence import divergences  # noqa: E402
from imprint.models.top_tokens import top_k_divergence, top_k_mass  # noqa: E402


def rows(logits: Any) -> Any:
    return lambda start, stop: logits[start:stop]


def compare(base: Any, tuned: Any, targets: Any = None, **options: Any) -> Any:
    targets = torch.zeros(len(base), dtype=torch.long) if targets is None else targets
    return divergences(rows(base), rows(tuned), targets, **options)


def reference(base: Any, tuned: Any) -> dict[str, Any]:
    p, q = (x.double().log_softmax(-1) for x in (base, tuned))
    m = ((p.exp() + q.exp()) / 2).log()
    return {
        "kl": (p.exp() * (p - q)).sum(-1).numpy(),
        "reverse_kl": (q.exp() * (q - p)).sum(-1).numpy(),
        "js": ((p.exp() * (p - m)).sum(-1) + (q.exp() * (q - m)).sum(-1)).numpy() / 2,
    }


def pair(count: int, width: int, seed: int, spread: float, dtype: Any = None) -> tuple[Any, Any]:
    draw = torch.Generator().manual_seed(seed)
    base = torch.randn(count, width, generator=draw) * spread
    tuned = base + 0.3 * torch.randn(count, width, generator=draw)
    dtype = dtype or torch.float32
    return base.to(dtype), tuned.to(dtype)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize(("width", "spread"), [(2, 1.0), (37, 0.1), (5000, 3.0), (40_000, 8.0)])
def test_agrees_with_float64(width: int, spread: float, dtype: str) -> None:
    base, tuned = pair(70, width, 1, spread, getattr(torch, dtype))
    found = compare(base, tuned)
    for name, wanted in reference(base, tuned).items():
        np.testing.assert_allclose(getattr(found, name), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_of_itself_is_exactly_zero(dtype: str) -> None:
    base, _ = pair(300, 1000, 2, 4.0, getattr(torch, dtype))
    found = compare(base, base.clone())
    assert not found.kl.any()
    assert not found.reverse_kl.any()
    assert not found.js.any()
    assert found.top1_same.all()


@given(st.integers(1, 200), st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_the_block_changes_nothing(block: int, seed: int) -> None:
    base, tuned = pair(150, 50, seed, 2.0)
    targets = torch.arange(150) % 50
    one, other = compare(base, tuned, targets), compare(base, tuned, targets, block=block)
    for name, values in one.columns().items():
        np.testing.assert_allclose(other.columns()[name], values, atol=1e-6)


@given(st.integers(0, 10_000), st.floats(0.01, 30))
@settings(max_examples=40, deadline=None)
def test_properties(seed: int, spread: float) -> None:
    base, tuned = pair(8, 11, seed, spread)
    found, swapped = compare(base, tuned), compare(tuned, base)
    assert (found.kl >= 0).all()
    assert (found.js <= math.log(2)).all()
    np.testing.assert_allclose(found.kl, swapped.reverse_kl, atol=2e-6)
    np.testing.assert_allclose(found.js, swapped.js, atol=2e-6)
    shifted = compare(base + 3.0, tuned - 5.0)
    np.testing.assert_allclose(found.kl, shifted.kl, atol=3e-5)


def test_the_compiled_loops_and_torch_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    from imprint.models import divergence

    for seed, (width, spread) in enumerate([(3, 1.0), (2049, 30.0), (5000, 0.01), (50_000, 5.0)]):
        base, tuned = pair(40, width, seed, spread)
        targets = torch.arange(40) % width
        compiled = compare(base, tuned, targets).columns()
        with monkeypatch.context() as patch:
            patch.setattr(divergence, "_compiled", divergence._by_torch)
            by_torch = compare(base, tuned, targets).columns()
        for name, values in compiled.items():
            assert values.dtype == by_torch[name].dtype
            np.testing.assert_allclose(values, by_torch[name], atol=1e-5, rtol=1e-5)


def test_logits_far_apart() -> None:
    base = torch.tensor([[200.0, 0.0, -300.0], [0.0, 0.0, 0.0]])
    tuned = torch.tensor([[-300.0, 0.0, 200.0], [80.0, 0.0, -80.0]])
    found = compare(base, tuned)
    for name, wanted in reference(base, tuned).items():
        wanted = np.nan_to_num(wanted, nan=math.log(2)) if name == "js" else wanted
        np.testing.assert_allclose(getattr(found, name), wanted, rtol=1e-5, atol=1e-5)


def test_by_hand() -> None:
    found = compare(torch.tensor([[math.log(3), 0.0]]), torch.zeros(1, 2), torch.tensor([1]))
    assert found.kl[0] == pytest.approx(0.130812, abs=1e-6)
    assert found.reverse_kl[0] == pytest.approx(-0.5 * math.log(0.75), abs=1e-6)
    assert found.base_logprob[0] == pytest.approx(math.log(0.25))
    assert found.tuned_logprob[0] == pytest.approx(math.log(0.5))
    assert (found.base_rank[0], found.tuned_rank[0]) == (2, 1)
    assert found.top1_same[0]  # of equal tokens the first


def test_ranks_and_top_tokens() -> None:
    base = torch.tensor([[3.0, 2.0, 1.0, 0.0]] * 2)
    tuned = torch.tensor([[0.0, 1.0, 2.0, 3.0], [3.0, 0.0, 1.0, 2.0]])
    found = compare(base, tuned, torch.tensor([1, 3]))
    assert found.base_rank.tolist() == [2, 4]
    assert found.tuned_rank.tolist() == [3, 2]
    assert found.top1_same.tolist() == [False, True]


def test_padding_of_one_vocabulary_is_left_out() -> None:
    base, tuned = pair(5, 20, 3, 1.0)
    wide = torch.cat([tuned, torch.full((5, 4), 9.0)], 1)
    np.testing.assert_allclose(compare(base, wide).kl, compare(base, tuned).kl, atol=1e-7)


def test_logits_of_minus_infinity() -> None:
    never = -torch.inf
    base = torch.tensor([[0.0, 0.0, never], [0.0, 0.0, 0.0]])
    tuned = torch.tensor([[0.0, 1.0, never], [0.0, 1.0, never]])
    found = compare(base, tuned)
    plain = compare(base[:1, :2], tuned[:1, :2])
    assert found.kl[0] == pytest.approx(plain.kl[0], abs=1e-6)
    assert found.js[0] == pytest.approx(plain.js[0], abs=1e-6)
    assert math.isinf(found.kl[1])
    assert math.isfinite(found.reverse_kl[1])
    assert 0 < found.js[1] < math.log(2)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_rows_that_are_not_finite_change_no_other_row(dtype: str) -> None:
    base, tuned = pair(9, 5000, 6, 2.0, getattr(torch, dtype))
    base[4, 4999], tuned[4, 17] = -torch.inf, -torch.inf
    targets = torch.arange(9)
    found, wanted = compare(base, tuned, targets), reference(base, tuned)
    others = [n for n in range(9) if n != 4]
    np.testing.assert_allclose(found.kl[others], wanted["kl"][others], atol=1e-5)
    assert math.isinf(found.kl[4])
    assert math.isfinite(found.js[4])
    assert found.base_rank[4] == (base[4] > base[4, 4]).sum() + 1


def test_of_equal_tokens_the_first_even_of_two_zeros() -> None:
    base = torch.full((1, 5000), -1.0)
    base[0, 3], base[0, 4000] = -0.0, 0.0
    tuned = torch.full((1, 5000), -1.0)
    tuned[0, 3] = 0.0
    assert compare(base, tuned).top1_same[0]
    assert compare(base.bfloat16(), tuned.bfloat16()).top1_same[0]


def test_logits_that_lie_apart_in_memory() -> None:
    base, tuned = pair(12, 400, 7, 1.0)
    found = compare(base.T.contiguous().T, tuned.double())
    np.testing.assert_allclose(found.kl, compare(base, tuned).kl, atol=1e-6)


def test_not_a_number_is_refused() -> None:
    bad = torch.zeros(3, 4)
    bad[1, 2] = torch.nan
    with pytest.raises(DataError, match="not numbers"):
        compare(bad, torch.zeros(3, 4))


def test_no_position() -> None:
    assert len(compare(torch.zeros(0, 4), torch.zeros(0, 4)).kl) == 0


DOWN = [float(value) for value in range(9, -1, -1)]


@pytest.mark.parametrize(
    ("tuned", "base", "wanted"),
    [
        (DOWN, [0.0] * 10, 1.262433),
        ([0.0] * 10, DOWN, 2.656045),
        (DOWN, DOWN[::-1], 7.836955),
        (DOWN, [value / 2 for value in DOWN], 0.176600),
    ],
)
def test_top_ten_known_values(tuned: list[float], base: list[float], wanted: float) -> None:
    # tokens outside the tuned model's ten change nothing, however likely the base finds them
    outside = torch.tensor([[50.0, 40.0]])
    found = top_k_divergence(
        torch.cat([torch.tensor([tuned]), torch.full((1, 2), -9.0)], 1),
        torch.cat([torch.tensor([base]), outside], 1),
    )
    assert found[0] == pytest.approx(wanted, abs=1e-6)


def test_top_two_known_value() -> None:
    found = top_k_divergence([[math.log(3), 0.0]], [[0.0, 0.0]], 2)
    assert found[0] == pytest.approx(0.130812, abs=1e-6)


def plain_top(tuned: Any, base: Any, k: int) -> float:
    order = sorted(range(len(tuned)), key=lambda token: (-tuned[token], token))[:k]
    q, p = (np.exp([x[t] - max(x[t] for t in order) for t in order]) for x in (tuned, base))
    q, p = q / q.sum(), p / p.sum()
    return float(sum(a * math.log(a / b) for a, b in zip(q, p, strict=True)))


@given(st.integers(0, 10_000), st.sampled_from([1, 5, 10, 50]))
@settings(max_examples=40, deadline=None)
def test_top_k_properties(seed: int, k: int) -> None:
    base, tuned = pair(6, 60, seed, 2.0)
    found = top_k_divergence(tuned, base, k)
    assert found[0] == pytest.approx(plain_top(tuned[0].tolist(), base[0].tolist(), k), abs=1e-9)
    assert (found >= 0).all()
    np.testing.assert_allclose(top_k_divergence(tuned + 2, base - 3, k), found, atol=1e-5)
    assert top_k_divergence(tuned, tuned + 1.0, k) == pytest.approx(np.zeros(6), abs=1e-9)
    bound = compare(base, tuned).reverse_kl / top_k_mass(tuned, base, k)[:, 0]
    assert (found <= bound + 1e-4).all()


def test_too_many_tokens_are_refused() -> None:
    with pytest.raises(ConfigError, match="top 10 of a vocabulary of 3"):
        top_k_divergence(torch.zeros(1, 3), torch.zeros(1, 3))
