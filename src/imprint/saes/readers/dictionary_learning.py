"""dictionary_learning: ``ae.pt`` and a ``config.json`` that names its class.

Arithmetic as in saprmarks/dictionary_learning at 60ec6bf.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from imprint.errors import nearest
from imprint.saes.activations import Activation, Gated, JumpRelu, Relu, TopK
from imprint.saes.folder import Folder, Settings
from imprint.saes.hook import Hook
from imprint.saes.sae import Promise, Sae
from imprint.saes.tensors import Tensors

TITLE = "dictionary_learning"
HOLDS = "ae.pt and config.json with trainer.dict_class"
CONFIG, WEIGHTS = "config.json", "ae.pt"
POINTS = {
    "resid_pre": "resid_pre",
    "resid": "resid_post",
    "mlp": "mlp_out",
    "attn": "attn_out",
    "attention": "attn_out",
}


def matches(folder: Folder) -> bool:
    """Whether the folder holds what this format is made of."""
    if (folder.chosen or WEIGHTS) != WEIGHTS or not folder.has(CONFIG) or not folder.has(WEIGHTS):
        return False
    return "trainer" in folder.settings(CONFIG)


def read(folder: Folder) -> Sae:
    """Read the SAE.

    Raises:
        CheckpointError: a setting or tensor is missing, unknown or does not fit.
    """
    config, tensors = folder.settings(CONFIG), folder.tensors(WEIGHTS)
    trainer, buffer = config.part("trainer"), config.part("buffer")
    named = trainer.text("dict_class")
    if named not in CLASSES:
        problem = f"is {named!r}, which is not read here; {nearest(str(named), CLASSES)}"
        raise trainer.wrong("dict_class", problem)
    sizes = tuple(trainer.count(key) for key in ("activation_dim", "dict_size"))
    if not all(sizes):
        raise trainer.needed("activation_dim", "or dict_size is missing")
    stored = Stored(tensors, trainer, *sizes)  # type: ignore[arg-type]
    sae = CLASSES[named](stored)
    tensors.refuse_rest("k", "threshold", "group_sizes")
    k = trainer.count("k")
    return replace(
        sae,
        hook=_hook(trainer),
        promise=Promise(
            float(k) if k else None, None, trainer.text("lm_name"), buffer.count("ctx_len")
        ),
    )


@dataclass(frozen=True)
class Stored:
    """What a class is read from.

    Attributes:
        tensors: the file.
        trainer: settings of the training.
        width, latents: d and L.
    """

    tensors: Tensors
    trainer: Settings
    width: int
    latents: int

    def linear(
        self, bias: str, function: Activation, *, subtract: bool, encoder_bias: bool = True
    ) -> Sae:
        """Give the SAE whose matrices are layers of torch."""
        encoder = self.tensors.take("encoder.weight", self.latents, self.width).T
        b_enc = self.tensors.take("encoder.bias", self.latents) if encoder_bias else None
        return Sae(
            w_enc=encoder,
            b_enc=encoder.new_zeros(self.latents) if b_enc is None else b_enc,
            w_dec=self.tensors.take("decoder.weight", self.width, self.latents).T,
            b_dec=self.tensors.take(bias, self.width),
            function=function,
            subtract_b_dec=subtract,
        )

    def matrices(self, function: Activation, *, subtract: bool) -> Sae:
        """Give the SAE whose matrices are plain parameters."""
        return Sae(
            w_enc=self.tensors.take("W_enc", self.width, self.latents),
            b_enc=self.tensors.take("b_enc", self.latents),
            w_dec=self.tensors.take("W_dec", self.latents, self.width),
            b_dec=self.tensors.take("b_dec", self.width),
            function=function,
            subtract_b_dec=subtract,
        )

    def per_latent(self, name: str) -> Any:
        """Give a value per latent."""
        return self.tensors.take(name, self.latents)

    def scalar_threshold(self) -> JumpRelu:
        """Give the threshold that stands for top-k over a batch.

        Raises:
            CheckpointError: training ended before it was set, when it is -1.
        """
        threshold = self.tensors.take("threshold")
        if float(threshold) < 0:
            raise self.tensors.wrong(
                "threshold",
                f"is {float(threshold):g}: it was never calibrated",
                "train longer (threshold_start_step), or calibrate it and save again.",
            )
        return JumpRelu(threshold)

    def k(self) -> int:
        """Give k, which file and settings must tell alike."""
        told = self.trainer.count("k")
        held = int(self.tensors.take("k")) if "k" in self.tensors else told
        if held is None:
            raise self.trainer.needed("k")
        if (told is not None and told != held) or not 0 < held <= self.latents:
            raise self.trainer.wrong("k", f"is {told}, but {held} of {self.latents} in the file")
        return held


def _unit_decoder(stored: Stored) -> Sae:
    """Read an AutoEncoder with decoder rows of norm 1, as its own loader gives it by default."""
    sae = stored.linear("bias", Relu(), subtract=True)
    norms = sae.w_dec.norm(dim=-1)
    norms = norms.where(norms > 0, norms.new_ones(()))
    return replace(
        sae, w_enc=sae.w_enc * norms, b_enc=sae.b_enc * norms, w_dec=sae.w_dec / norms[:, None]
    )


def _gated(stored: Stored) -> Sae:
    names = ("gate_bias", "mag_bias", "r_mag")
    function = Gated(*(stored.per_latent(name) for name in names))
    return stored.linear("decoder_bias", function, subtract=True, encoder_bias=False)


CLASSES: dict[str, Callable[[Stored], Sae]] = {
    "AutoEncoder": _unit_decoder,
    "AutoEncoderNew": lambda s: s.linear("decoder.bias", Relu(), subtract=False),
    "AutoEncoderTopK": lambda s: s.linear("b_dec", TopK(s.k()), subtract=True),
    "BatchTopKSAE": lambda s: s.linear("b_dec", s.scalar_threshold(), subtract=True),
    "MatryoshkaBatchTopKSAE": lambda s: s.matrices(s.scalar_threshold(), subtract=True),
    "JumpReluAutoEncoder": lambda s: s.matrices(
        JumpRelu(s.per_latent("threshold")), subtract=False
    ),
    "GatedAutoEncoder": _gated,
}


def _hook(trainer: Settings) -> Hook:
    named = trainer.text("submodule_name") or "resid"
    point = next((p for key, p in POINTS.items() if re.search(key, named)), "other")
    return Hook(trainer.count("layer"), point)
