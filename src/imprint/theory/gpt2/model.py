"""GPT-2 with a linear read-in of tokens and a linear read-out of weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from imprint.errors import require


@dataclass(frozen=True, slots=True)
class Shape:
    """Size of a predictor.

    Attributes:
        d: feature dimension.
        positions: longest sequence.
        layers, heads, width: of the transformer.
    """

    d: int
    positions: int
    layers: int
    heads: int
    width: int


class Predictor:
    """Predicts the next estimate of the weights from a prompt and the estimates so far.

    Args:
        shape: its size.
        seed: of its random start.
        device: where it computes.

    Raises:
        DependencyError: torch or transformers is not installed.
    """

    def __init__(self, shape: Shape, *, seed: int, device: str):
        torch = require("torch", "models")
        transformers = require("transformers", "models")
        self.shape, self.device = shape, device
        config = transformers.GPT2Config(
            vocab_size=1,
            n_positions=shape.positions,
            n_embd=shape.width,
            n_layer=shape.layers,
            n_head=shape.heads,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            use_cache=False,
            bos_token_id=None,
            eos_token_id=None,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            parts = {
                "backbone": transformers.GPT2Model(config),
                "read_in": torch.nn.Linear(shape.d + 1, shape.width),
                "read_out": torch.nn.Linear(shape.width, shape.d),
            }
        self.parts = torch.nn.ModuleDict(parts).to(device)

    def next_estimates(self, prompt: Any, states: Any) -> Any:
        """Predict the estimate after each of those given.

        Args:
            prompt: [B, 2n, d + 1] tokens.
            states: [B, j, d] estimates w₀ … w_{j−1}.

        Returns:
            [B, j, d] predictions of w₁ … w_j.
        """
        torch = require("torch", "models")
        flagged = torch.cat([states, torch.ones_like(states[..., :1])], dim=-1)
        embedded = self.parts["read_in"](torch.cat([prompt, flagged], dim=1))
        hidden = self.parts["backbone"](inputs_embeds=embedded).last_hidden_state
        return self.parts["read_out"](hidden[:, prompt.shape[1] :])

    def rollout(self, prompt: Any, steps: int) -> Any:
        """Run k steps on its own estimates from w₀ = 0; gives ŵ_k, [B, d], with its graph."""
        torch = require("torch", "models")
        states = torch.zeros(len(prompt), 1, self.shape.d, device=prompt.device)
        for _ in range(steps):
            last = self.next_estimates(prompt, states)[:, -1:]
            states = torch.cat([states, last], dim=1)
        return states[:, -1]
