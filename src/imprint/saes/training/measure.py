"""The fit of an SAE on windows of tokens, beside two dictionaries that know nothing of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from imprint.models import Loaded
from imprint.models.batching import Batcher
from imprint.models.residual import activations, refuse_nan
from imprint.progress import Bar
from imprint.saes.ablation import place_of
from imprint.saes.dictionaries import Covariance, random_dictionary
from imprint.saes.fit import Fit, FitMeter
from imprint.saes.sae import Sae
from imprint.saes.training.texts import Windows

SAE, RANDOM, COMPONENTS = "SAE", "random directions", "principal components"
NUMBERS = ("fvu", "fvu_low", "fvu_high", "l0", "l0_low", "l0_high", "dead")
FITS = {"dictionary": pl.String, **dict.fromkeys(NUMBERS, pl.Float64), "tokens": pl.Int64}
SAID = {"level": pl.String, "check": pl.String, "detail": pl.String}
OUTLIER = 10.0  # times the median norm: sinks, which squared sums would be all about
AT_ONCE = 32  # windows


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """A fit and its controls.

    Attributes:
        fit: of the SAE.
        null: of random directions of the same shape with as many latents firing.
        components: FVU of as many principal components of the same activations as latents fire.
        outliers: tokens left out for their norm.
    """

    fit: Fit
    null: Fit
    components: float
    outliers: int

    def tables(self) -> dict[str, pl.DataFrame]:
        """Give the fits as a table, and the share of tokens on which each latent fired."""
        firing = round(self.fit.l0)
        components = {"dictionary": COMPONENTS, "fvu": self.components, "l0": float(firing)}
        rows = [
            {"dictionary": SAE, **self.fit.numbers()},
            {"dictionary": RANDOM, **self.null.numbers()},
            {**components, "tokens": self.fit.tokens},
        ]
        fits = pl.DataFrame(rows, schema=FITS).with_columns(outliers=pl.lit(self.outliers))
        rates = pl.DataFrame({"latent": np.arange(len(self.fit.rates)), "rate": self.fit.rates})
        said = [(f.level, f.check, f.detail) for f in self.fit.findings]
        told = pl.DataFrame(said, schema=SAID, orient="row")
        return {"fit": fits, "latents": rates, "findings": told}


def measure(loaded: Loaded, sae: Sae, windows: Windows, seed: int, bar: Bar) -> Measured:
    """Measure a fit.

    Args:
        loaded: the model.
        sae: the SAE.
        windows: what is read; BOS is left out.
        seed: of the random directions.
        bar: told of every token.

    Raises:
        CheckpointError: activations have another width than the SAE, or are not finite.
        ConfigError: the model lacks what the SAE reads.
    """
    device = loaded.device
    sae, where = sae.to(device), place_of(loaded, sae.hook)
    meter, outliers = FitMeter(sae), 0
    null: FitMeter | None = None
    covariance, longest = Covariance(sae.width), float("inf")
    for rows in _batches(windows.rows):
        found = _read(loaded, where, rows)
        refuse_nan(found[0], where, loaded)
        kept = [states[int(windows.bos) :] for states in found]
        if longest == float("inf"):
            longest = OUTLIER * _median(kept)
        for states in kept:
            inner = states[states.float().norm(dim=-1) <= longest]
            outliers += len(states) - len(inner)
            meter.add(inner)
            null = null or _null(sae, inner, seed, device)
            null.add(inner)
            covariance.add(inner)
            bar.advance(len(states))
    fit = meter.fit()
    assert null is not None  # noqa: S101 - there is one window at least
    return Measured(fit, null.fit(), _unexplained(covariance, round(fit.l0)), outliers)


def _read(loaded: Loaded, where: Any, rows: list[list[int]]) -> list[Any]:
    batcher = Batcher.on(loaded.device)
    return batcher.run(rows, len, lambda batch: activations(loaded, where, batch))


def _batches(rows: Sequence[list[int]]) -> list[list[list[int]]]:
    return [list(rows[start : start + AT_ONCE]) for start in range(0, len(rows), AT_ONCE)]


def _median(kept: Sequence[Any]) -> float:
    import torch

    return float(torch.cat([states.float().norm(dim=-1) for states in kept]).median())


def _null(sae: Sae, first: Any, seed: int, device: Any) -> FitMeter:
    """Random directions, of which as many fire as of the SAE on the first window."""
    firing = sae.promise.l0 or float((sae.encode(first) != 0).sum(-1).float().mean())
    k = min(max(1, round(firing)), sae.latents)
    drawn = random_dictionary(sae.width, sae.latents, seed, k=k, mean=first.float().mean(0))
    return FitMeter(drawn.to(device))


def _unexplained(covariance: Covariance, components: int) -> float:
    """Give the share of variance beyond the first components."""
    values = np.linalg.eigvalsh(covariance.covariance())[::-1]
    total = float(values.sum())
    return float(values[components:].sum()) / total if total > 0 else float("nan")
