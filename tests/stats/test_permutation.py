import itertools

import numpy as np
import pytest
from scipy import stats as peer

from imprint import stats
from imprint.errors import DataError
from imprint.stats.shuffles import arrangements, every_shuffle, every_total


@pytest.fixture
def nine():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(9, 3))
    return X, 0.5 * X + rng.normal(size=(9, 3))


def test_free_exact_equals_scipy():
    rng = np.random.default_rng(1)
    X, Y = rng.normal(size=(2, 6, 2))
    result = stats.permutation_p(X, Y)
    assert result.count == 720
    assert "all 720" in result.method
    for b in range(2):
        theirs = peer.permutation_test(
            (X[:, b],),
            lambda x, b=b: abs(peer.pearsonr(x, Y[:, b]).statistic),
            permutation_type="pairings",
            n_resamples=np.inf,
            alternative="greater",
        )
        assert result.p[b] == pytest.approx(theirs.pvalue)


def test_within_blocks_equals_plain_enumeration(nine):
    X, Y = nine
    blocks = np.array([0, 1, 2] * 3)
    result = stats.permutation_p(X, Y, blocks)
    assert result.count == 216
    r = []
    for orders in itertools.product(itertools.permutations(range(3)), repeat=3):
        moved = np.empty(9, int)
        for block, order in enumerate(orders):
            members = np.flatnonzero(blocks == block)
            moved[members] = members[list(order)]
        r.append(stats.pearson(X, Y[moved]))
    gap = np.abs(np.array(r) - np.mean(r, axis=0))
    seen = np.abs(stats.pearson(X, Y) - np.mean(r, axis=0))
    np.testing.assert_allclose(result.p, np.mean(gap >= seen - 1e-12, axis=0))
    assert result.p.min() >= 1 / 216


def test_random_agrees_with_exact(nine):
    X, Y = nine
    for blocks in (None, np.repeat([0, 1, 2], 3)):
        exact = stats.permutation_p(X, Y, blocks)
        sampled = stats.permutation_p(X, Y, blocks, exact_limit=10, count=20_000, seed=1)
        assert sampled.count == 20_000
        assert "random" in sampled.method
        np.testing.assert_allclose(sampled.p, exact.p, atol=0.015)


def test_ranks_and_ties():
    X = np.array([1.0, 2, 2, 3, 5, 100])[:, None]
    Y = np.array([1.0, 1, 2, 4, 3, 9])[:, None]
    by_rank = stats.permutation_p(stats.midranks(X), stats.midranks(Y))
    np.testing.assert_array_equal(stats.permutation_p(X, Y, ranks=True).p, by_rank.p)


def test_missing_units_and_undefined_columns(nine):
    X, Y = nine
    X[2, 1] = np.nan
    X[:, 2] = 0.25
    p = stats.permutation_p(X, Y).p
    assert p[1] == stats.permutation_p(np.delete(X, 2, 0), np.delete(Y, 2, 0)).p[1]
    assert np.isnan(p[2])
    assert np.isnan(stats.permutation_p(X, Y, np.arange(9)).p).all()  # nothing to exchange
    # constant within every block: exchanging units inside it says nothing
    blocks = np.repeat([0, 1, 2], 3)
    X[:, 0] = blocks
    assert np.isnan(stats.permutation_p(X, Y, blocks).p[0])


def test_many_units_share_random_permutations():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(2, 40, 1))
    X, Y = np.hstack([x, x, x]), np.hstack([y, y, -y])
    p = stats.permutation_p(X, Y, count=999, seed=4).p
    assert p[0] == p[1] == p[2]
    assert 1 / 1000 <= p[0] <= 1
    perfect = stats.permutation_p(x, x, count=999)
    assert perfect.p[0] == 1 / 1000


def factorial(seed, tables, spread=1.0):
    """Scores of a 3 × 3 design with source effects in both stages and no link within a source."""
    rng = np.random.default_rng(seed)
    rows, cols = np.repeat([0, 1, 2], 3), np.tile([0, 1, 2], 3)
    effect = spread * rng.normal(size=(3, tables))
    return (
        rows,
        cols,
        effect[rows] + rng.normal(size=(9, tables)),
        effect[rows] + rng.normal(size=(9, tables)),
    )


