"""The exact samplers against inputs drawn one by one."""

import numpy as np
import pytest
from scipy.stats import ks_2samp

from imprint.theory import sampler
from imprint.theory.covariance import Covariance

A = Covariance(np.array([1, 0.5, 0.2, 0.05]))


def fixed_task(count):
    task = np.array([1.0, -0.5, 2.0, 0.3])
    return task, np.tile(task[:, None], count)


def drawn_columns(tasks, data, n, rng):
    found = np.empty_like(tasks)
    for b, task in enumerate(tasks.T):
        inputs = sampler.draw_inputs(data, n, rng)
        found[:, b] = inputs @ (task @ inputs) / n
    return found


def test_moments():
    task, tasks = fixed_task(200_000)
    n, count = 5, 200_000
    found = sampler.draw_columns(tasks, A, n, np.random.default_rng(0))
    signal = A.eigenvalues * task
    covariance = (np.outer(signal, signal) + signal @ task * np.diag(A.eigenvalues)) / n
    gap = found - signal[:, None]
    errors = np.sqrt(covariance.diagonal() / count)
    assert (np.abs(gap.mean(axis=1)) < 3 * errors).all()
    products = gap[:, None] * gap[None]
    spread = products.std(axis=-1) / np.sqrt(count)
    assert (np.abs(products.mean(axis=-1) - covariance) < 3.5 * spread).all()


@pytest.mark.parametrize("n", [1, 3, 12])
def test_columns_equal_those_of_drawn_inputs_in_distribution(n):
    rng, count = np.random.default_rng(n), 4000
    tasks = sampler.draw_tasks(4, count, rng)
    ours = sampler.draw_columns(tasks, A, n, rng)
    plain = drawn_columns(tasks, A, n, rng)
    looks = np.vstack([np.eye(4), rng.normal(size=(4, 4))])
    views = [
        *((look @ ours, look @ plain) for look in looks),
        *((look @ (ours * tasks), look @ (plain * tasks)) for look in looks),
        (np.sum(ours**2, axis=0), np.sum(plain**2, axis=0)),
        (np.prod(ours, axis=0), np.prod(plain, axis=0)),
    ]
    assert min(ks_2samp(*view).pvalue for view in views) > 1e-3


def test_directions_without_data_stay_zero():
    data = Covariance(np.array([1.0, 0, 0.5, 0]))
    tasks = sampler.draw_tasks(4, 10, np.random.default_rng(0))
    found = sampler.draw_columns(tasks, data, 6, np.random.default_rng(1))
    assert not found[[1, 3]].any()
    assert found[[0, 2]].all()


def test_the_energy_along_the_task_is_chi_squared():
    _, tasks = fixed_task(20_000)
    found = sampler.draw_columns(tasks, A, 6, np.random.default_rng(2))
    energy = np.einsum("db,db->b", tasks, found) * 6 / (A.eigenvalues @ tasks[:, 0] ** 2)
    expected = np.random.default_rng(3).chisquare(6, 20_000)
    assert ks_2samp(energy, expected).pvalue > 1e-3


@pytest.mark.parametrize("n", [2, 4, 9])
def test_whole_moments_equal_those_of_drawn_inputs_in_distribution(n):
    rng, count = np.random.default_rng(n), 3000
    ours = sampler.draw_moments(A, n, count, rng)
    inputs = np.stack([sampler.draw_inputs(A, n, rng) for _ in range(count)])
    plain = inputs @ inputs.transpose(0, 2, 1) / n
    views = [(ours[:, i, j], plain[:, i, j]) for i in range(4) for j in range(i + 1)]
    views.append(tuple(np.linalg.norm(S @ S, axis=(1, 2)) for S in (ours, plain)))
    assert min(ks_2samp(*view).pvalue for view in views) > 1e-3
    np.testing.assert_allclose(ours, ours.transpose(0, 2, 1))


def test_the_same_seed_gives_the_same_prompts():
    tasks = sampler.draw_tasks(4, 3, np.random.default_rng(0))
    first, second = (sampler.draw_columns(tasks, A, 6, np.random.default_rng(1)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
