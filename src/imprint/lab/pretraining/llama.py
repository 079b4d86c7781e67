"""Our tensors as transformers' Llama names and lays them out, and checkpoints of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from imprint.errors import require
from imprint.lab.pretraining.shape import Shape
from imprint.runs import write_atomic

Stored = Literal["fp32", "bf16"]


def to_llama(shape: Shape, ours: Mapping[str, Any]) -> dict[str, Any]:
    """Give a Llama's state by its names, matrices as [out, in]; the tied head is left out.

    Args:
        shape: of the model.
        ours: one run's tensors as ``Shape.tensors`` names them, [in, out].
    """
    found = {"model.embed_tokens.weight": ours["embedding"], "model.norm.weight": ours["norm"]}
    if not shape.tie:
        found["lm_head.weight"] = ours["head"]
    for i in range(shape.layers):
        at, d, f = f"model.layers.{i}.", shape.width, shape.ffn
        qkv, gate_up = ours[f"{i}.qkv"].T, ours[f"{i}.gate_up"].T
        found[at + "self_attn.q_proj.weight"] = qkv[:d]
        found[at + "self_attn.k_proj.weight"] = qkv[d : 2 * d]
        found[at + "self_attn.v_proj.weight"] = qkv[2 * d :]
        found[at + "self_attn.o_proj.weight"] = ours[f"{i}.o"].T
        found[at + "mlp.gate_proj.weight"] = gate_up[:f]
        found[at + "mlp.up_proj.weight"] = gate_up[f:]
        found[at + "mlp.down_proj.weight"] = ours[f"{i}.down"].T
        found[at + "input_layernorm.weight"] = ours[f"{i}.norm_attention"]
        found[at + "post_attention_layernorm.weight"] = ours[f"{i}.norm_ffn"]
    return found


def build(shape: Shape, state: Mapping[str, Any], tokenizer: Any = None) -> Any:
    """Build a ``LlamaForCausalLM`` around a state.

    Args:
        shape: of the model.
        state: what ``to_llama`` gives, of arrays.
        tokenizer: whose special tokens the config names.

    Raises:
        DependencyError: torch or transformers is not installed.
    """
    torch, transformers = require("torch", "lab"), require("transformers", "lab")
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(shape.llama_config(tokenizer))
    tensors = {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in state.items()}
    model.load_state_dict(tensors, strict=False, assign=True)
    model.tie_weights()
    # tables of the rotation are no part of a state: they are made anew
    model.model.rotary_emb = type(model.model.rotary_emb)(model.config)
    return model


def write_checkpoint(
    shape: Shape, state: Mapping[str, Any], folder: Path, tokenizer: Any, stored: Stored
) -> None:
    """Write a checkpoint that ``AutoModelForCausalLM`` reads, with its tokenizer."""
    torch, transformers = require("torch", "lab"), require("transformers", "lab")
    kind = {"fp32": torch.float32, "bf16": torch.bfloat16}[stored]
    tensors = {k: torch.from_numpy(np.ascontiguousarray(v)).to(kind) for k, v in state.items()}
    config = shape.llama_config(tokenizer)
    config.architectures, config.dtype = ["LlamaForCausalLM"], kind
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(folder)
    transformers.GenerationConfig.from_model_config(config).save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    content = require("safetensors.torch", "lab").save(tensors, metadata={"format": "pt"})
    write_atomic(folder / "model.safetensors", content)
