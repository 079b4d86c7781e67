"""What another model or another SFT set did to the same domains."""

from __future__ import annotations

import numpy as np

from imprint.forecast.predicted import Predicted
from imprint.forecast.setting import Setting


def history(setting: Setting) -> list[Predicted]:
    """Give the change of each domain that was seen elsewhere; signed, one value for a domain."""
    found = []
    for name, changes in setting.history.items():
        values = np.array([[changes.get(text.group, np.nan) for text in setting.texts]])
        unknown = [domain for domain in setting.groups if domain not in changes]
        note = "a change seen elsewhere, one for a domain"
        if unknown:
            note += f"; {len(unknown)} domains are not in it"
        title = f"change seen in {name}"
        found.append(
            Predicted(f"history:{name}", title, values, signed=True, family="history", note=note)
        )
    return found
