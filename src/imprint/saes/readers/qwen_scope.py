"""Qwen Scope (arXiv 2605.11887): ``layer{i}.sae.pt``, a dictionary of four tensors.

How many latents fire stands in the repository's name alone (``…-W32K-L0_50``).
"""

from __future__ import annotations

from imprint.errors import CheckpointError
from imprint.saes.activations import TopK
from imprint.saes.folder import Folder
from imprint.saes.hook import Hook
from imprint.saes.sae import Promise, Sae

TITLE = "Qwen Scope"
HOLDS = "layer*.sae.pt with W_enc, W_dec, b_enc and b_dec"
KEYS = {"W_enc", "W_dec", "b_enc", "b_dec"}
NAME = r"SAE-Res-(.+)-W(\d+)K-L0_(\d+)"


def matches(folder: Folder) -> bool:
    """Whether the file holds what this format is made of."""
    if folder.has("config.json"):
        return False
    found = folder.pickled()
    return found is not None and set(found.names) == KEYS


def read(folder: Folder) -> Sae:
    """Read the SAE.

    Raises:
        CheckpointError: a tensor does not fit, or nothing says how many latents fire.
    """
    tensors, named = folder.pickled(), folder.search(NAME)
    assert tensors is not None  # noqa: S101 - matches() has seen to it
    k = int(named[3]) if named else folder.k
    if k is None:
        raise CheckpointError(
            "is a top-k SAE, but neither file nor folder tells k",
            where=str(tensors.file),
            remedy="keep the repository's name in the folder's (…-W32K-L0_50), or give --sae-k.",
        )
    shape = tensors.shape("W_enc")
    if len(shape) != 2:
        raise tensors.wrong("W_enc", f"has shape {list(shape)}, not two axes")
    latents, width = shape
    if named and latents != int(named[2]) * 1024:
        raise tensors.wrong("W_enc", f"has {latents:,} rows, but the name says {named[2]}K")
    if not 0 < k <= latents:
        raise tensors.wrong("W_enc", f"has {latents:,} rows, of which {k:,} cannot fire")
    layer = folder.search(r"^layer(\d+)\.sae\.pt$")
    return Sae(
        w_enc=tensors.take("W_enc", latents, width).T,
        b_enc=tensors.take("b_enc", latents),
        w_dec=tensors.take("W_dec", width, latents).T,
        b_dec=tensors.take("b_dec", width),
        function=TopK(k),
        hook=Hook(int(layer[1]) if layer else None),
        promise=Promise(float(k), None, f"Qwen/{named[1]}" if named else None, 1024),
    )
