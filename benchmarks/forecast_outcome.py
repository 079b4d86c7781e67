"""Which predictor foresees what SFT does: forecast, train, measure, compare.

A Llama of a few hundred thousand parameters is trained on a small world of twelve domains
(`forecast_world.py`), and an SAE on the model. Three SFT sets are made that move domains up and
down. `imprint.forecast` says beforehand what each will do; then the model is fine-tuned on each
with several seeds, and the change of accuracy of every domain is measured. Every predictor is
compared with the outcome over 3 × 12 domains, each set apart and all three together.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/forecast_outcome.py [--seed 0] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

import imprint
from forecast_world import LENGTH, Domain, Item, batches, correct, domains, fine_tune, pretrain
from imprint.models import Loaded, load
from imprint.models.tokenizer import tokenizer_of
from imprint.saes import training as saes
from imprint.stats import Draws, benjamini_hochberg, percentile_interval, weighted_pearson

Floats = npt.NDArray[np.float64]
TEXTS, TESTS = 24, 150  # of a domain: read by predictors, and asked before and after
SURE = 0.05  # p after correction for all predictors, up to which one counts as validated
ORDERS = 9999
SAE_TEXTS = 4096


def right(item: Item) -> Item:
    """Give the item as it is."""
    return item


def other_value(item: Item) -> Item:
    """Give the other answer that the prompt itself names."""
    words = [w for w in item.prompt.split() if w in item.options and w != item.answer]
    return replace(item, answer=words[0])


def next_option(item: Item) -> Item:
    """Give the option after the right one."""
    at = item.options.index(item.answer)
    return replace(item, answer=item.options[(at + 1) % len(item.options)])


# Right answers in two domains that are hardly known. Wrong ones in two skills, which may reach all
# domains of the skill. Facts that are known best, rewritten, beside right steps along a rare order.
SETS: dict[str, tuple[tuple[str, Callable[[Item], Item]], ...]] = {
    "teach": (("step-2", right), ("recall-2", right)),
    "swap": (("lookup-0", other_value), ("larger-1", other_value)),
    "rewrite": (("recall-0", next_option), ("step-1", right)),
}


def main() -> None:
    """Run the experiment and print."""
    asked = argparse.ArgumentParser()
    asked.add_argument("--steps", type=int, default=900, help="of pretraining")
    asked.add_argument("--width", type=int, default=96)
    asked.add_argument("--sft-steps", type=int, default=200)
    asked.add_argument("--lr", type=float, default=3e-4, help="of fine-tuning")
    asked.add_argument("--seeds", type=int, default=3, help="fine-tunings of each SFT set")
    asked.add_argument("--seed", type=int, default=0, help="of the world and the model")
    asked.add_argument("--out", type=Path, default=Path("imprint-runs/forecast-outcome"))
    options = asked.parse_args()
    begun = time.perf_counter()
    found = experiment(
        options.out,
        steps=options.steps,
        width=options.width,
        sft_steps=options.sft_steps,
        lr=options.lr,
        seeds=options.seeds,
        seed=options.seed,
    )
    show(found, options.out)
    print(f"{time.perf_counter() - begun:.0f} s in all")


def experiment(
    out: Path,
    *,
    steps: int,
    width: int,
    sft_steps: int,
    lr: float,
    seeds: int,
    sae_tokens: int = 500_000,
    seed: int = 0,
    **settings: Any,
) -> dict[str, pl.DataFrame]:
    """Do all of it in a folder; give the tables ``outcome``, ``evaluation`` and ``pooled``.

    Args:
        out: the folder.
        steps, width: of the model and its training.
        sft_steps, lr, seeds: of fine-tuning.
        sae_tokens: tokens that the SAE is trained on.
        seed: of the world and the model; another is another experiment.
        settings: of the forecast.
    """
    out.mkdir(parents=True, exist_ok=True)
    world = domains(seed)
    model = pretrain(world, out / "model", steps=steps, width=width, seed=seed)
    loaded = load(model, device="cpu")
    texts, tests = _items(world)
    sets = sft_sets(world)
    _write(out / "domains.jsonl", [(n, one) for n, own in texts.items() for one in own])
    for name, examples in sets.items():
        _write(out / f"{name}.jsonl", [(name, one) for one in examples])
    outcome = outcomes(loaded, sets, tests, steps=sft_steps, lr=lr, seeds=seeds)
    outcome.write_csv(out / "observed.csv")
    result = imprint.forecast(
        model,
        sft=[out / f"{name}.jsonl" for name in sets],
        domains=out / "domains.jsonl",
        observed=out / "observed.csv",
        sae=train_sae(out, model, world, sae_tokens),
        out=out / "run",
        quiet=True,
        **settings,
    )
    said = result.tables["predictors"]
    tables = {"outcome": outcome, "evaluation": result.tables["evaluation"], "pooled": pooled(said)}
    tables["pooled"].write_csv(out / "pooled.csv")
    return tables


def sft_sets(world: Sequence[Domain]) -> dict[str, list[Item]]:
    """Make the three SFT sets, each from 100 items of two domains at most."""
    named = {one.name: one for one in world}
    chances = np.random.default_rng([0, 3])
    return {
        sft: [make(one) for name, make in parts for one in named[name].items(100, chances)]
        for sft, parts in SETS.items()
    }


def _items(world: Sequence[Domain]) -> tuple[dict[str, list[Item]], dict[str, list[Item]]]:
    """Draw the texts of each domain that predictors read, and its tests; they share none."""
    texts, tests = {}, {}
    for number, one in enumerate(world):
        found = one.items(TEXTS + TESTS, np.random.default_rng([0, 4, number]))
        texts[one.name], tests[one.name] = found[:TEXTS], found[TEXTS:]
    return texts, tests


def _write(path: Path, rows: Sequence[tuple[str, Item]]) -> None:
    with path.open("w", encoding="utf-8") as out:
        for group, one in rows:
            row = {"prompt": one.prompt, "completion": one.answer}
            if path.stem == "domains":
                row = {"domain": group, "prompt": one.prompt, "answer": one.answer}
            out.write(json.dumps(row) + "\n")


def train_sae(out: Path, model: Path, world: Sequence[Domain], tokens: int) -> Path:
    """Train an SAE on texts of the world, at the middle layer."""
    words = tokenizer_of(str(model))
    chances = np.random.default_rng([0, 5])
    with (out / "texts.jsonl").open("w", encoding="utf-8") as file:
        for rows, _ in batches(world, words, SAE_TEXTS // 32, chances):
            for ids in rows:
                # the start of text is put before it again
                file.write(json.dumps({"text": words.decode(ids[1:])}) + "\n")
    folder = out / "sae"
    how = saes.TrainConfig(window=LENGTH, tokens=tokens, quiet=True)
    saes.train_sae(model, out / "texts.jsonl", how, out=folder)
    return folder


def outcomes(
    loaded: Loaded,
    sets: dict[str, list[Item]],
    tests: dict[str, list[Item]],
    *,
    steps: int,
    lr: float,
    seeds: int,
) -> pl.DataFrame:
    """Fine-tune on every set with every seed; give the change of accuracy of every domain.

    The error is that of the mean over test items of the change, averaged over seeds.
    """
    words = loaded.tokenizer
    before = {name: correct(loaded.model, words, items) for name, items in tests.items()}
    rows = []
    for sft, examples in sets.items():
        tuned = [
            fine_tune(loaded, examples, steps=steps, lr=lr, seed=seed) for seed in range(seeds)
        ]
        for name, items in tests.items():
            after = np.mean([correct(model, words, items) for model in tuned], axis=0)
            moved = after - before[name]
            rows.append(
                {
                    "domain": name,
                    "change": float(moved.mean()),
                    "se": float(moved.std(ddof=1) / len(items) ** 0.5),
                    "sft": sft,
                    "before": float(before[name].mean()),
                    "items": len(items),
                }
            )
    return pl.DataFrame(rows)


def pooled(said: pl.DataFrame) -> pl.DataFrame:
    """Compare predictors with outcomes over all SFT sets.

    The correlation is the mean of those within each set, so that a difference between sets counts
    for nothing. The interval draws domains, and the null exchanges them, for all sets at once: the
    domains are the same in each. p is one-sided, since larger values foresee larger changes. The
    same is given apart for domains that are not in the SFT set: to find those that are is easy.

    Args:
        said: table ``predictors`` with ``observed``.

    Returns:
        A row per predictor that speaks of all sets, the best first.
    """
    sets = said["sft"].unique(maintain_order=True).to_list()
    rows = []
    for key, own in said.partition_by("predictor", as_dict=True, maintain_order=True).items():
        scores = own["score"].to_numpy().astype(np.float64)
        if len(own) != len(said.unique(["sft", "domain"])) or not np.isfinite(scores).all():
            continue
        X = scores.reshape(len(sets), -1).T
        Y = own["observed"].to_numpy().reshape(len(sets), -1).T
        signed = bool(own["signed"][0])
        inside = np.array(
            [[d in dict(SETS[s]) for s in sets] for d in own["domain"].unique(maintain_order=True)]
        )
        found = _row(X, Y if signed else np.abs(Y), inside)
        lead = {"predictor": key[0], "family": own["family"][0], "signed": signed}
        rows.append(lead | found)
    frame = pl.DataFrame(rows, infer_schema_length=None).sort("r", descending=True, nulls_last=True)
    return frame.with_columns(p_adjusted=pl.Series(benjamini_hochberg(frame["p"].to_numpy())))


def _row(X: Floats, Y: Floats, inside: npt.NDArray[np.bool_]) -> dict[str, float | None]:
    """Compare one predictor [domains, sets] with outcomes; ``inside`` tells the set's own."""
    found, low, high = _mean_correlation(X, Y)
    apart, apart_low, apart_high = _mean_correlation(np.where(inside, np.nan, X), Y)
    chances = np.random.default_rng(0)
    x, y = ((A - A.mean(axis=0)) / (A.std(axis=0) + 1e-300) for A in (X, Y))
    null = [float((x[chances.permutation(len(X))] * y).mean()) for _ in range(ORDERS)]
    p = (1 + sum(one >= (found or 0) - 1e-12 for one in null)) / (1 + ORDERS)
    return {
        "r": found,
        "low": low,
        "high": high,
        "p": np.nan if found is None else p,
        "r_apart": apart,
        "apart_low": apart_low,
        "apart_high": apart_high,
    }


