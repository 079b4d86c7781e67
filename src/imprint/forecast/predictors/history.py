"""What another model or another SFT set did to the same domains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from imprint.forecast.predicted import Predicted
from imprint.forecast.setting import Setting


def history(setting: Setting) -> list[Predicted]:
    """Give the change of each domain that was seen elsewhere; signed, one value for a domain.

    Each place it was seen in is a predictor, and so is the mean of several.
    """
    told = {
        f"history:{name}": (f"change seen in {name}", changes)
        for name, changes in setting.history.items()
    }
    if len(told) > 1:
        title = f"mean change seen in {len(told)} places"
        told["history_mean"] = title, _mean(list(setting.history.values()))
    return [_predicted(setting, name, *said) for name, said in told.items()]


def _predicted(setting: Setting, name: str, title: str, changes: Mapping[str, float]) -> Predicted:
    values = np.array([[changes.get(text.group, np.nan) for text in setting.texts]])
    note = "a change seen elsewhere, one for a domain"
    unknown = sum(domain not in changes for domain in setting.groups)
    if unknown:
        note += f"; {unknown} domains are not in it"
    return Predicted(name, title, values, signed=True, family="history", note=note)


def _mean(several: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(domain for changes in several for domain in changes)
    return {n: float(np.mean([c[n] for c in several if n in c])) for n in names}
