"""EleutherAI sparsify, new and old: ``cfg.json`` and ``sae.safetensors`` per hook point.

The folder's name is the hook point: the output of that module. Arithmetic as in eai-sparsify 1.3.3.
"""

from __future__ import annotations

from imprint.saes.activations import GroupMax, TopK
from imprint.saes.folder import Folder, Settings
from imprint.saes.hook import Hook, parse_hook
from imprint.saes.sae import Promise, Sae

TITLE = "EleutherAI sparsify"
HOLDS = "cfg.json and sae.safetensors"
CONFIG, WEIGHTS = "cfg.json", "sae.safetensors"


def matches(folder: Folder) -> bool:
    """Whether the folder holds what this format is made of."""
    return folder.has(CONFIG) and (folder.chosen or WEIGHTS) == WEIGHTS and folder.has(WEIGHTS)


def read(folder: Folder) -> Sae:
    """Read the SAE.

    Raises:
        CheckpointError: a setting or tensor is missing, unknown or does not fit.
    """
    cfg, tensors = folder.settings(CONFIG), folder.tensors(WEIGHTS)
    width = cfg.count("d_in")
    if not width:
        raise cfg.needed("d_in")
    latents = _latents(cfg, width)
    transcodes = bool(cfg.flag("transcode", False))
    function = _function(cfg, latents)
    skip = tensors.take("W_skip", width, width) if cfg.flag("skip_connection", False) else None
    sae = Sae(
        w_enc=tensors.take("encoder.weight", latents, width).T,
        b_enc=tensors.take("encoder.bias", latents),
        w_dec=tensors.take("W_dec", latents, width),
        b_dec=tensors.take("b_dec", width),
        function=function,
        hook=hook_of(folder.path.absolute().name, reads=transcodes),
        subtract_b_dec=not transcodes,
        promise=Promise(float(function.k)),
        skip=skip,
        transcodes=transcodes,
    )
    tensors.refuse_rest()
    return sae


def hook_of(name: str, *, reads: bool = False) -> Hook:
    """Read a hook point from the name of a folder; none where the name is some other.

    Args:
        name: a module, as ``layers.10`` or, of old, ``layer_10``.
        reads: the module's input is meant, not its output.
    """
    hook = parse_hook(f"{name}.input" if reads else name)
    return hook if hook.layer is not None or hook.point == "embedding" else Hook()


def _latents(cfg: Settings, width: int) -> int:
    if count := cfg.count("num_latents", 0):
        return count
    factor = cfg.count("expansion_factor")
    if not factor:
        raise cfg.needed("num_latents", "and expansion_factor are both missing or 0")
    return factor * width


def _function(cfg: Settings, latents: int) -> TopK | GroupMax:
    k = cfg.count("k")
    if k is None:
        raise cfg.needed("k")
    if not 0 < k <= latents:
        raise cfg.wrong("k", f"is {k}, of {latents} latents")
    named = cfg.text("activation", "topk")
    if named == "topk":
        return TopK(k, signed=bool(cfg.flag("signed", False)))
    if named != "groupmax":
        raise cfg.wrong("activation", f"{named!r} is neither topk nor groupmax")
    if latents % k:
        raise cfg.wrong("k", f"{latents} latents cannot be split into {k} groups")
    return GroupMax(k)
