"""The shape of a model: a Llama, small enough to be trained here."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from imprint.errors import ConfigError, require

ROPE_THETA = 10_000.0
NORM_EPS = 1e-5
INITIAL = 0.02  # standard deviation of embeddings at the start


@dataclass(frozen=True, slots=True)
class Shape:
    """A decoder of the Llama architecture, with as many key as query heads.

    Attributes:
        layers: decoder layers.
        width: of the residual stream.
        heads: attention heads; they share out the width, in even parts.
        ffn: width between the two feed-forward matrices.
        context: tokens of a training sequence, and the longest that the model reads.
        vocabulary: rows of the embedding.
        tie: whether the output matrix is the embedding.

    Raises:
        ConfigError: a number is below one, or the heads do not share out the width.
    """

    layers: int = 4
    width: int = 128
    heads: int = 4
    ffn: int = 384
    context: int = 128
    vocabulary: int = 1024
    tie: bool = True

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name != "tie" and value < 1:
                raise ConfigError(f"{name} is {value}", where="shape", remedy="give at least 1.")
        if self.width % (2 * self.heads):
            problem = f"{self.heads} heads do not share out a width of {self.width} in even parts"
            raise ConfigError(problem, where="shape", remedy="choose width = heads × an even size.")

    @property
    def head(self) -> int:
        """Width of one head."""
        return self.width // self.heads

    @property
    def parameters(self) -> int:
        """How many numbers are trained; a tied embedding counts once."""
        return sum(math.prod(size) for size in self.tensors().values())

    def with_vocabulary(self, vocabulary: int) -> Shape:
        """The same shape for another tokenizer."""
        return replace(self, vocabulary=vocabulary)

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Name every trained tensor, with its size as it is multiplied: [in, out].

        Query, key and value of a layer stand side by side, as do gate and up. Norms come last: they
        are not decayed.
        """
        d, f = self.width, self.ffn
        sizes: dict[str, tuple[int, ...]] = {}
        for layer in range(self.layers):
            sizes[f"{layer}.qkv"] = (d, 3 * d)
            sizes[f"{layer}.o"] = (d, d)
            sizes[f"{layer}.gate_up"] = (d, 2 * f)
            sizes[f"{layer}.down"] = (f, d)
        sizes["embedding"] = (self.vocabulary, d)
        if not self.tie:
            sizes["head"] = (self.vocabulary, d)
        for layer in range(self.layers):
            sizes[f"{layer}.norm_attention"] = (d,)
            sizes[f"{layer}.norm_ffn"] = (d,)
        sizes["norm"] = (d,)
        return sizes

    def llama_config(self, tokenizer: Any = None) -> Any:
        """Give the ``LlamaConfig`` of this shape.

        Args:
            tokenizer: whose special tokens the config names.

        Raises:
            DependencyError: transformers is not installed.
        """
        return require("transformers", "lab").LlamaConfig(
            vocab_size=self.vocabulary,
            hidden_size=self.width,
            intermediate_size=self.ffn,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.heads,
            max_position_embeddings=self.context,
            rms_norm_eps=NORM_EPS,
            rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
            tie_word_embeddings=self.tie,
            bos_token_id=getattr(tokenizer, "bos_token_id", None),
            eos_token_id=getattr(tokenizer, "eos_token_id", None),
            pad_token_id=getattr(tokenizer, "pad_token_id", None),
        )


def initial_spread(shape: Shape, name: str) -> float:
    """Give the standard deviation that a tensor starts with; norms start at one.

    Matrices start at 1/√in, those that write to the residual stream at 1/√(2 · layers) of that
    (GPT-2's rule); embeddings at 0.02.
    """
    if name in ("embedding", "head"):
        return INITIAL
    deep = 1 / math.sqrt(2 * shape.layers) if name.endswith((".o", ".down")) else 1.0
    return deep / math.sqrt(shape.tensors()[name][0])
