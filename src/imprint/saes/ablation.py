"""Zeroing chosen latents during a model's forward pass.

Only decode(h′) − decode(h) is written back, so that what the SAE cannot express stays as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from imprint.errors import ConfigError
from imprint.models.load import Loaded
from imprint.models.residual import Site, blocks, site
from imprint.saes.hook import Hook
from imprint.saes.norms import leave
from imprint.saes.sae import Sae

# where a block norms what its parts give (Gemma 2 and 3, OLMo 2), makers of SAEs mean the output of
# that norm, which is what is added to the stream
AFTER = {"mlp_out": "post_feedforward_layernorm", "attn_out": "post_attention_layernorm"}


@contextmanager
def ablated(loaded: Loaded, sae: Sae, latents: Sequence[int]) -> Iterator[None]:
    """Zero latents of an SAE wherever the model computes, while the block runs.

    Args:
        loaded: the model.
        sae: the SAE, on the model's device.
        latents: which are zeroed; none leaves the model exactly as it is.

    Raises:
        ConfigError: a latent is not there, the model lacks what the SAE reads, or the SAE predicts
            another module's output, so that nothing can be written back.
    """
    if sae.transcodes:
        raise ConfigError("a transcoder's latents cannot be zeroed where it reads")
    beyond = [latent for latent in latents if not 0 <= latent < sae.latents]
    if beyond:
        raise ConfigError(f"latent {beyond[0]} is not among the {sae.latents:,} of the SAE")
    taken = _Taken(sae, list(latents))
    with place_of(loaded, sae.hook).hooked(taken.out_of):
        yield


def place_of(loaded: Loaded, hook: Hook) -> Site:
    """Find what an SAE reads in a model.

    Raises:
        ConfigError: the model has no such layer or module, or the hook names no layer.
    """
    norm = AFTER.get(hook.point)
    if norm is not None and hook.module is None and hook.layer is not None:
        name = site(loaded, layer=hook.layer).name
        block = blocks(loaded)[hook.layer]
        if hasattr(block, AFTER["mlp_out"]):
            return Site(getattr(block, norm), "output", name.replace("resid_post", hook.point))
    return site(loaded, layer=hook.layer, point=hook.point, module=hook.module, side=hook.side)


class _Taken:
    """What is taken out of activations."""

    def __init__(self, sae: Sae, latents: list[int]):
        self.sae, self.empty = sae, not latents
        self.columns, self.rows = sae.only(latents), sae.directions(latents)

    def out_of(self, given: Any) -> Any:
        """Give activations [..., d] without the latents; ``None`` where none is taken."""
        if self.empty:
            return None
        flat = given.reshape(-1, given.shape[-1])
        latents = self.columns.encode(flat)
        change = -(latents.to(self.rows.dtype) @ self.rows).float()
        norm = self.sae.norm
        # norms are undone by a factor and a shift per token, and the shift cancels
        back = leave(norm, change, flat.float()) - leave(norm, change * 0, flat.float())
        return (flat.float() + back).to(given.dtype).reshape(given.shape)
