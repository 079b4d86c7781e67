"""Sparse autoencoders: one canonical form, a reader per format on disk, a check of their fit."""

from __future__ import annotations

from imprint.saes.ablation import ablated
from imprint.saes.dictionaries import Covariance, pca, random_dictionary, raw
from imprint.saes.fit import Fit, FitMeter, gate, judge
from imprint.saes.hook import Hook, parse_hook
from imprint.saes.opening import open_sae
from imprint.saes.sae import Columns, Promise, Sae

__all__ = [
    "Columns",
    "Covariance",
    "Fit",
    "FitMeter",
    "Hook",
    "Promise",
    "Sae",
    "ablated",
    "gate",
    "judge",
    "open_sae",
    "parse_hook",
    "pca",
    "random_dictionary",
    "raw",
]
