"""Predictors beside the latents of an SAE: what is read off texts, likelihoods and gradients.

Each is a function from a ``Setting`` to what it says of every domain text. All are oriented alike:
a larger value foresees a larger change, of a signed predictor a rise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from imprint.forecast.predicted import Predicted
from imprint.forecast.predictors.bm25 import bm25
from imprint.forecast.predictors.dsir import dsir
from imprint.forecast.predictors.gradient import gradient
from imprint.forecast.predictors.history import history
from imprint.forecast.predictors.lexical import lexical
from imprint.forecast.predictors.likelihood import icl_gain, likelihood
from imprint.forecast.predictors.similarity import similarity
from imprint.forecast.setting import Setting

Needs = Literal["text", "model", "gradient"]


class Predictor(NamedTuple):
    """One unit of work, which may say several things.

    Attributes:
        name: of the unit.
        needs: ``text`` alone, forward passes of a ``model``, or a ``gradient`` too.
        function: the work; it gives one or several ``Predicted``, or none where the setting lacks
            what they are made from.
        family: of all that it gives.
    """

    name: str
    needs: Needs
    function: Callable[[Setting], list[Predicted]]
    family: str


PREDICTORS = (
    Predictor("lexical", "text", lexical, "lexical"),
    Predictor("history", "text", history, "history"),
    Predictor("dsir", "text", dsir, "similarity"),
    Predictor("bm25", "text", bm25, "similarity"),
    Predictor("likelihood", "model", likelihood, "likelihood"),
    Predictor("icl_gain", "model", icl_gain, "likelihood"),
    Predictor("similarity", "model", similarity, "similarity"),
    Predictor("gradient", "gradient", gradient, "gradient"),
)

__all__ = ["PREDICTORS", "Predictor"]
