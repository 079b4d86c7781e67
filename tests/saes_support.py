"""Tiny random SAEs on disk, in the formats that exist."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

WIDTH, LATENTS = 6, 20


def parts(seed: int = 0) -> dict[str, Any]:
    """Random weights in canonical shapes, and activations [9, WIDTH] to encode."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Any:
        return torch.randn(shape, generator=draw)

    return {
        "W_enc": normal(WIDTH, LATENTS),
        "b_enc": 0.3 * normal(LATENTS),
        "W_dec": normal(LATENTS, WIDTH),
        "b_dec": 0.5 * normal(WIDTH),
        "threshold": 0.5 * normal(LATENTS).abs(),
        "x": 2 * normal(9, WIDTH),
    }


def weights(held: dict[str, Any], *names: str) -> dict[str, Any]:
    """Take tensors out, as they are saved."""
    return {name: held[name].contiguous() for name in names}


def save(folder: Path, tensors: dict[str, Any], name: str, **settings: Any) -> Path:
    """Write weights in a file of safetensors or torch, and settings beside them."""
    from safetensors.torch import save_file

    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    whole = {key: value.contiguous() for key, value in tensors.items()}
    if name.endswith(".safetensors"):
        save_file(whole, folder / name)
    else:
        torch.save(whole, folder / name)
    for file, values in settings.items():
        (folder / f"{file}.json").write_text(json.dumps(values))
    return folder


def sae_lens(folder: Path, held: dict[str, Any] | None = None, **settings: Any) -> Path:
    """Write a standard SAE as SAELens 6 does; ``settings`` change its cfg, None takes a key out."""
    held = held or parts()
    cfg = {
        "d_in": WIDTH,
        "d_sae": LATENTS,
        "dtype": "float32",
        "device": "cpu",
        "architecture": "standard",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {
            "sae_lens_version": "6.54.12",
            "hook_name": "blocks.1.hook_resid_post",
            "model_name": "tiny",
            "prepend_bos": True,
            "context_size": 32,
        },
        **settings,
    }
    cfg = {name: value for name, value in cfg.items() if value is not None}
    names = ["W_enc", "b_enc", "W_dec", "b_dec"]
    names += ["threshold"] if cfg.get("architecture") == "jumprelu" else []
    return save(folder, weights(held, *names), "sae_weights.safetensors", cfg=cfg)


def assert_same(found: Any, expected: Any) -> None:
    """Compare tensors of float32 arithmetic."""
    assert torch.allclose(found, expected, atol=1e-5, rtol=1e-5), (found - expected).abs().max()