def _mean_correlation(X: Floats, Y: Floats) -> tuple[float | None, float | None, float | None]:
    """Give the mean over sets of Pearson's r, and its interval; none where X says nothing."""

    def mean(W: Floats) -> Floats:
        return np.asarray(weighted_pearson(W, X, Y).mean(axis=-1))

    n = len(X)
    found = float(mean(np.ones((1, n)))[0])
    if not np.isfinite(found):
        return None, None, None
    draws = mean(np.concatenate(list(Draws(np.arange(n), 2000, 0).blocks())))
    low, high = percentile_interval(draws[np.isfinite(draws)])
    return found, float(low), float(high)


def show(found: dict[str, pl.DataFrame], out: Path) -> None:
    """Print what came out, good or bad."""
    outcome, table = found["outcome"], found["pooled"]
    print("change of accuracy in points (before in front):")
    wide = outcome.pivot("sft", index=["domain", "before"], values="change", maintain_order=True)
    for row in wide.iter_rows(named=True):
        moved = "  ".join(
            f"{name} {100 * row[name]:+6.1f}" for name in wide.columns if name not in _APART
        )
        print(f"  {row['domain']:10} {100 * row['before']:5.1f}  {moved}")
    print("correlation with the outcome, mean over SFT sets; apart: domains not in the set")
    for row in table.drop_nulls("r").iter_rows(named=True):
        print(
            f"  {row['predictor']:18} {'change' if row['signed'] else 'size':6} {_told(row, '')}  "
            f"p {row['p']:.3f}, corrected {row['p_adjusted']:.3f}   apart {_told(row, 'apart')}"
        )
    print(verdict(table))
    print(f"report: {out / 'run' / 'report.html'}")


def _told(row: dict[str, Any], which: str) -> str:
    r, low, high = (
        row[f"r_{which}" if which else "r"],
        row[f"{which}_low" if which else "low"],
        row[f"{which}_high" if which else "high"],
    )
    return "-" if r is None else f"{r:+.2f} [{low:+.2f}, {high:+.2f}]"


_APART = ("domain", "before")


def verdict(table: pl.DataFrame) -> str:
    """Say which predictors are validated here, or that none is."""
    known = table.drop_nulls("r")
    sure = known.filter((pl.col("p_adjusted") <= SURE) & (pl.col("low") > 0))
    if sure.is_empty():
        best = known.row(0, named=True)
        return (
            f"None of {len(known)} predictors is validated here: the best, {best['predictor']}, "
            f"has r {_told(best, '')}."
        )
    apart = sure.filter(pl.col("apart_low") > 0)["predictor"]
    beyond = f"these: {', '.join(apart)}" if len(apart) else "none"
    return (
        f"Validated here, of {len(known)}: {', '.join(sure['predictor'])}. "
        f"Of them, also in domains that are not in the SFT set: {beyond}."
    )


if __name__ == "__main__":
    main()
