"""Theorem B.1, corrected and as printed, and proposition B.2."""

import dataclasses

import numpy as np
import pytest
from scipy.optimize import brentq

from imprint.errors import ConfigError
from imprint.theory import asymptotics
from imprint.theory.asymptotics import asymptotic_error, best_small_set, constants, limits
from imprint.theory.pieces import simulated_pieces
from imprint.theory.setting import Setting
from imprint.theory.sft import sft_weights, surrogate_weights
from imprint.theory.test_error import test_error

SIX = Setting(d=600, weak=300)

# n, B, q, w1, w2, T12, Bias, Tinv, TinvS, Tvar, TvarS, F
EXACT = """
1000 30 1.8431 .081902 .018098 .0071868 1.1531 2.1562 1.9922 .09354 3.0816 3.2859
1000 120 9.4443 .31371 .086293 .028856 .90164 10.896 10.136 .076534 2.6136 3.3418
1000 240 28.396 .57884 .22116 .050467 .64105 31.891 30.060 .058673 2.1761 3.8014
1000 300 45.455 .68750 .31250 .053711 .55170 50.227 47.727 .052392 2.0590 4.3730
1000 360 72.760 .77884 .42116 .050467 .49211 79.086 75.772 .048040 2.0156 5.4175
1000 420 120.46 .85359 .54641 .041540 .46097 128.94 124.50 .045530 2.0427 7.4130
1000 480 218.77 .91371 .68629 .028856 .45484 231.08 224.63 .044636 2.1320 11.777
1000 510 318.32 .93905 .76095 .021768 .45977 334.32 325.94 .044705 2.1966 16.319
1000 540 518.51 .96168 .83832 .014487 .46929 541.78 529.59 .045068 2.2728 25.574
1000 900 inf 1 1 0 .50000 125.00 122.73 .046545 2.4545 7.6966
5000 30 1.8431 .081902 .018098 .0071868 14.506 2.1562 1.9922 .59162 18.812 17.047
5000 120 9.4443 .31371 .086293 .028856 10.756 10.896 10.136 .43822 14.343 13.204
5000 240 28.396 .57884 .22116 .050467 6.5132 31.891 30.060 .26572 9.3279 8.8262
5000 300 45.455 .68750 .31250 .053711 4.8217 50.227 47.727 .19862 7.3428 7.0873
5000 360 72.760 .77884 .42116 .050467 3.4471 79.086 75.772 .14588 5.7389 5.7218
5000 420 120.46 .85359 .54641 .041540 2.3731 128.94 124.50 .10664 4.4986 4.7906
5000 480 218.77 .91371 .68629 .028856 1.5580 231.08 224.63 .078705 3.5761 4.4584
5000 510 318.32 .93905 .76095 .021768 1.2313 334.32 325.94 .068157 3.2160 4.7067
5000 540 518.51 .96168 .83832 .014487 .94987 541.78 529.59 .059464 2.9135 5.6591
5000 900 inf 1 1 0 .50000 125.00 122.73 .046545 2.4545 1.5938
"""
PIECES = ["q", "w1", "w2", "t12", "bias", "t_inv", "t_inv_sigma", "t_var", "t_var_sigma", "error"]


@pytest.mark.parametrize("row", EXACT.split("\n")[1:-1])
def test_corrected_values_to_the_last_digit(row):
    n, count, *values = row.split()
    found = asymptotic_error(SIX.with_context(int(n)), int(count) / 600)
    ours = [f"{getattr(found, piece):.5g}" for piece in PIECES]
    assert ours == [f"{float(value):.5g}" for value in values]


# n, B, printed F, corrected F
BOTH = """
1000 30 3.250 3.286
1000 240 3.292 3.801
1000 480 10.50 11.78
1000 660 30.30 30.30
1000 1200 4.871 4.871
5000 120 13.03 13.20
5000 360 5.080 5.722
5000 480 3.656 4.458
5000 540 4.809 5.659
5000 780 2.117 2.117
"""


@pytest.mark.parametrize("row", BOTH.split("\n")[1:-1])
def test_both_forms(row):
    n, count, printed, corrected = row.split()
    setting = SIX.with_context(int(n))
    for form, value in (("printed", printed), ("corrected", corrected)):
        found = asymptotic_error(setting, int(count) / 600, form)
        assert found.form == form
        assert f"{found.error:.4g}" == f"{float(value):.4g}"


# n, B, and means of the exact and of the surrogate estimator over four draws
SIMULATED = """
1000 240 2.196 3.794
1000 900 2.275 7.763
5000 120 12.66 13.19
5000 480 2.945 4.499
5000 1200 .7503 1.204
"""


@pytest.mark.parametrize("row", SIMULATED.split("\n")[1:-1])
def test_the_corrected_theorem_is_what_simulation_gives(row):
    n, count, exact, surrogate = map(float, row.split())
    setting = SIX.with_context(int(n))
    ours, plain = (
        np.mean([test_error(make(setting, int(count), s), setting.test, n) for s in range(2)])
        for make in (surrogate_weights, sft_weights)
    )
    assert ours == pytest.approx(asymptotic_error(setting, count / 600).error, rel=0.03)
    assert ours == pytest.approx(surrogate, rel=0.05)
    assert plain == pytest.approx(exact, rel=0.05)


def test_the_printed_theorem_is_not():
    setting = SIX.with_context(5000)
    found = np.mean(
        [test_error(surrogate_weights(setting, 480, s), setting.test, 5000) for s in range(2)]
    )
    assert asymptotic_error(setting, 0.8, "printed").error < 0.9 * found


