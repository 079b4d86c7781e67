"""Final hidden states of a causal model, and its output head applied to them later.

What stands between the last block and the logits differs: caps, scales, a bias, a projection. The
model's own forward pass is therefore kept and only its decoder is replaced, by one that gives the
hidden states back that it is told. The decoder's weights can then leave memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from imprint.errors import CheckpointError, require
from imprint.models.batching import padded
from imprint.models.load import Loaded

# largest relative difference between logits of the whole model and of its head on hidden states
TOLERANCE = {"float32": 1e-4, "float16": 5e-3, "bfloat16": 4e-2}


def hidden_states(loaded: Loaded, sequences: Sequence[Sequence[int]]) -> list[Any]:
    """Give the states that the output head reads, of every position.

    Args:
        loaded: the model.
        sequences: token ids, none empty; they are padded on the right to one length.

    Returns:
        Of each sequence [length, width], in the model's type, on its device.
    """
    torch = require("torch", "models")
    with torch.inference_mode():
        found = decoder(loaded)(**_inputs(torch, loaded, sequences), use_cache=False)[0]
    return [found[row, : len(ids)] for row, ids in enumerate(sequences)]


def layer_states(loaded: Loaded, sequences: Sequence[Sequence[int]]) -> list[Any]:
    """Give the residual stream after the embedding and after every block.

    Returns:
        Of each sequence [blocks + 1, length, width]; the last is what the output head reads, so
        after the final norm.
    """
    torch = require("torch", "models")
    with torch.inference_mode():
        inputs = _inputs(torch, loaded, sequences)
        found = decoder(loaded)(**inputs, use_cache=False, output_hidden_states=True).hidden_states
        stacked = torch.stack([state.to(found[-1].device) for state in found])
    return [stacked[:, row, : len(ids)] for row, ids in enumerate(sequences)]


def decoder(loaded: Loaded) -> Any:
    """Find the part of the model below its output head.

    Raises:
        CheckpointError: the architecture does not tell.
    """
    below = getattr(loaded.model, _name(loaded.model), None)
    if below is None or below is loaded.model:
        raise CheckpointError(
            f"{type(loaded.model).__name__} does not tell its decoder from its output head",
            where=str(loaded.folder),
        )
    return below


class Head:
    """A model's way from hidden states to logits.

    Args:
        loaded: the model. Its decoder is taken out of it, and freed unless something else holds
            it; give ``keep`` to leave the model whole.
        keep: put the decoder back after every use.

    Attributes:
        device: where the model computes.
        norm: the norm after the last block, ``None`` where no known name has it.
    """

    def __init__(self, loaded: Loaded, *, keep: bool = False):
        self.device, self.norm = loaded.device, final_norm(loaded)
        self.model, self._name = loaded.model, _name(loaded.model)
        self._decoder = decoder(loaded) if keep else None
        self._stub = _stub()
        if not keep:
            self._swap(self._stub)

    def __call__(self, hidden: Any) -> Any:
        """Give logits [N, vocabulary] of states [N, width], in the model's type."""
        torch = require("torch", "models")
        if self._decoder is None:
            return self._logits(torch, hidden)
        self._swap(self._stub)
        try:
            return self._logits(torch, hidden)
        finally:
            self._swap(self._decoder)

    def _logits(self, torch: Any, hidden: Any) -> Any:
        self._stub.told = hidden[None].to(self.device)
        ids = torch.zeros((1, len(hidden)), dtype=torch.long, device=self.device)
        with torch.inference_mode():
            found = self.model(input_ids=ids, use_cache=False, return_dict=True).logits[0]
        self._stub.told = None
        return found

    def _swap(self, module: Any) -> None:
        setattr(self.model, self._name, module)


def check_head(loaded: Loaded, head: Head, ids: Sequence[int]) -> None:
    """Check that head and hidden states together give the model's logits; the model must be whole.

    Raises:
        CheckpointError: they do not.
    """
    torch = require("torch", "models")
    with torch.inference_mode():
        whole = loaded.model(input_ids=torch.tensor([list(ids)], device=loaded.device)).logits[0]
        parts = head(hidden_states(loaded, [ids])[0])
    kept = torch.isfinite(whole)
    scale = float(whole[kept].abs().max()) or 1.0
    gap = float((whole - parts)[kept].abs().max()) / scale
    if not gap <= TOLERANCE.get(str(whole.dtype).removeprefix("torch."), 1e-4):
        raise CheckpointError(
            f"the output head of {type(loaded.model).__name__} does not give the model's logits "
            f"from its last hidden states (relative difference {gap:.2g})",
            where=str(loaded.folder),
            remedy="this architecture does more between the two than is known here.",
        )


def final_norm(loaded: Loaded) -> Any:
    """Find the norm after the last block, ``None`` where no known name has it."""
    below = decoder(loaded)
    for name in ("norm", "ln_f", "final_layernorm", "final_layer_norm", "norm_f"):
        inner = getattr(getattr(below, "decoder", below), name, None)
        if inner is not None:
            return inner
    return None


class Given:
    """The answer of a decoder: hidden states, and nothing of whatever else may be asked for."""

    def __init__(self, hidden: Any):
        self.last_hidden_state = hidden

    def __getitem__(self, place: int) -> Any:
        return (self.last_hidden_state,)[place]

    def __getattr__(self, name: str) -> None:
        return None


def _name(model: Any) -> str:
    return str(getattr(model, "base_model_prefix", "") or "model")


def _inputs(torch: Any, loaded: Loaded, sequences: Sequence[Sequence[int]]) -> dict[str, Any]:
    # padding stands behind the text, where a causal model cannot see it
    ids = torch.tensor(list(padded(sequences)), device=loaded.device)
    lengths = torch.tensor([len(one) for one in sequences], device=loaded.device)
    mask = torch.arange(ids.shape[1], device=loaded.device)[None] < lengths[:, None]
    return {"input_ids": ids, "attention_mask": mask.long()}


def _stub() -> Any:
    torch = require("torch", "models")

    class Told(torch.nn.Module):  # type: ignore[misc, name-defined]
        """Stands where a decoder was and gives what it is told."""

        told: Any = None

        @property
        def decoder(self) -> Any:
            return self  # OPT asks one level deeper

        def forward(self, *_: Any, **__: Any) -> Any:
            return Given(self.told)

    return Told()
