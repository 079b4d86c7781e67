"""Llamas of one shape as one program: parameters with a leading run dimension, gradients by hand.

R runs, B sequences of T tokens per run, N = R·B·T tokens. A matrix product runs over all runs at
once (``torch.bmm``); what lies between is in ``kernels``. The residual stream is float32, products
are in the dtype asked for, and weights are rounded to it from float32 masters. The mathematics is
that of transformers' LlamaForCausalLM with the mean cross-entropy over all tokens of a run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from imprint.errors import require
from imprint.lab.pretraining import kernels
from imprint.lab.pretraining.shape import NORM_EPS, ROPE_THETA, Shape, initial_spread

Floats = npt.NDArray[np.float32]
Precision = Literal["bf16", "fp32"]


class Batched:
    """The parameters of R runs, and one step's work on them.

    Args:
        shape: of each.
        seeds: one per run; a run starts the same whatever stands beside it.
        batch: sequences per run and step.
        dtype: of the matrix products.

    Attributes:
        masters: parameters, float32 [R, P]; ``Shape.tensors`` in order.
        gradients: of the mean loss of each run, in the dtype, [R, P].
        low: the parameters in the dtype.
    """

    def __init__(self, shape: Shape, seeds: Sequence[int], batch: int, dtype: Precision = "bf16"):
        self.torch = require("torch", "lab")
        self.shape, self.runs, self.batch = shape, len(seeds), batch
        self.dtype = getattr(self.torch, {"bf16": "bfloat16", "fp32": "float32"}[dtype])
        self.masters = np.stack([initial(shape, seed) for seed in seeds])
        size = self.masters.shape[1]
        self.low, self.gradients = self.room(self.runs, size), self.room(self.runs, size)
        self._weights = self._parts(self.low.t)
        self._slopes = self._parts(self.gradients.t)
        self._norms = {k: v for k, v in parts(shape, self.masters).items() if "norm" in k}
        self._allot()
        self.round()

    def round(self) -> None:
        """Set the rounded parameters from the masters."""
        self.low.t.copy_(self.torch.from_numpy(self.masters))

    def losses_and_gradients(self, windows: npt.NDArray[Any]) -> Floats:
        """Run forward and backward.

        Args:
            windows: token ids, int64 [R, B, T + 1].

        Returns:
            [R]: mean cross-entropy of each run, in nats; ``gradients`` holds its gradient.
        """
        runs = self.runs
        tokens = np.ascontiguousarray(windows[:, :, :-1]).reshape(runs, -1)
        targets = np.ascontiguousarray(windows[:, :, 1:]).reshape(-1)
        self._forward(tokens)
        losses = np.empty(len(targets), np.float32)
        share = np.float32(1 / tokens.shape[1])
        kernels.cross_entropy(self._logits.n, targets, losses, share, self._row)
        self._backward(tokens)
        means: Floats = losses.reshape(runs, -1).mean(1, dtype=np.float64).astype(np.float32)
        return means

    def logits(self, tokens: npt.NDArray[Any]) -> Any:
        """Give the logits of token ids [R, B, T]: [R, B, T, V], overwritten by the next call."""
        self._forward(tokens.reshape(self.runs, -1))
        return self._logits.t.view(self.runs, self.batch, self.shape.context, -1)

    def room(self, *size: int) -> Any:
        """Make a tensor of the dtype, and the array of its bits: one memory, two views."""
        torch = self.torch
        tensor = torch.zeros(*size, dtype=self.dtype)
        bits = tensor.view(torch.uint16) if self.dtype == torch.bfloat16 else tensor
        return SimpleNamespace(t=tensor, n=bits.numpy())

    def _per_run(self, width: int) -> Any:
        """Make room for rows [N, width], which products see as [R, n, width]."""
        made = self.room(self.rows, width)
        made.t = made.t.view(self.runs, -1, width)
        return made

    def _per_head(self, width: int) -> Any:
        """Make room for [N/T, H, T, width], which products see as [N/T · H, T, width]."""
        s = self.shape
        made = self.room(self.runs * self.batch, s.heads, s.context, width)
        made.t = made.t.view(-1, s.context, width)
        return made

    def _parts(self, flat: Any) -> dict[str, Any]:
        """View [R, P] as the named tensors, each [R, in, out]."""
        return parts(self.shape, flat)

    def _bits(self, tensor: Any) -> Any:
        torch = self.torch
        return (tensor.view(torch.uint16) if self.dtype == torch.bfloat16 else tensor).numpy()

    def _allot(self) -> None:
        """Make room for everything that a step writes, once."""
        s = self.shape
        self.rows = n = self.runs * self.batch * s.context
        self._states = [self._layer() for _ in range(s.layers)]
        self._last = SimpleNamespace(
            x=np.zeros((n, s.width), np.float32), scale=np.zeros(n, np.float32)
        )
        self._last.h = self._per_run(s.width)
        self._logits = self._per_run(s.vocabulary)
        self._x0 = np.zeros((n, s.width), np.float32)
        self._none = self._per_run(s.width)  # stays zero: nothing is added to the embedding
        self._sum = self._per_run(s.width)
        self._dx, self._dx_low = np.zeros((n, s.width), np.float32), self._per_run(s.width)
        self._dh, self._dwide = self._per_run(s.width), self._per_run(s.ffn)
        self._dqkv = self._per_run(3 * s.width)
        self._dheads = [self._per_head(s.head) for _ in range(4)]
        self._dscores = self._per_head(s.context)
        self._row = np.zeros(max(s.vocabulary, s.context), np.float32)
        self._table = np.zeros((s.vocabulary, s.width), np.float32)
        angles = np.outer(np.arange(s.context), ROPE_THETA ** (-np.arange(0, s.head, 2) / s.head))
        self._cos, self._sin = np.cos(angles, dtype=np.float32), np.sin(angles, dtype=np.float32)
        self._embedding = self._bits(self._weights["embedding"])
        self._dembedding = self._bits(self._slopes["embedding"])
        self._dnorms = {k: self._bits(self._slopes[k]) for k in self._norms}

    def _layer(self) -> Any:
        """Make room for what a layer's backward pass reads."""
        s, n = self.shape, self.rows
        state = SimpleNamespace(x=[np.zeros((n, s.width), np.float32) for _ in range(2)])
        state.scale = [np.zeros(n, np.float32) for _ in range(2)]
        state.h = [self._per_run(s.width) for _ in range(2)]
        state.qkv, state.gate_up = self._per_run(3 * s.width), self._per_run(2 * s.ffn)
        state.q, state.k, state.v = (self._per_head(s.head) for _ in range(3))
        state.shares, state.attended = self._per_head(s.context), self._per_head(s.head)
        state.merged, state.wide = self._per_run(s.width), self._per_run(s.ffn)
        return state

    def _forward(self, tokens: npt.NDArray[Any]) -> None:
        bmm, w, eps = self.torch.bmm, self._weights, np.float32(NORM_EPS)
        kernels.embed(tokens, self._embedding, self._x0)
        x, add = self._x0, self._none
        for i, a in enumerate(self._states):
            norm = self._norms[f"{i}.norm_attention"]
            kernels.add_norm(x, add.n, norm, a.x[0], a.h[0].n, a.scale[0], eps)
            bmm(a.h[0].t, w[f"{i}.qkv"], out=a.qkv.t)
            kernels.rope_split(a.qkv.n, self._cos, self._sin, a.q.n, a.k.n, a.v.n)
            bmm(a.q.t, a.k.t.transpose(1, 2), out=a.shares.t)
            kernels.causal_softmax(_flat(a.shares.n), self._row)
            bmm(a.shares.t, a.v.t, out=a.attended.t)
            kernels.merge(a.attended.n, a.merged.n)
            bmm(a.merged.t, w[f"{i}.o"], out=self._sum.t)
            norm = self._norms[f"{i}.norm_ffn"]
            kernels.add_norm(a.x[0], self._sum.n, norm, a.x[1], a.h[1].n, a.scale[1], eps)
            bmm(a.h[1].t, w[f"{i}.gate_up"], out=a.gate_up.t)
            kernels.swiglu(a.gate_up.n, a.wide.n)
            bmm(a.wide.t, w[f"{i}.down"], out=self._sum.t)
            x, add = a.x[1], self._sum
        a = self._last
        kernels.add_norm(x, add.n, self._norms["norm"], a.x, a.h.n, a.scale, eps)
        bmm(a.h.t, w[self._head].transpose(1, 2), out=self._logits.t)

    @property
    def _head(self) -> str:
        return "embedding" if self.shape.tie else "head"

    def _backward(self, tokens: npt.NDArray[Any]) -> None:
        bmm, w, d = self.torch.bmm, self._weights, self._slopes
        a, dlogits = self._last, self._logits.t
        bmm(dlogits.transpose(1, 2), a.h.t, out=d[self._head])
        bmm(dlogits, w[self._head], out=self._dh.t)
        self._dx[:] = 0
        self._through_norm("norm", a.x, a.scale)
        for i in reversed(range(self.shape.layers)):
            self._ffn_backward(i, self._states[i])
            self._attention_backward(i, self._states[i])
        if not self.shape.tie:
            d["embedding"].zero_()
        kernels.embed_backward(tokens, self._dx, self._table, self._dembedding)

    def _through_norm(self, name: str, x: Floats, scale: Floats) -> None:
        kernels.norm_backward(
            self._dh.n, x, scale, self._norms[name], self._dx, self._dx_low.n, self._dnorms[name]
        )

    def _ffn_backward(self, i: int, a: Any) -> None:
        bmm, w, d, dx = self.torch.bmm, self._weights, self._slopes, self._dx_low.t
        bmm(a.wide.t.transpose(1, 2), dx, out=d[f"{i}.down"])
        bmm(dx, w[f"{i}.down"].transpose(1, 2), out=self._dwide.t)
        kernels.swiglu_backward(self._dwide.n, a.gate_up.n)
        bmm(a.h[1].t.transpose(1, 2), a.gate_up.t, out=d[f"{i}.gate_up"])
        bmm(a.gate_up.t, w[f"{i}.gate_up"].transpose(1, 2), out=self._dh.t)
        self._through_norm(f"{i}.norm_ffn", a.x[1], a.scale[1])

    def _attention_backward(self, i: int, a: Any) -> None:
        bmm, w, d, dx = self.torch.bmm, self._weights, self._slopes, self._dx_low.t
        do, dq, dk, dv = self._dheads
        bmm(a.merged.t.transpose(1, 2), dx, out=d[f"{i}.o"])
        bmm(dx, w[f"{i}.o"].transpose(1, 2), out=self._dh.t)
        kernels.split(self._dh.n, do.n)
        bmm(a.shares.t.transpose(1, 2), do.t, out=dv.t)
        bmm(do.t, a.v.t.transpose(1, 2), out=self._dscores.t)
        kernels.softmax_backward(_flat(a.shares.n), _flat(self._dscores.n))
        bmm(self._dscores.t, a.k.t, out=dq.t)
        bmm(self._dscores.t.transpose(1, 2), a.q.t, out=dk.t)
        kernels.rope_merge(dq.n, dk.n, dv.n, self._cos, self._sin, self._dqkv.n)
        bmm(a.h[0].t.transpose(1, 2), self._dqkv.t, out=d[f"{i}.qkv"])
        bmm(self._dqkv.t, w[f"{i}.qkv"].transpose(1, 2), out=self._dh.t)
        self._through_norm(f"{i}.norm_attention", a.x[0], a.scale[0])


def _flat(heads: Any) -> Any:
    return heads.reshape(-1, *heads.shape[2:])


def parts(shape: Shape, flat: Any) -> dict[str, Any]:
    """View parameters [R, P], array or tensor, as named ones, each [R, in, out] or [R, width]."""
    found, at = {}, 0
    for name, size in shape.tensors().items():
        count = math.prod(size)
        found[name] = flat[:, at : at + count].reshape(flat.shape[0], *size)
        at += count
    return found


def initial(shape: Shape, seed: int) -> Floats:
    """Draw the parameters that a run starts with, [P]: normal, norms at one."""
    random = np.random.Generator(np.random.PCG64(seed))
    drawn = []
    for name, size in shape.tensors().items():
        count = math.prod(size)
        if "norm" in name:
            drawn.append(np.ones(count, np.float32))
        else:
            values = random.standard_normal(count, dtype=np.float32)
            drawn.append(values * np.float32(initial_spread(shape, name)))
    return np.concatenate(drawn)
