"""A tiny model, texts and a dictionary, and the plain way to read them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from imprint.forecast.material import Material, Text
from imprint.forecast.rendering import Rendered
from imprint.forecast.setting import Setting
from imprint.models import Loaded
from imprint.saes import Hook, Sae, random_dictionary
from models_support import torch

LATENTS = 120


def texts(n: int, groups: str = "", *, answers: bool = True, seed: int = 0) -> tuple[Text, ...]:
    """Short words of ten letters; the groups in turn, those of one together."""
    chances = np.random.default_rng([seed, n])

    def word(low: int, high: int) -> str:
        return "".join(chances.choice(list("abcdefghij"), chances.integers(low, high)))

    found = [
        Text(f"{n}", groups[n % len(groups)] if groups else "", word(2, 5), word(1, 3), f"f:{n}")
        for n in range(n)
    ]
    found = [t if answers else replace(t, answer=None) for t in found]
    return tuple(sorted(found, key=lambda t: t.group))


def setting_of(loaded: Loaded, **how: Any) -> Setting:
    """Twelve SFT examples and thirty texts of three domains."""
    given = {"draws": 2, "demonstrations": 1, **how}
    return Setting(Material(texts(12), texts(30, "xyz", seed=1)), loaded, **given)


def dictionary(layer: int = 1) -> Sae:
    """Random directions at a layer of the tiny model."""
    return replace(random_dictionary(16, LATENTS, 0), hook=Hook(layer), source="sae")


def states(loaded: Loaded, row: Rendered, span: range | None = None, layer: int = 1) -> Any:
    """Activations of a span, one text at a time, from the whole model."""
    own = span or row.query
    with torch.no_grad():
        found = loaded.model(torch.tensor([row.ids]), output_hidden_states=True).hidden_states
    return found[layer + 1][0, own.start : own.stop]


def latents_of(sae: Sae, loaded: Loaded, row: Rendered, span: range | None = None) -> np.ndarray:
    """The mean of each latent over a span, [L]."""
    return sae.encode(states(loaded, row, span)).mean(0).double().numpy()
