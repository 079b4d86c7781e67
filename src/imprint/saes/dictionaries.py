"""Dictionaries to stand beside an SAE: raw dimensions, principal components, random directions."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from imprint.errors import DataError
from imprint.saes.activations import Identity, Relu, TopK
from imprint.saes.sae import Sae


def raw(width: int) -> Sae:
    """Give the dictionary whose latents are the dimensions of the activations themselves."""
    import torch

    eye, none = torch.eye(width), torch.zeros(width)
    return Sae(eye, none, eye, none, Identity(), format="raw", source="raw dimensions")


class Covariance:
    """Mean and covariance of activations as they come, float64."""

    def __init__(self, width: int):
        self.tokens = 0
        self._first = np.zeros(width)
        self._second = np.zeros((width, width))

    def add(self, x: Any) -> None:
        """Count activations [N, d]."""
        rows = x.double().cpu().numpy()
        self.tokens += len(rows)
        self._first += rows.sum(0)
        self._second += rows.T @ rows

    def mean(self) -> npt.NDArray[np.float64]:
        """Give the mean [d]."""
        return self._first / self.tokens

    def covariance(self) -> npt.NDArray[np.float64]:
        """Give the covariance [d, d]."""
        mean = self.mean()
        found: npt.NDArray[np.float64] = self._second / self.tokens - np.outer(mean, mean)
        return found


def pca(x: Any, n: int) -> Sae:
    """Give the dictionary of the n first principal components, of either sign.

    Args:
        x: activations [N, d], or a `Covariance` that has seen them.
        n: at most d.

    Raises:
        DataError: fewer than two tokens.
    """
    import torch

    seen = x
    if not isinstance(seen, Covariance):
        seen = Covariance(x.shape[1])
        seen.add(x)
    if seen.tokens < 2:
        raise DataError("principal components need two tokens at least")
    _, vectors = np.linalg.eigh(seen.covariance())
    kept = vectors[:, ::-1][:, :n]
    # a component's sign is arbitrary: its largest entry is made positive
    kept = kept * np.sign(kept[np.abs(kept).argmax(0), np.arange(kept.shape[1])])
    axes = torch.from_numpy(kept.copy()).float()
    mean = torch.from_numpy(seen.mean()).float()
    return Sae(
        axes,
        torch.zeros(axes.shape[1]),
        axes.T,
        mean,
        Identity(),
        subtract_b_dec=True,
        format="pca",
        source=f"{axes.shape[1]} principal components",
    )


def random_dictionary(
    width: int, latents: int, seed: int, *, k: int | None = None, mean: Any = None
) -> Sae:
    """Give an SAE of the same shape whose directions were drawn, encoder and decoder alike.

    Args:
        width, latents: d and L.
        seed: of the directions.
        k: keep the k largest latents of a token; else all positive ones fire, about half.
        mean: [d], taken from activations first.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn((latents, width), generator=generator)
    directions = directions / directions.norm(dim=-1, keepdim=True)
    return Sae(
        directions.T,
        torch.zeros(latents),
        directions,
        torch.zeros(width) if mean is None else mean.detach().float().cpu(),
        TopK(k) if k else Relu(),
        subtract_b_dec=mean is not None,
        format="random",
        source=f"{latents} random directions, seed {seed}",
    )
