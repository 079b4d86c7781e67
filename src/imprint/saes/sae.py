"""One canonical sparse autoencoder, whatever format it was stored in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from imprint.findings import Finding
from imprint.saes.activations import Activation
from imprint.saes.hook import Hook
from imprint.saes.norms import BY_TOKEN, UNDECIDED, Norm, enter, leave

BLOCK = 1 << 22  # values of a dense block of latents: 16 MB


@dataclass(frozen=True, slots=True)
class Promise:
    """What a format says of an SAE, ``None`` where it says nothing.

    Attributes:
        l0: mean number of latents that fire per token.
        fvu: fraction of variance unexplained.
        model: the model it was trained on.
        context: tokens per text in training.
    """

    l0: float | None = None
    fvu: float | None = None
    model: str | None = None
    context: int | None = None


ANYWHERE, NOTHING = Hook(), Promise()


@dataclass(frozen=True, slots=True, eq=False)
class Sae:
    """A sparse autoencoder of width d with L latents.

    ``encode``: x is normed (``norm``), b_dec is taken away (``subtract_b_dec``), multiplied by
    W_enc, b_enc is added, and ``function`` makes latents of it.

    Attributes:
        w_enc, b_enc: [d, L], [L].
        w_dec, b_dec: [L, d], [d].
        function: from pre-activations to latents.
        hook: where in the model it reads.
        format: name of the format it was read from.
        source: how the user named it.
        files: what it was read from.
        subtract_b_dec: take the decoder's bias from the input.
        norm: what is done to each token's activation first.
        promise: what the format says of it.
        prepends_bos: whether it was trained on texts that begin with BOS, where known.
        skip: [d, d], added to the output as ``skip @ x``, ``None`` without such a connection.
        transcodes: it predicts what its module gives from what the module reads.
        findings: what a reader of results must know.
    """

    w_enc: Any
    b_enc: Any
    w_dec: Any
    b_dec: Any
    function: Activation
    hook: Hook = ANYWHERE
    format: str = ""
    source: str = ""
    files: tuple[Path, ...] = ()
    subtract_b_dec: bool = False
    norm: Norm = "none"
    promise: Promise = NOTHING
    prepends_bos: bool | None = None
    skip: Any = None
    transcodes: bool = False
    findings: tuple[Finding, ...] = ()

    @property
    def width(self) -> int:
        """Width d of the activations it reads."""
        return int(self.w_enc.shape[0])

    @property
    def latents(self) -> int:
        """Number L of latents."""
        return int(self.w_enc.shape[1])

    @property
    def activation(self) -> str:
        """Name of the activation function."""
        return self.function.name

    @property
    def separable(self) -> bool:
        """Whether each latent depends on its own encoder column alone."""
        return self.function.separable

    @property
    def undecided(self) -> bool:
        """Whether texts must decide what its file does not tell; `Fit.sae` is then decided."""
        return self.norm in UNDECIDED

    def encode(self, x: Any) -> Any:
        """Give the latents of activations.

        Args:
            x: [N, d], any float type, on the device of the SAE.

        Returns:
            [N, L] float32. Large: give it blocks of tokens.
        """
        return self.function(self._pre(x, self.w_enc, self.b_enc))

    def only(self, latents: Sequence[int]) -> Columns:
        """Give an encoder of chosen latents, which reads their columns alone where it can."""
        return Columns.of(self, latents)

    def decode(self, h: Any, like: Any = None) -> Any:
        """Give activations back.

        Args:
            h: latents [N, L].
            like: the activations [N, d] that they came from; needed where the norm or a skip
                connection depends on them.

        Returns:
            [N, d] float32.

        Raises:
            ValueError: ``like`` is needed and missing.
        """
        found = (h.to(self.w_dec.dtype) @ self.w_dec).float() + self.b_dec.float()
        if self.norm not in BY_TOKEN and self.skip is None:
            return found
        if like is None:
            raise ValueError("decoding this SAE needs the activations that its latents came from")
        like = like.float()
        if self.skip is not None:
            found = found + like @ self.skip.float().T
        return leave(self.norm, found, like)

    def reconstruct(self, x: Any) -> Any:
        """Encode and decode, [N, d] → [N, d] float32."""
        return self.decode(self.encode(x), like=x)

    def directions(self, latents: Sequence[int]) -> Any:
        """Give the decoder rows of latents, [n, d]."""
        return self.w_dec[_index(latents, self.w_dec)]

    def to(self, device: Any = None, dtype: Any = None) -> Sae:
        """Give it on another device, its matrices in another type; biases stay float32."""

        def matrix(tensor: Any) -> Any:
            return None if tensor is None else tensor.to(device=device, dtype=dtype)

        def vector(tensor: Any) -> Any:
            return tensor.to(device=device)

        return replace(
            self,
            **{name: matrix(getattr(self, name)) for name in ("w_enc", "w_dec", "skip")},
            **{name: vector(getattr(self, name)) for name in ("b_enc", "b_dec")},
            function=self.function.each(vector),
        )

    def scaled(self, scale: float) -> Sae:
        """Give the SAE that reads x as this one reads ``scale`` · x; its norm is decided by that.

        Latents stay as they are, what is decoded is divided by the scale.
        """
        return replace(
            self,
            w_enc=self.w_enc * scale,
            w_dec=self.w_dec / scale,
            b_dec=self.b_dec / scale,
            norm="none",
        )

    def candidates(self, mean_norm: float) -> dict[str, Sae]:
        """Give the readings of what the file does not tell, by their words; else itself alone.

        Args:
            mean_norm: of the activations.
        """
        if self.norm == "average":
            scale = self.width**0.5 / mean_norm if mean_norm else 1.0
            return {
                "without a scale of its input": self.scaled(1.0),
                "with its input brought to a mean norm of √d": self.scaled(scale),
            }
        if self.norm == "maybe_centre":
            return {
                "on activations as they are": replace(self, norm="none"),
                "on activations less the mean of each": replace(self, norm="centre"),
            }
        return {"": self}

    def _pre(self, x: Any, w_enc: Any, b_enc: Any) -> Any:
        x = enter(self.norm, x.float())
        if self.subtract_b_dec:
            x = x - self.b_dec.float()
        return (x.to(w_enc.dtype) @ w_enc).float() + b_enc.float()


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """An encoder of chosen latents.

    Attributes:
        sae: the SAE.
        latents: their numbers, a tensor [n].
        w_enc, b_enc, function: their parts of the encoder where it is separable.
    """

    sae: Sae
    latents: Any
    w_enc: Any = None
    b_enc: Any = None
    function: Activation | None = None

    @classmethod
    def of(cls, sae: Sae, latents: Sequence[int]) -> Columns:
        """Take the columns out."""
        index = _index(latents, sae.w_enc)
        if not sae.separable:
            return cls(sae, index)
        function = sae.function.each(lambda values: values[index] if values.ndim else values)
        return cls(sae, index, sae.w_enc[:, index].contiguous(), sae.b_enc[index], function)

    def encode(self, x: Any) -> Any:
        """Give the chosen latents [N, n] of activations [N, d], float32."""
        if self.function is not None:
            return self.function(self.sae._pre(x, self.w_enc, self.b_enc))
        rows = max(1, BLOCK // self.sae.latents)
        found = x.new_empty((len(x), len(self.latents)), dtype=self.sae.b_enc.dtype)
        for start in range(0, len(x), rows):
            found[start : start + rows] = self.sae.encode(x[start : start + rows])[:, self.latents]
        return found


def _index(latents: Sequence[int], like: Any) -> Any:
    import torch

    return torch.as_tensor(latents, dtype=torch.long, device=like.device)
