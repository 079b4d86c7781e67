"""SAELens, before and after version 6: ``cfg.json`` and ``sae_weights.safetensors``.

Settings and arithmetic as in sae-lens 6.54.12.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from imprint.errors import CheckpointError, nearest
from imprint.findings import Finding
from imprint.saes.activations import Activation, Gated, JumpRelu, Relu, TopK
from imprint.saes.folder import Folder, Settings
from imprint.saes.hook import Hook, parse_hook
from imprint.saes.norms import Norm
from imprint.saes.sae import Promise, Sae
from imprint.saes.tensors import Tensors

TITLE = "SAELens"
HOLDS = "cfg.json and sae_weights.safetensors"
CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"

NORMS: dict[str, Norm] = {
    "none": "none",
    "expected_average_only_in": "average",
    "layer_norm": "layer_norm",
    "constant_norm_rescale": "constant_norm",
}
READ = ("standard", "gated", "jumprelu", "topk", "abstopk")
# trained as these, stored as jumprelu by the library
STORED_AS_JUMPRELU = ("batchtopk", "matryoshka_batchtopk")
UNDECIDED = {
    "average": Finding(
        "input_norm",
        "The settings name an average norm of the input but hold no value, and weights may have "
        "it folded in; it is decided by which of the two fits the texts.",
        level="info",
    ),
    "maybe_centre": Finding(
        "input_norm",
        "The settings do not tell whether weights of the model were centred, as for GPT-2 they "
        "often were; it is decided by which of the two fits the texts.",
        level="info",
    ),
}


def matches(folder: Folder) -> bool:
    """Whether the folder holds what this format is made of."""
    return folder.has(CONFIG) and (folder.chosen or WEIGHTS) == WEIGHTS and folder.has(WEIGHTS)


def read(folder: Folder) -> Sae:
    """Read the SAE.

    Raises:
        CheckpointError: a setting or tensor is missing, unknown or does not fit.
    """
    cfg, tensors = folder.settings(CONFIG), folder.tensors(WEIGHTS)
    old = _is_old(cfg)
    about = cfg if old else cfg.part("metadata")
    width, latents = _sizes(cfg, tensors)
    architecture = _architecture(cfg, old)
    norm = _norm(cfg, about, old)
    sae = Sae(
        w_enc=tensors.take("W_enc", width, latents),
        b_enc=_bias(tensors, latents, architecture),
        w_dec=tensors.take("W_dec", latents, width),
        b_dec=tensors.take("b_dec", width),
        function=_function(cfg, tensors, architecture, latents, old, folder.k),
        hook=_hook(cfg, about),
        subtract_b_dec=bool(cfg.flag("apply_b_dec_to_input", True if old else None)),
        norm=norm,
        promise=_promise(cfg, about, architecture, old),
        prepends_bos=about.flag("prepend_bos", True if old else None),
        findings=(UNDECIDED[norm],) if norm in UNDECIDED else (),
    )
    if not old and "apply_b_dec_to_input" not in cfg:
        raise cfg.needed("apply_b_dec_to_input")
    _refuse_scaling(tensors, latents)
    tensors.refuse_rest()
    return _with_unit_decoder(sae) if cfg.flag("rescale_acts_by_decoder_norm", False) else sae


def _is_old(cfg: Settings) -> bool:
    """Before version 6 settings lay flat and the version, if any, told so."""
    version = cfg.text("sae_lens_version") or cfg.part("metadata").text("sae_lens_version")
    if version is None:
        return True
    first = version.split(".")[0]
    if not first.isdecimal():
        raise cfg.wrong("sae_lens_version", f"is {version!r:.40}, no version")
    return int(first) < 6


def _sizes(cfg: Settings, tensors: Tensors) -> tuple[int, int]:
    stored = tensors.shape("W_enc")
    if len(stored) != 2:
        raise tensors.wrong("W_enc", f"has shape {list(stored)}, not two axes")
    for key, there in (("d_in", stored[0]), ("d_sae", stored[1])):
        told = cfg.count(key)
        if told is None:
            raise cfg.needed(key)
        if told != there:
            raise tensors.wrong("W_enc", f"has shape {list(stored)}, but {key} is {told}")
    return stored[0], stored[1]


def _architecture(cfg: Settings, old: bool) -> str:
    found = cfg.text("architecture", "standard" if old else None)
    if found is None:
        raise cfg.needed("architecture")
    if old and _old_activation(cfg) == "topk":
        return "topk"
    if found in STORED_AS_JUMPRELU:
        return "jumprelu"
    if found not in READ:
        raise cfg.wrong(
            "architecture",
            f"{found!r} is not read here; {nearest(found, READ)}",
            "an SAE that encodes one residual stream is needed, no transcoder.",
        )
    return found


def _old_activation(cfg: Settings) -> str | None:
    return cfg.text("activation_fn") or cfg.text("activation_fn_str")


def _function(
    cfg: Settings,
    tensors: Tensors,
    architecture: str,
    latents: int,
    old: bool,
    asked: int | None,
) -> Activation:
    if architecture in ("topk", "abstopk"):
        inside = cfg.part("activation_fn_kwargs")
        told = cfg.count("k") if "k" in cfg else inside.count("k") if old else None
        k = asked if told is None else told
        if k is None:
            # the library itself would silently take 100
            problem = "is missing, and a top-k SAE is nothing without it"
            raise cfg.wrong("k", problem, "say how many latents fire: --sae-k K.")
        if not 0 < k <= latents:
            raise cfg.wrong("k", f"is {k}, of {latents} latents")
        return TopK(k, signed=architecture == "abstopk")
    if architecture == "jumprelu":
        return JumpRelu(tensors.take("threshold", latents))
    if architecture == "gated":
        return Gated(*(tensors.take(name, latents) for name in ("b_gate", "b_mag", "r_mag")))
    if old and (_old_activation(cfg) or "relu") != "relu":
        raise cfg.wrong("activation_fn", f"{_old_activation(cfg)!r} is not read here")
    return Relu()


def _bias(tensors: Tensors, latents: int, architecture: str) -> Any:
    if architecture == "gated":
        return tensors.take("b_gate", latents) * 0
    return tensors.take("b_enc", latents)


def _norm(cfg: Settings, about: Settings, old: bool) -> Norm:
    told = cfg.values.get("normalize_activations")
    if isinstance(told, bool):
        told = "expected_average_only_in" if told else "none"
    told = "none" if told is None else str(told)
    if told not in NORMS:
        raise cfg.wrong(
            "normalize_activations",
            f"{told!r} is not read here; {nearest(told, NORMS)}",
            "fold a whitening into the weights first (fold_activation_whitening).",
        )
    # where weights that write to the stream were centred, plain activations have a mean that the
    # SAE never saw; GPT-2's first SAEs were made so, and their settings do not say it
    loading = about.part("model_from_pretrained_kwargs")
    if told != "none" or loading.flag("center_writing_weights") is False:
        return NORMS[told]
    if loading.flag("center_writing_weights"):
        return "centre"
    unsaid = old and "model_from_pretrained_kwargs" not in about
    return (
        "maybe_centre" if unsaid and (about.text("model_name") or "").startswith("gpt2") else "none"
    )


def _hook(cfg: Settings, about: Settings) -> Hook:
    for key in ("hook_head_index", "hook_point_head_index"):
        if key in about:
            raise about.wrong(key, "this SAE reads one attention head alone")
    named = about.text("hook_name") or about.text("hook_point")
    hugging = about.text("hf_hook_name")
    if named is None and hugging is None:
        return Hook(about.count("hook_layer"))
    hook = parse_hook(named or hugging or "")
    if hugging:
        there = parse_hook(hugging)
        if there.point == hook.point or hook.point == "other":
            hook = there
        elif there.module:
            hook = replace(hook, module=there.module, side=there.side)
    layer = about.count("hook_layer")
    return replace(hook, layer=layer) if hook.layer is None and layer is not None else hook


def _promise(cfg: Settings, about: Settings, architecture: str, old: bool) -> Promise:
    k = cfg.count("k") if "k" in cfg else cfg.part("activation_fn_kwargs").count("k")
    sparse = architecture in ("topk", "abstopk", "jumprelu")
    l0 = float(k) if k and sparse else None
    # `imprint sae train` notes what its SAE left unexplained
    fvu = about.number("held_out_fvu")
    return Promise(l0, fvu, about.text("model_name"), about.count("context_size"))


def _refuse_scaling(tensors: Tensors, latents: int) -> None:
    if "scaling_factor" in tensors:
        found = tensors.take("scaling_factor", latents)
        if not bool(((found - 1).abs() < 1e-6).all()):
            raise tensors.wrong("scaling_factor", "rescales latents after training, unlike any SAE")


def _with_unit_decoder(sae: Sae) -> Sae:
    """Fold norms of decoder rows into the encoder, as ``rescale_acts_by_decoder_norm`` means it."""
    norms = sae.w_dec.norm(dim=-1)
    if bool((norms == 0).any()):
        raise CheckpointError("some decoder rows are zero and cannot be scaled to norm 1")
    return replace(
        sae, w_enc=sae.w_enc * norms, b_enc=sae.b_enc * norms, w_dec=sae.w_dec / norms[:, None]
    )
