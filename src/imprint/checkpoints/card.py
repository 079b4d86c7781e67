"""The model card of a checkpoint made from two others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from imprint.checkpoints.reference import REPOSITORY, Reference, exists

KEPT = ("license", "license_name", "license_link", "language", "library_name", "pipeline_tag")


def model_card(
    base: Reference,
    tuned: Reference,
    *,
    command: str,
    counts: Mapping[str, Any],
    like: Path | None = None,
) -> str:
    """Write ``README.md``: where the weights come from, in words and for the Hub.

    Args:
        base, tuned: the two parents.
        command: what made the checkpoint.
        counts: label → number or text (weights restored, share, region).
        like: the tuned folder; licence and language are taken over from its card.
    """
    about = {
        "base_model": [_named(base), _named(tuned)],
        "base_model_relation": "merge",
        **_kept(like),
        "tags": ["imprint", "restored"],
    }
    rows = "\n".join(f"| {label} | {_shown(value)} |" for label, value in counts.items())
    return f"""---
{yaml.safe_dump(about, sort_keys=False, allow_unicode=True).rstrip()}
---

# {_named(tuned)}, repaired towards {_named(base)}

Made by imprint from two checkpoints; no training took place.

| | |
|---|---|
| base | `{base}` |
| tuned | `{tuned}` |
{rows}

```
{command}
```

The same facts stand in `imprint.json`.
"""


def _named(reference: Reference) -> str:
    """Name a repository as the Hub does, and a local folder by its own name only."""
    if exists(reference.source):
        return Path(reference.source).resolve().name
    if REPOSITORY.fullmatch(reference.source):
        return reference.source
    return Path(reference.source).name


def _kept(folder: Path | None) -> dict[str, Any]:
    card = folder / "README.md" if folder else None
    if card is None or not card.is_file():
        return {}
    parts = card.read_text("utf-8", errors="replace").split("---", 2)
    if len(parts) < 3 or parts[0].strip():
        return {}
    try:
        about = yaml.safe_load(parts[1])
    except yaml.YAMLError:  # somebody else's card need not be well-formed
        return {}
    return {key: about[key] for key in KEPT if key in about} if isinstance(about, dict) else {}


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value}"
