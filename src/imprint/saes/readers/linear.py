"""Single pickled files of two linear layers: Goodfire's and qresearch's SAEs.

Both are ReLU, and take nothing from the input.
"""

from __future__ import annotations

from imprint.saes.activations import Relu
from imprint.saes.folder import Folder
from imprint.saes.hook import Hook
from imprint.saes.sae import Promise, Sae

TITLE_GOODFIRE = "Goodfire"
HOLDS_GOODFIRE = "one .pt or .pth with encoder_linear and decoder_linear"
TITLE_QRESEARCH = "qresearch"
HOLDS_QRESEARCH = "one .pt with encoder and decoder, without settings"
GOODFIRE, QRESEARCH = ("encoder_linear", "decoder_linear"), ("encoder", "decoder")


def matches_goodfire(folder: Folder) -> bool:
    """Whether the file holds Goodfire's layers."""
    return _holds(folder, GOODFIRE)


def matches_qresearch(folder: Folder) -> bool:
    """Whether the file holds qresearch's layers; with a config.json it is another format."""
    return not folder.has("config.json") and _holds(folder, QRESEARCH)


def read_goodfire(folder: Folder) -> Sae:
    """Read Goodfire's SAE; layer and model stand in the file's name.

    Raises:
        CheckpointError: a tensor does not fit.
    """
    found = folder.search(r"(Llama-[\d.]+-\d+B-Instruct)-SAE-l(\d+)")
    hook = Hook(int(found[2]) if found else None)
    return _read(folder, GOODFIRE, hook, f"meta-llama/{found[1]}" if found else None)


def read_qresearch(folder: Folder) -> Sae:
    """Read qresearch's SAE.

    Raises:
        CheckpointError: a tensor does not fit.
    """
    found = folder.search(r"(DeepSeek-R1-Distill-Llama-8B).*?[-_]l(\d+)")
    hook = Hook(int(found[2]) if found else None)
    return _read(folder, QRESEARCH, hook, f"deepseek-ai/{found[1]}" if found else None)


def _holds(folder: Folder, layers: tuple[str, str]) -> bool:
    found = folder.pickled()
    return found is not None and set(found.names) == {
        f"{layer}.{part}" for layer in layers for part in ("weight", "bias")
    }


def _read(folder: Folder, layers: tuple[str, str], hook: Hook, model: str | None) -> Sae:
    tensors = folder.pickled()
    assert tensors is not None  # noqa: S101 - matches() has seen to it
    encoder, decoder = layers
    shape = tensors.shape(f"{encoder}.weight")
    if len(shape) != 2:
        raise tensors.wrong(f"{encoder}.weight", f"has shape {list(shape)}, not two axes")
    latents, width = shape
    return Sae(
        w_enc=tensors.take(f"{encoder}.weight", latents, width).T,
        b_enc=tensors.take(f"{encoder}.bias", latents),
        w_dec=tensors.take(f"{decoder}.weight", width, latents).T,
        b_dec=tensors.take(f"{decoder}.bias", width),
        function=Relu(),
        hook=hook,
        promise=Promise(None, None, model),
    )