def test_three_context_lengths_are_told_apart():
    setting = Setting(d=500, weak=200, n_pre=400, n_sft=2500, n_test=900)
    for beta in (0.5, 2):
        found = [
            test_error(surrogate_weights(setting, setting.prompts(beta), s), setting.test, 900)
            for s in range(2)
        ]
        assert np.mean(found) == pytest.approx(asymptotic_error(setting, beta).error, rel=0.04)


@pytest.mark.parametrize("r", [1e-4, 0.01, 0.2, 3.0])
@pytest.mark.parametrize("beta", [1e-6, 0.03, 0.5, 0.97, 1 - 1e-9])
def test_the_fixed_point(r, beta):
    c = constants(Setting(d=10, weak=3, interference=r))

    def gap(log_q):
        share = c.a**2 * np.exp(log_q)
        return float(c.mu @ (share / (1 + share))) - beta

    expected = np.exp(brentq(gap, -60, 60, xtol=1e-13))
    assert asymptotics.fixed_point(c, beta) == pytest.approx(expected, rel=1e-5)


def test_the_fixed_point_in_the_symmetric_case():
    c = constants(Setting(d=10, weak=5))
    assert asymptotics.fixed_point(c, 0.5) == pytest.approx(1 / np.prod(c.a))


# r, n, best beta and F corrected, the same printed, F(0), F(inf)
LEAST = """
.01 400 .005 1.901 .005 1.896 1.888 391
.01 800 .157 3.854 .240 3.608 4.107 285.7
.01 1200 .274 5.099 .343 4.515 6.689 250.7
.01 5000 .421 8.069 .446 6.921 24.3 197.3
.1 400 .005 1.901 .005 1.898 1.888 3.077
.1 800 .270 3.817 .387 3.436 4.107 1.789
.1 1200 .519 4.482 .568 3.759 6.689 1.359
.1 5000 .843 4.081 .843 3.396 24.3 .7062
"""


@pytest.mark.parametrize("row", LEAST.split("\n")[1:-1])
def test_the_least_error_below_one(row):
    r, n, beta, error, printed_beta, printed_error, start, end = map(float, row.split())
    setting = Setting(interference=r).with_context(int(n))
    grid = np.linspace(0.005, 0.98, 200)
    for form, at, least in (
        ("corrected", beta, error),
        ("printed", printed_beta, printed_error),
    ):
        found = best_small_set(setting, form, grid)
        assert found.beta == pytest.approx(at, abs=6e-4)
        assert f"{found.error:.4g}" == f"{least:.4g}"
        assert best_small_set(setting, form).error <= found.error * (1 + 1e-5)
    ends = limits(setting)
    assert f"{ends.at_zero:.4g}" == f"{start:.4g}" or ends.at_zero == pytest.approx(24.3, abs=0.05)
    assert f"{ends.at_infinity:.4g}" == f"{end:.4g}"


def test_beyond_one_it_falls_as_one_over_the_excess():
    setting = SIX.with_context(1000)
    ends = limits(setting)
    for beta in (1.001, 1.3, 4.0):
        expected = ends.at_infinity + ends.numerator / (beta - 1)
        assert asymptotic_error(setting, beta).error == pytest.approx(expected)
    assert asymptotic_error(setting, 1.0).error == np.inf
    assert ends.numerator > 0


@pytest.mark.parametrize(("r", "gap", "leading"), [(0.01, 281.6, 305), (0.001, 30297, 30500)])
def test_the_growth_for_small_interference(r, gap, leading):
    ends = limits(Setting(interference=r))
    assert f"{ends.at_infinity - ends.at_zero:.{len(str(gap).replace('.', ''))}g}" == f"{gap:g}"
    assert ends.leading == pytest.approx(leading)
    assert ends.at_zero == pytest.approx(4.10696, abs=5e-6)


def test_the_slope_at_zero():
    setting = Setting(interference=1e-7)
    start = asymptotic_error(setting, 0.0).bias
    slope = (asymptotic_error(setting, 1e-6).bias - start) / 1e-6
    assert limits(setting).bias_slope == pytest.approx(slope, rel=1e-4)
    assert limits(setting).falls_at_first
    assert not limits(dataclasses.replace(setting, weak=3)).falls_at_first


def test_zero_prompts_leave_the_pretrained_model():
    found = asymptotic_error(SIX, 0.0)
    assert (found.q, found.w1, found.w2, found.t12) == (0, 0, 0, 0)
    assert asymptotic_error(SIX, 1e-9).error == pytest.approx(found.error)


def test_what_it_does_not_cover():
    with pytest.raises(ConfigError, match="interference above 0"):
        asymptotic_error(Setting(interference=0), 0.5)
    with pytest.raises(ConfigError, match="beta is -1"):
        asymptotic_error(Setting(), -1)


# n, B, simulated Bias, Tvar, TvarS, Tinv, TinvS, T12 (four draws)
PARTS = """
1000 60 1.064 .08775 2.913 4.649 4.304 .01443
1000 300 .5517 .05249 2.059 50.26 47.75 .05370
1000 510 .4600 .04479 2.197 338.9 330.5 .02180
5000 180 8.505 .3471 11.68 19.65 18.39 .04159
5000 420 2.373 .1068 4.498 130.4 125.9 .04156
"""


@pytest.mark.parametrize("row", PARTS.split("\n")[1:-1])
def test_simulated_pieces(row):
    n, count, *values = row.split()
    setting = SIX.with_context(int(n))
    found = [simulated_pieces(setting, int(count), seed) for seed in range(2)]
    theory = asymptotic_error(setting, int(count) / 600)
    names = ("bias", "t_var", "t_var_sigma", "t_inv", "t_inv_sigma", "t12")
    for piece, value in zip(names, map(float, values), strict=True):
        mean = np.mean([getattr(one, piece) for one in found])
        assert mean == pytest.approx(value, rel=0.04)
        assert mean == pytest.approx(getattr(theory, piece), rel=0.04)
