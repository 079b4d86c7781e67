"""Gemma Scope 2: ``params.safetensors`` with, mostly, a ``config.json``."""

from __future__ import annotations

from imprint.errors import CheckpointError
from imprint.saes.activations import JumpRelu
from imprint.saes.folder import Folder, Settings
from imprint.saes.hook import Hook, parse_hook
from imprint.saes.sae import Promise, Sae

TITLE = "Gemma Scope 2"
HOLDS = "params.safetensors, mostly with config.json"
CONFIG, WEIGHTS = "config.json", "params.safetensors"
# folder → where it reads, for folders without config.json
PLACES = {
    "resid_post": ".output",
    "attn_out": ".self_attn.o_proj.input",
    "mlp_out": ".post_feedforward_layernorm.output",
    "transcoder": ".pre_feedforward_layernorm.output",
}


def matches(folder: Folder) -> bool:
    """Whether the folder holds what this format is made of."""
    return (folder.chosen or WEIGHTS) == WEIGHTS and folder.has(WEIGHTS)


def read(folder: Folder) -> Sae:
    """Read the SAE, or a transcoder, whose latents are as good.

    Raises:
        CheckpointError: a setting or tensor is missing, unknown or does not fit.
    """
    tensors = folder.tensors(WEIGHTS)
    config = folder.settings(CONFIG) if folder.has(CONFIG) else None
    shape = tensors.shape("w_enc")
    if len(shape) != 2:
        raise tensors.wrong("w_enc", f"has shape {list(shape)}, not two axes")
    width, latents = shape
    hook = _hook(folder, config)
    connected = "affine_skip_connection" in tensors
    sae = Sae(
        w_enc=tensors.take("w_enc", width, latents),
        b_enc=tensors.take("b_enc", latents),
        w_dec=tensors.take("w_dec", latents, width),
        b_dec=tensors.take("b_dec", width),
        function=JumpRelu(tensors.take("threshold", latents)),
        hook=hook,
        promise=Promise(None, None, _model(folder, config), 1024),
        prepends_bos=True,
        skip=tensors.take("affine_skip_connection", width, width).T if connected else None,
        transcodes=hook.point == "mlp_in" or connected,
    )
    tensors.refuse_rest()
    return sae


def _hook(folder: Folder, config: Settings | None) -> Hook:
    if config is not None:
        named = config.text("architecture")
        if named != "jump_relu":
            raise config.wrong("architecture", f"is {named!r}, not 'jump_relu'")
        told = config.text("hf_hook_point_in")
        if told is None:
            raise config.needed("hf_hook_point_in")
        return parse_hook(told)
    layer = folder.search(r"^layer_(\d+)")
    kind = folder.search(r"^(resid_post|attn_out|mlp_out|transcoder)(_all)?$")
    if layer is None or kind is None:
        raise CheckpointError(
            "has no config.json, and the folders do not tell layer and place either",
            where=str(folder.path),
            remedy="keep folders as published: resid_post/layer_12_width_16k_l0_small.",
        )
    return parse_hook(f"model.layers.{layer[1]}{PLACES[kind[1]]}")


def _model(folder: Folder, config: Settings | None) -> str | None:
    told = config.text("model_name") if config else None
    if told is None:
        found = folder.search(r"gemma-scope-2-([\w.]+)-(pt|it)")
        told = f"gemma-3-{found[1]}-{found[2]}" if found else None
    if told is None:
        return None
    told = told.replace("-v3", "-3")
    told = told if told.startswith("google/") else f"google/{told}"
    return told.replace("-pt", "") if "270m" in told else told
