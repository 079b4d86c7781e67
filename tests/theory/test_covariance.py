"""Covariances as objects, the settings made of them, and what data do to a model."""

import numpy as np
import pytest

from imprint.errors import ConfigError
from imprint.theory.balance import balance, indicators
from imprint.theory.covariance import Covariance
from imprint.theory.data_selection import best_allocation, interference_damage
from imprint.theory.pretraining import optimum, pretrained
from imprint.theory.setting import Setting
from imprint.theory.sft import sft_limit
from imprint.theory.test_error import floor, test_error


@pytest.mark.parametrize("values", [[1, -0.1], [1, np.nan], [[1.0]], [np.inf]])
def test_what_is_no_covariance(values):
    with pytest.raises(ConfigError, match="finite eigenvalues of at least 0"):
        Covariance(np.array(values))


def test_arithmetic():
    a, b = Covariance(np.array([2.0, 0])), Covariance(np.array([1.0, 0]))
    np.testing.assert_array_equal((a + 2 * b).eigenvalues, [4, 0])
    np.testing.assert_array_equal((a - b).eigenvalues, [1, 0])
    assert (a.d, a.trace, a.rank) == (2, 2, 1)
    assert a.task_hardness() == np.inf
    assert Covariance(np.array([3, 1])).task_hardness() == 4


def test_hardness_is_relative_to_the_model():
    setting = Setting()
    weights = pretrained(setting)
    gap = np.sum((1 + weights * setting.test.eigenvalues) ** 2)
    assert setting.test.hardness(weights) == pytest.approx(gap)
    exact = setting.test.hardness(weights, setting.n_test)
    assert exact == pytest.approx(400 * test_error(weights, setting.test, setting.n_test))
    assert setting.test.hardness(weights) > setting.pretraining.hardness(weights)


def test_alignment_with_the_shift():
    setting = Setting(interference=0)
    assert setting.data.alignment(setting.shift) == pytest.approx(1)
    clean, mixed, other = (Setting(interference=r).data for r in (0.01, 0.1, 10))
    angles = [data.alignment(setting.shift) for data in (clean, mixed, other)]
    assert angles == sorted(angles, reverse=True)
    assert np.isnan(setting.data.alignment(Covariance(np.zeros(400))))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("d", 0),
        ("weak", 0),
        ("weak", 401),
        ("weak_eig", -1),
        ("weak_eig", np.nan),
        ("target_rate", 0),
        ("target_rate", 1.5),
        ("interference", -0.1),
        ("n_sft", 0),
        ("cot", 0),
    ],
)
def test_settings_outside_their_range(field, value):
    with pytest.raises(ConfigError, match=f"{field} is {value}"):
        Setting(**{field: value})


def test_the_blocks_of_a_setting():
    setting = Setting(d=4, weak=1, weak_eig=0.1, target_rate=0.5, interference=0.3)
    np.testing.assert_allclose(setting.pretraining.eigenvalues, [0.1, 1, 1, 1])
    np.testing.assert_allclose(setting.test.eigenvalues, [1.1, 1, 1, 1])
    np.testing.assert_allclose(setting.data.eigenvalues, [0.55, 0.3, 0.3, 0.3])
    assert setting.weak_share == 0.25
    assert setting.prompts(0.5) == 2
    tied = setting.with_context(9)
    assert (tied.n_pre, tied.n_sft, tied.n_test) == (9, 9, 9)


# n, chi and nu of the weak block
INDICATORS = """
20 .090 .901
50 .222 .756
100 .435 .522
200 .833 .084
400 1.538 .692
600 2.142 1.356
800 2.666 1.932
1000 3.124 2.436
1200 3.528 2.881
5000 6.943 6.638
"""


@pytest.mark.parametrize("row", INDICATORS.split("\n")[1:-1])
def test_indicators_of_balance(row):
    n, chi, nu = map(float, row.split())
    found = indicators(Setting().with_context(int(n)))
    assert (round(found.chi[0], 3), round(found.nu[0], 3)) == (chi, nu)
    assert found.spec_radius == found.chi[0]
    assert not found.chi[200:].any()
    assert found.latent[:200].all() == (chi < 1)
    assert not found.latent[200:].any()
    assert found.start_radius == found.nu.max()


def test_the_two_indicators_meet_for_long_contexts():
    found = indicators(Setting().with_context(10**8))
    np.testing.assert_allclose(found.nu[:200], found.chi[:200], rtol=1e-3)


def test_the_starting_error_is_the_error_before_training():
    setting = Setting(n_pre=300, n_test=500)
    found = indicators(setting)
    error = test_error(pretrained(setting), setting.test, 500)
    assert found.start_error.mean() == pytest.approx(error)
    gamma, sigma = setting.pretraining.ridged(300), setting.test.eigenvalues
    parts = found.nu**2 + sigma * (sigma + sigma.sum()) / (500 * gamma**2)
    np.testing.assert_allclose(found.start_error, parts)


def test_a_direction_pretraining_lacks_is_not_latent():
    found = balance(Covariance(np.array([0, 1.0])), Covariance(np.array([0.1, 0.1])), 10)
    np.testing.assert_array_equal(found.latent, [False, True])


def test_the_best_allocation_reaches_the_floor_on_all_directions():
    setting = Setting(d=20, weak=7).with_context(50)
    everywhere = np.full(20, True)
    data = best_allocation(setting.pretraining, setting.shift, 0.2, everywhere)
    weights = sft_limit(setting, data)
    np.testing.assert_allclose(weights, optimum(setting.test, 50))
    assert test_error(weights, setting.test, 50) == pytest.approx(floor(setting))
    narrow = best_allocation(setting.pretraining, setting.shift, 0.2)
    np.testing.assert_allclose(narrow.eigenvalues, [0.22] * 7 + [0] * 13)
    with pytest.raises(ConfigError, match="leave out"):
        best_allocation(setting.pretraining, setting.shift, 0.2, ~everywhere)


@pytest.mark.parametrize(("r", "size"), [(0.05, 9), (0.1, 1), (0.2, 0), (0.4, 0.25), (1, 0.64)])
def test_interference_is_a_wrong_scale(r, size):
    found = interference_damage(Setting(interference=r))
    assert found[-1] == pytest.approx(size, abs=1e-12)
    assert found[:200] == pytest.approx(0, abs=1e-12)
    assert np.isnan(interference_damage(Setting(interference=0))[-1])
