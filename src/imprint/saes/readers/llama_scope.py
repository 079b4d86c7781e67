"""Llama Scope (arXiv 2410.20526) and Llama Scope R1.

Both scale the input by s = √d / (mean norm of activations). Latents here are on the authors' scale:
with s folded in as their loader does, a = x W_enc + b_enc / s, so that the threshold of Llama Scope
stands as it is stored. Where ``sparsity_include_decoder_norm`` is set, as it is by default, a
latent fires when a · ‖decoder row‖ is above the threshold. SAELens leaves that norm out and gives
s · a; the two agree but for that factor where decoder rows have norm 1.
"""

from __future__ import annotations

from dataclasses import replace

from imprint.saes.activations import JumpRelu
from imprint.saes.folder import Folder, Settings
from imprint.saes.hook import Hook, parse_hook
from imprint.saes.sae import Promise, Sae
from imprint.saes.tensors import Tensors

TITLE = "Llama Scope"
HOLDS = "hyperparams.json and checkpoints/final.safetensors"
TITLE_R1 = "Llama Scope R1"
HOLDS_R1 = "config.json and sae_weights.safetensors with log_jumprelu_threshold"
CONFIG, WEIGHTS = "hyperparams.json", "checkpoints/final.safetensors"
CONFIG_R1, WEIGHTS_R1 = "config.json", "sae_weights.safetensors"
L0 = 50.0  # of all Llama Scope SAEs
# settings that change the arithmetic → what they are in all that was published
USUAL = {"act_fn": "jumprelu", "norm_activation": "dataset-wise"}
NEVER = ("apply_decoder_bias_to_pre_encoder", "use_glu_encoder")


def matches(folder: Folder) -> bool:
    """Whether the folder holds what Llama Scope is made of."""
    return folder.chosen is None and folder.has(CONFIG) and folder.has(WEIGHTS)


def read(folder: Folder) -> Sae:
    """Read an SAE of Llama Scope.

    Raises:
        CheckpointError: a setting or tensor is missing or does not fit.
    """
    hyper, tensors = folder.settings(CONFIG), folder.tensors(WEIGHTS)
    width, latents = _count(hyper, "d_model"), _count(hyper, "d_sae")
    threshold = hyper.number("jump_relu_threshold")
    if threshold is None:
        raise hyper.needed("jump_relu_threshold")
    scale = _scale(hyper, width)
    if scale is None:
        raise hyper.needed("dataset_average_activation_norm", "has no 'in'")
    sae = _plain(hyper, tensors, width, latents, JumpRelu(tensors.take("encoder.bias", latents)))
    norms = sae.w_dec.norm(dim=-1)
    if not hyper.flag("sparsity_include_decoder_norm", True):
        norms = norms * 0 + 1
    return replace(
        sae,
        b_enc=sae.b_enc / scale,
        b_dec=sae.b_dec / scale,
        function=JumpRelu(threshold / norms),
        norm="none",
        promise=replace(sae.promise, l0=L0),
    )


def matches_r1(folder: Folder) -> bool:
    """Whether the folder holds what Llama Scope R1 is made of."""
    if folder.has("cfg.json") or not folder.has(CONFIG_R1) or not folder.has(WEIGHTS_R1):
        return False
    return "log_jumprelu_threshold" in folder.tensors(WEIGHTS_R1)


def read_r1(folder: Folder) -> Sae:
    """Read an SAE of Llama Scope R1; its thresholds, stored as logarithms, are not rescaled.

    Raises:
        CheckpointError: a setting or tensor is missing or does not fit.
    """
    config, tensors = folder.settings(CONFIG_R1), folder.tensors(WEIGHTS_R1)
    width = _count(config, "d_model")
    latents = width * _count(config, "expansion_factor")
    function = JumpRelu(tensors.take("log_jumprelu_threshold", latents).exp())
    sae = _plain(config, tensors, width, latents, function)
    scale = _scale(config, width)
    return sae if scale is None else sae.scaled(scale)


def _plain(
    settings: Settings, tensors: Tensors, width: int, latents: int, function: JumpRelu
) -> Sae:
    """Read the SAE as it is stored, for scaled input."""
    _refuse_other(settings)
    sae = Sae(
        w_enc=tensors.take("encoder.weight", latents, width).T,
        b_enc=tensors.take("encoder.bias", latents),
        w_dec=tensors.take("decoder.weight", width, latents).T,
        b_dec=tensors.take("decoder.bias", width),
        function=function,
        hook=_hook(settings),
        norm="average",
        promise=Promise(None, None, "meta-llama/Llama-3.1-8B", 1024),
        prepends_bos=True,
    )
    tensors.refuse_rest()
    return sae


def _refuse_other(settings: Settings) -> None:
    """Refuse a variant whose latents or place would be read wrongly."""
    for key, usual in USUAL.items():
        if settings.text(key, usual) != usual:
            raise settings.wrong(key, f"is {settings.text(key)!r:.40}, not {usual!r}")
    for key in NEVER:
        if settings.flag(key, False):
            raise settings.wrong(key, "is true, which is not read here")
    told = settings.text("hook_point_out")
    if told is not None and told != settings.text("hook_point_in"):
        raise settings.wrong(
            "hook_point_out",
            f"is {told!r:.60}, not where it reads: it is a transcoder",
            "an SAE that encodes one place is needed: …LXR, LXM or LXA.",
        )


def _scale(settings: Settings, width: int) -> float | None:
    average = settings.part("dataset_average_activation_norm").number("in")
    return None if average is None else width**0.5 / average


def _count(settings: Settings, key: str) -> int:
    found = settings.count(key)
    if not found:
        raise settings.needed(key)
    return found


def _hook(settings: Settings) -> Hook:
    named = settings.text("hook_point_in")
    if named is None:
        raise settings.needed("hook_point_in")
    return parse_hook(named)
