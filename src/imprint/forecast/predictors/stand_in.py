"""What stands in for the SFT set under the null: texts of the other domains."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from imprint.forecast.setting import Setting

Numbers = npt.NDArray[np.int64]


def stand_ins(setting: Setting, draw: int, size: int) -> dict[str, Numbers] | None:
    """Give for each domain numbers of texts of other domains, as many as the SFT set has examples.

    Closeness to the SFT set says something only where it is more than closeness to these.

    Args:
        setting: the texts.
        draw: gives others each time.
        size: how many; where the other domains hold fewer texts, all of them.

    Returns:
        ``None`` where there is only one domain.
    """
    groups = setting.groups
    if len(groups) < 2:
        return None
    order = setting.chances(3, draw).permutation(len(setting.texts))
    found = {}
    for domain, rows in groups.items():
        others = order[~np.isin(order, rows)]
        found[domain] = np.sort(others[:size])
    return found
