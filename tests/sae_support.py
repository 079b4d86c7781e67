"""A small SAE on disk that fits any activations: each dimension and its negative are latents."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file


def exact_sae(folder: Path, *, width: int = 16, layer: int = 1, noise: int = 0) -> Path:
    """Save one of 2 × width latents in SAELens' layout, and so many more that say nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    eye = torch.eye(width)
    save_file(
        {
            "W_enc": torch.cat([eye, -eye, torch.randn(width, noise)], dim=1).contiguous(),
            "b_enc": torch.zeros(2 * width + noise),
            "W_dec": torch.cat([eye, -eye, torch.zeros(noise, width)]),
            "b_dec": torch.zeros(width),
        },
        folder / "sae_weights.safetensors",
    )
    about = {"hook_name": f"blocks.{layer}.hook_resid_post", "prepend_bos": True}
    settings = {
        "architecture": "standard",
        "d_in": width,
        "d_sae": 2 * width + noise,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": False,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {**about, "sae_lens_version": "6.54.12"},
    }
    (folder / "cfg.json").write_text(json.dumps(settings))
    return folder
