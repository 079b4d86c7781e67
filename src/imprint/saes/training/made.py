"""An SAE that was trained: in the run's ledger, in memory, and as files."""

from __future__ import annotations

import json
from typing import Any

import polars as pl

from imprint.errors import require
from imprint.models import Loaded
from imprint.models.residual import blocks
from imprint.progress import Bar
from imprint.saes.activations import TopK
from imprint.saes.hook import Hook
from imprint.saes.sae import Promise, Sae
from imprint.saes.training.config import TrainConfig
from imprint.saes.training.texts import Windows
from imprint.saes.training.trainer import train

PIECE = 1 << 26  # bytes of a row in the ledger
SCHEMA: dict[str, Any] = {"name": pl.String, "shape": pl.List(pl.Int64), "values": pl.Binary}
LAYOUT = "6.0.0"  # of SAELens, whose files are written


def packed(
    loaded: Loaded, windows: Windows, config: TrainConfig, bar: Bar
) -> dict[str, pl.DataFrame]:
    """Train, and give the tensors as a table, in rows of at most 64 MiB, for the run's ledger."""
    tensors = train(loaded, windows.rows, config, bar, bos=windows.bos)
    rows = []
    for name, tensor in tensors.items():
        raw, shape = tensor.contiguous().numpy().tobytes(), list(tensor.shape)
        rows += [(name, shape, raw[at : at + PIECE]) for at in range(0, len(raw), PIECE)]
    return {"tensors": pl.DataFrame(rows, schema=SCHEMA, orient="row")}


def unpacked(tables: dict[str, pl.DataFrame]) -> dict[str, Any]:
    """Give the tensors that a table holds."""
    torch = require("torch", "models")
    raw: dict[str, bytearray] = {}
    shapes: dict[str, list[int]] = {}
    for name, shape, values in tables["tensors"].iter_rows():
        raw.setdefault(name, bytearray()).extend(values)
        shapes[name] = shape
    return {
        name: torch.frombuffer(held, dtype=torch.float32).reshape(shapes[name])
        for name, held in raw.items()
    }


def built(loaded: Loaded, tensors: dict[str, Any], config: TrainConfig, learnt: Windows) -> Sae:
    """Make the SAE of its tensors."""
    block = blocks(loaded)[config.layer]
    named = loaded.model.named_modules()
    module = next(name for name, inner in named if inner is block)
    return Sae(
        tensors["W_enc"],
        tensors["b_enc"],
        tensors["W_dec"],
        tensors["b_dec"],
        TopK(int(config.k or 1)),
        hook=Hook(config.layer, "resid_post", module),
        format="SAELens",
        source="the SAE trained here",
        subtract_b_dec=True,
        promise=Promise(float(config.k or 1), None, None, learnt.length),
        prepends_bos=learnt.bos,
    )


def stored(sae: Sae, loaded: Loaded, config: TrainConfig, fvu: float) -> dict[str, bytes]:
    """Give the files that SAELens 6 writes, so that it and `open_sae` read them.

    Args:
        sae: what was trained.
        loaded, config: on what, and how.
        fvu: on texts held out; kept with the settings, so that later fits are held against it.
    """
    from safetensors.torch import save

    names = {"W_enc": sae.w_enc, "b_enc": sae.b_enc, "W_dec": sae.w_dec, "b_dec": sae.b_dec}
    cfg = {
        "architecture": "topk",
        "d_in": sae.width,
        "d_sae": sae.latents,
        "k": config.k,
        "rescale_acts_by_decoder_norm": False,
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "dtype": "float32",
        "device": "cpu",
        "metadata": {
            "sae_lens_version": LAYOUT,
            "model_name": loaded.reference or str(loaded.folder),
            "hook_name": f"blocks.{config.layer}.hook_resid_post",
            "hf_hook_name": f"{sae.hook.module}.output",
            "context_size": sae.promise.context,
            "prepend_bos": sae.prepends_bos,
            "held_out_fvu": fvu,
        },
    }
    return {
        "cfg.json": json.dumps(cfg, indent=2).encode(),
        "sae_weights.safetensors": save({n: t.contiguous() for n, t in names.items()}),
    }
