"""What one predictor says of every domain text, in a form that all predictors share.

A domain's score is the mean over draws of the mean over its texts, so that one bootstrap over texts
and draws gives every predictor its interval.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Predicted:
    """The values of a predictor.

    Attributes:
        name: its key in tables, such as ``sts_act`` or ``digit_share``.
        title: its name in words.
        values: [draws, texts], in the order of the domain texts; NaN for a text that it cannot
            judge. A predictor without chance has one draw.
        signed: positive values foresee a rise of accuracy, negative ones a fall; else a value is
            an amount of change without a direction.
        null: [draws, texts] the same under its null; ``None`` where none makes sense.
        family: ``sts``, ``dictionary``, ``lexical``, ``likelihood``, ``similarity``, ``gradient``
            or ``history``.
        note: what a reader must know of it, in a sentence.
        relative: values are measured from the mean over all domain texts, so that a mean over
            domains is about 0 (or 1) whatever the SFT set is.
    """

    name: str
    title: str
    values: Floats
    signed: bool = False
    null: Floats | None = None
    family: str = "sts"
    note: str = ""
    relative: bool = False
