"""Gemma Scope 1: ``layer_i/width_W/average_l0_n/params.npz``, without settings.

What the settings would say stands in the path: layer, L0, and in the repository's name the model
and whether the residual stream, an MLP's output or heads side by side are read (arXiv 2408.05147).
"""

from __future__ import annotations

from dataclasses import replace

from imprint.errors import CheckpointError
from imprint.findings import Finding
from imprint.saes.activations import JumpRelu
from imprint.saes.folder import Folder
from imprint.saes.hook import Hook
from imprint.saes.sae import Promise, Sae

TITLE = "Gemma Scope"
HOLDS = "params.npz"
WEIGHTS = "params.npz"
POINTS = {"res": "resid_post", "mlp": "mlp_out", "att": "attn_z"}
REPOSITORY = r"gemma-scope-(2b|9b|27b)-(pt|it)-(res|mlp|att)"

TRANSCODERS = r"gemma-scope-.*transcoders"
UNSAID = Finding(
    "hook_point",
    "The folders do not name the repository (gemma-scope-2b-pt-res): the SAE is taken to read the "
    "residual stream.",
)


def matches(folder: Folder) -> bool:
    """Whether the folder holds what this format is made of."""
    return (folder.chosen or WEIGHTS) == WEIGHTS and folder.has(WEIGHTS)


def read(folder: Folder) -> Sae:
    """Read the SAE.

    Raises:
        CheckpointError: a tensor is missing or does not fit.
    """
    if folder.search(TRANSCODERS):
        raise CheckpointError(
            "is a transcoder of Gemma Scope, which predicts an MLP's output",
            where=str(folder.path),
            remedy="an SAE that encodes one place is needed: gemma-scope-…-res, -mlp or -att.",
        )
    tensors = folder.tensors(WEIGHTS)
    kind = folder.search(REPOSITORY)
    lower = "w_enc" in tensors
    enc, dec = ("w_enc", "w_dec") if lower else ("W_enc", "W_dec")
    shape = tensors.shape(enc)
    if len(shape) != 2:
        raise tensors.wrong(enc, f"has shape {list(shape)}, not two axes")
    width, latents = shape
    sae = Sae(
        w_enc=tensors.take(enc, width, latents),
        b_enc=tensors.take("b_enc", latents),
        w_dec=tensors.take(dec, latents, width),
        b_dec=tensors.take("b_dec", width),
        function=JumpRelu(tensors.take("threshold", latents)),
        hook=_hook(folder),
        promise=Promise(_l0(folder), None, _model(folder), 1024),
        prepends_bos=True,
        findings=() if kind else (UNSAID,),
    )
    tensors.refuse_rest()
    if _of_embedding(folder):
        # trained on rows of the embedding; the stream begins with these times the root of the width
        return replace(sae, w_enc=sae.w_enc / width**0.5, w_dec=sae.w_dec * width**0.5)
    return sae


def _of_embedding(folder: Folder) -> bool:
    return folder.search(r"^embedding$") is not None


def _hook(folder: Folder) -> Hook:
    if _of_embedding(folder):
        return Hook(0, "resid_pre")
    layer, kind = folder.search(r"^layer_(\d+)$"), folder.search(REPOSITORY)
    point = POINTS[kind[3]] if kind else "resid_post"
    return Hook(int(layer[1]) if layer else None, point)


def _l0(folder: Folder) -> float | None:
    found = folder.search(r"^average_l0_(\d+)$")
    return float(found[1]) if found else None


def _model(folder: Folder) -> str | None:
    found = folder.search(REPOSITORY)
    if found is None:
        return None
    return f"google/gemma-2-{found[1]}" + ("-it" if found[2] == "it" else "")
