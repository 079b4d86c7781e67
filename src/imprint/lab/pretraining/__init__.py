"""Pretraining many small models on one machine; needs the extra ``lab``."""

from __future__ import annotations

from imprint.lab.pretraining.mixture import Mixture, Sequences
from imprint.lab.pretraining.optimiser import Optimiser
from imprint.lab.pretraining.plan import Pretrained, PretrainRun, best_dtype
from imprint.lab.pretraining.pretrain import pretrain
from imprint.lab.pretraining.shape import Shape

__all__ = [
    "Mixture",
    "Optimiser",
    "PretrainRun",
    "Pretrained",
    "Sequences",
    "Shape",
    "best_dtype",
    "pretrain",
]