def test_restricted_permutation_keeps_its_level_where_the_naive_test_does_not():
    rows, _, X, Y = factorial(3, 1500, spread=2.0)
    restricted = stats.permutation_p(X, Y, rows).p
    naive = stats.t_test_p(stats.pearson(X, Y), 9)
    assert np.mean(restricted <= 0.05) == pytest.approx(0.05, abs=0.02)
    assert np.mean(naive <= 0.05) > 0.3


def test_free_permutation_under_the_null():
    X, Y = np.random.default_rng(4).normal(size=(2, 7, 600))
    assert np.mean(stats.permutation_p(X, Y).p <= 0.05) == pytest.approx(0.05, abs=0.03)


def test_relabelling_a_factorial():
    rows, cols, X, Y = factorial(5, 400, spread=0)
    result = stats.relabel_p(X, Y, rows, cols)
    assert result.count == 36
    assert result.p.min() >= 1 / 36
    assert np.mean(result.p <= 2 / 36) == pytest.approx(2 / 36, abs=0.03)
    x, y = X[:, 0].reshape(3, 3), Y[:, 0].reshape(3, 3)
    r = [
        np.corrcoef(x.ravel(), y[np.ix_(a, b)].ravel())[0, 1]
        for a in itertools.permutations(range(3))
        for b in itertools.permutations(range(3))
    ]
    assert result.p[0] == pytest.approx(np.mean(np.abs(r) >= abs(r[0]) - 1e-12))
    mixed = np.random.default_rng(6).permutation(9)
    again = stats.relabel_p(X[mixed], Y[mixed], rows[mixed], cols[mixed])
    np.testing.assert_array_equal(again.p, result.p)
    with pytest.raises(DataError, match="once per cell"):
        stats.relabel_p(X[1:], Y[1:], rows[1:], cols[1:])
    with pytest.raises(DataError, match="too many"):
        stats.relabel_p(np.ones((20, 1)), np.ones((20, 1)), np.arange(20), np.zeros(20, int))


def test_sign_flips_of_clusters():
    rng = np.random.default_rng(7)
    groups = np.repeat(np.arange(6), 3)
    X, Y = rng.normal(size=(2, 18, 2))
    result = stats.cluster_sign_p(X, Y, groups)
    assert result.count == 64
    assert "6 clusters" in result.method
    scores = ((X - X.mean(0)) / X.std(0) * (Y - Y.mean(0)) / Y.std(0)).reshape(6, 3, 2).sum(1)
    flips = np.array(list(itertools.product([1, -1], repeat=6)))
    expected = np.mean(np.abs(flips @ scores) >= np.abs(scores.sum(0)) - 1e-9, axis=0)
    np.testing.assert_allclose(result.p, expected)
    many = stats.cluster_sign_p(X, Y, np.arange(18), count=4000)
    assert many.count == 4000
    assert (many.p >= 1 / 4001).all()
    assert np.isnan(stats.cluster_sign_p(X, Y, np.zeros(18, int)).p).all()


def test_sign_flips_keep_their_level_with_clustered_units():
    rng = np.random.default_rng(8)
    groups = np.repeat(np.arange(10), 4)
    X, Y = (np.repeat(rng.normal(size=(10, 800)), 4, axis=0) for _ in range(2))
    X, Y = X + 0.1 * rng.normal(size=X.shape), Y + 0.1 * rng.normal(size=Y.shape)
    p = stats.cluster_sign_p(X, Y, groups).p
    naive = stats.t_test_p(stats.pearson(X, Y), 40)
    assert np.mean(p <= 0.05) < 0.09
    assert np.mean(naive <= 0.05) > 0.25


@pytest.mark.parametrize("sizes", [(1,), (2,), (5,), (6,), (3, 1, 4), (2, 2, 2)])
def test_sums_over_all_exchanges_are_those_of_each(sizes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(len(sizes))
    labels = np.repeat(np.arange(len(sizes)), sizes)
    x, y = rng.normal(size=(2, len(labels)))
    each = every_shuffle(labels)
    found = every_total(x, y, labels)
    assert len(found) == arrangements(labels)
    assert np.sort(found) == pytest.approx(np.sort((y[each] * x).sum(axis=1)), abs=1e-12)
