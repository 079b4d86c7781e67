"""Columns S w* of random prompts: the exact sampler beside drawing every input.

*Sampler*: both ways give Φ for the same number of prompts; the plain way draws each prompt's n
inputs and multiplies, with its arrays reused. Equality in distribution is a test
(tests/theory/test_sampler.py); here the mean squared length per prompt is printed beside its
exact value. *Column*: test errors of exact SFT at B = 2000 for three context lengths and three
strengths of interference, sampling, fit and error included.

    python benchmarks/theory_sampler.py                  # d = 400, n = 800
    python benchmarks/theory_sampler.py --prompts 100 --rounds 1
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from imprint.stats.arrays import Floats
from imprint.theory.covariance import Covariance
from imprint.theory.sampler import draw_columns, draw_tasks
from imprint.theory.setting import Setting
from imprint.theory.sft import sft_weights
from imprint.theory.test_error import test_error

Way = Callable[[Floats, Covariance, int, np.random.Generator], Floats]


def every_input(tasks: Floats, data: Covariance, n: int, draw: np.random.Generator) -> Floats:
    """Draw n inputs for each prompt."""
    root = np.sqrt(data.eigenvalues)
    inputs, found = np.empty((n, data.d)), np.empty_like(tasks)
    for b, task in enumerate(tasks.T):
        draw.standard_normal(out=inputs)
        found[:, b] = root * ((inputs @ (root * task)) @ inputs) / n
    return found


def timed(way: Way, setting: Setting, prompts: int, rounds: int) -> tuple[float, float]:
    """Seconds of the round least disturbed by other work, and the mean of ‖Sw‖² per prompt."""
    tasks = draw_tasks(setting.d, prompts, np.random.default_rng(0))
    seconds, columns = [], tasks
    for number in range(rounds):
        start = time.perf_counter()
        columns = way(tasks, setting.data, setting.n_sft, np.random.default_rng(number + 1))
        seconds.append(time.perf_counter() - start)
    return min(seconds), float(np.mean(np.sum(columns**2, axis=0)))


def expected(setting: Setting, prompts: int) -> float:
    """Mean of ‖Sw‖² over the same tasks, exact: wᵀA²w(1 + 1/n) + q trA/n."""
    tasks = draw_tasks(setting.d, prompts, np.random.default_rng(0))
    a, n = setting.data.eigenvalues, setting.n_sft
    square, power = a**2 @ tasks**2, a @ tasks**2
    return float(np.mean(square * (1 + 1 / n) + power * a.sum() / n))


def sampler(prompts: int, rounds: int, plain_rounds: int) -> None:
    """Print both ways and their ratio."""
    setting = Setting()
    print(f"{prompts:,} prompts of {setting.n_sft} inputs, d = {setting.d}")
    draw_columns(np.ones((setting.d, 2)), setting.data, 5, np.random.default_rng(0))
    ours, length = timed(draw_columns, setting, prompts, rounds)
    plain, other = timed(every_input, setting, prompts, plain_rounds)
    print(f"  exact sampler      {ours:9.4f} s   mean ‖Sw‖² {length:.4f}")
    print(f"  every input drawn  {plain:9.4f} s   mean ‖Sw‖² {other:.4f}")
    print(f"  exact value                      mean ‖Sw‖² {expected(setting, prompts):.4f}")
    print(f"  ratio {plain / ours:.0f} (target 20)")


def column(prompts: int) -> None:
    """Print the errors of the figure's last column and the seconds for all of them."""
    start, rows = time.perf_counter(), []
    for r in (0, 0.01, 0.1):
        settings = [Setting(interference=r).with_context(n) for n in (400, 800, 1200)]
        errors = [test_error(sft_weights(s, prompts, 0), s.test, s.n_test) for s in settings]
        rows.append(f"  r = {r:<5}" + "".join(f"{error:11.4g}" for error in errors))
    seconds = time.perf_counter() - start
    print(f"errors at B = {prompts:,}; n = 400, 800, 1200: {seconds:.2f} s for all nine")
    print("\n".join(rows))


def main() -> None:
    """Run both parts."""
    parser = argparse.ArgumentParser(description="The exact sampler beside drawing every input.")
    parser.add_argument("--prompts", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--plain-rounds", type=int, default=2)
    given = parser.parse_args()
    sampler(given.prompts, given.rounds, given.plain_rounds)
    column(given.prompts)


if __name__ == "__main__":
    main()
