"""A causal language model in memory; needs the extra ``models`` when used."""

from __future__ import annotations

from imprint.models.engine import (
    Engine,
    Generated,
    Identity,
    Likelihood,
    OptionScores,
    Question,
)
from imprint.models.harness import LmEvalEngine, lm_eval_engine
from imprint.models.load import Dtype, Loaded, load
from imprint.models.local import LocalEngine
from imprint.models.loss import text_scores
from imprint.models.prompting import Prompter, Prompting, prompter

__all__ = [
    "Dtype",
    "Engine",
    "Generated",
    "Identity",
    "Likelihood",
    "LmEvalEngine",
    "Loaded",
    "LocalEngine",
    "OptionScores",
    "Prompter",
    "Prompting",
    "Question",
    "lm_eval_engine",
    "load",
    "prompter",
    "text_scores",
]
