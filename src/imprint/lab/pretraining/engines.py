"""Two ways to train: our batched program on CPU cores, and a plain transformers model."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from imprint.errors import ConfigError, require
from imprint.lab.pretraining import kernels
from imprint.lab.pretraining.batched import Batched, Floats, Precision, initial, parts
from imprint.lab.pretraining.llama import build, to_llama
from imprint.lab.pretraining.optimiser import EPS, Optimiser
from imprint.lab.pretraining.shape import Shape

Ids = npt.NDArray[np.int64]
Arrays = dict[str, npt.NDArray[Any]]
Name = Literal["batched", "transformers"]


class Engine(Protocol):
    """What trains runs, step by step."""

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes files."""

    def step(self, windows: Ids, step: int, lr: float) -> Floats:
        """Take a step, counted from 0, on windows [R, B, T + 1]; give each run's loss [R]."""

    def state(self) -> Arrays:
        """Give all that a later start needs to go on as if there had been no break."""

    def restore(self, state: Arrays) -> None:
        """Take up a state."""

    def llama(self, run: int) -> Arrays:
        """Give a run's weights in float32 under transformers' names."""


class BatchedEngine:
    """Several runs as one program, on one core; see ``Batched``."""

    writes = True

    def __init__(self, shape: Shape, seeds: Sequence[int], optimiser: Optimiser, dtype: Precision):
        self.shape, self.optimiser = shape, optimiser
        self.model = Batched(shape, seeds, optimiser.batch, dtype)
        masters = self.model.masters
        self._moments = [np.zeros_like(masters), np.zeros_like(masters)]
        self._decayed = sum(
            int(np.prod(size)) for name, size in shape.tensors().items() if "norm" not in name
        )

    def step(self, windows: Ids, step: int, lr: float) -> Floats:
        """Take a step."""
        losses = self.model.losses_and_gradients(windows)
        for run in range(len(losses)):
            self._update(run, step + 1, lr)
        return losses

    def _update(self, run: int, step: int, lr: float) -> None:
        o, model, single = self.optimiser, self.model, np.float32
        norm = float(np.sqrt(kernels.square_sum(model.gradients.n[run])))
        shrink = single(1.0 if norm <= o.clip else o.clip / (norm + 1e-6))
        b1, b2 = o.betas
        moments = single(b1), single(b2), single(1 / (1 - b1**step)), single(1 / (1 - b2**step))
        edge = self._decayed
        for part, decay in ((slice(edge), o.weight_decay), (slice(edge, None), 0.0)):
            arrays = (model.masters, *self._moments, model.gradients.n, model.low.n)
            rows = (array[run, part] for array in arrays)
            kernels.adamw(*rows, shrink, single(lr), single(decay), *moments, single(EPS))

    def state(self) -> Arrays:
        """Give parameters and moments, [R, P] each."""
        return {"masters": self.model.masters, "m": self._moments[0], "v": self._moments[1]}

    def restore(self, state: Arrays) -> None:
        """Take them up."""
        for name, mine in self.state().items():
            mine[:] = state[name]
        self.model.round()

    def llama(self, run: int) -> Arrays:
        """Give a run's weights."""
        one = {name: rows[run] for name, rows in parts(self.shape, self.model.masters).items()}
        return to_llama(self.shape, one)


class TransformersEngine:
    """One run as a plain ``LlamaForCausalLM``: for GPUs, and processes that share a batch.

    Under ``accelerate launch`` each process takes its part of every batch and gradients are
    averaged; the first process writes. With bf16, products run under autocast and weights stay
    float32.

    Args:
        shape: of the model.
        seed: of the start, the same as in the batched program.
        optimiser: AdamW of torch with these settings.
        dtype: of the products.
        device: ``cpu``, ``cuda``, …; by default what accelerate finds.
    """

    def __init__(
        self, shape: Shape, seed: int, optimiser: Optimiser, dtype: Precision, device: str | None
    ):
        torch, accelerate = require("torch", "lab"), require("accelerate", "lab")
        self._torch, self.optimiser, self._bf16 = torch, optimiser, dtype == "bf16"
        self._place = accelerate.PartialState(cpu=device == "cpu")
        many = self._place.num_processes > 1
        if optimiser.batch % self._place.num_processes:
            shares = f"{optimiser.batch} sequences among {self._place.num_processes} processes"
            raise ConfigError(f"{shares} do not come out even", where="batch")
        self._device = torch.device(device) if device and not many else self._place.device
        ours = {name: rows[0] for name, rows in parts(shape, initial(shape, seed)[None]).items()}
        state = {name: value.copy() for name, value in to_llama(shape, ours).items()}
        self.model = build(shape, state).to(self._device).train()
        self._optimiser = torch.optim.AdamW(
            [{"params": rows, "weight_decay": decay} for rows, decay in self._groups()],
            betas=optimiser.betas,
            eps=EPS,
            fused=True,
        )
        parallel = torch.nn.parallel.DistributedDataParallel
        self._forward = parallel(self.model) if many else self.model

    @property
    def writes(self) -> bool:
        """Whether this is the first process."""
        return bool(self._place.is_main_process)

    def step(self, windows: Ids, step: int, lr: float) -> Floats:
        """Take a step."""
        torch = self._torch
        mine = windows[0][self._place.process_index :: self._place.num_processes]
        tokens = torch.from_numpy(mine).to(self._device)
        loss = self._loss(tokens)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.optimiser.clip)
        for group in self._optimiser.param_groups:
            group["lr"] = lr
        self._optimiser.step()
        self._optimiser.zero_grad()
        loss = loss.detach()
        if self._place.num_processes > 1:
            torch.distributed.all_reduce(loss)
            loss /= self._place.num_processes
        return np.array([float(loss)], np.float32)

    def _loss(self, tokens: Any) -> Any:
        torch = self._torch
        mixed = torch.autocast(self._device.type, torch.bfloat16) if self._bf16 else nullcontext()
        with mixed:
            logits = self._forward(input_ids=tokens[:, :-1], use_cache=False).logits
        rows, targets = logits.float().flatten(0, 1), tokens[:, 1:].flatten()
        return torch.nn.functional.cross_entropy(rows, targets)

    def _groups(self) -> list[tuple[list[Any], float]]:
        weights = list(self.model.parameters())
        return [
            ([w for w in weights if w.ndim > 1], self.optimiser.weight_decay),
            ([w for w in weights if w.ndim == 1], 0.0),
        ]

    def state(self) -> Arrays:
        """Give parameters, moments and the count of steps."""
        found = {f"model.{k}": v for k, v in self._named()}
        for name, weight in self.model.named_parameters():
            for key, value in self._optimiser.state[weight].items():
                found[f"{key}.{name}"] = value
        return {key: value.detach().float().cpu().numpy() for key, value in found.items()}

    def restore(self, state: Arrays) -> None:
        """Take them up."""
        torch = self._torch
        with torch.no_grad():
            for name, weight in self.model.named_parameters():
                weight.copy_(torch.from_numpy(state[f"model.{name}"]))
                self._optimiser.state[weight] = {
                    key: torch.from_numpy(state[f"{key}.{name}"]).to(weight.device)
                    for key in ("step", "exp_avg", "exp_avg_sq")
                }

    def llama(self, run: int) -> Arrays:
        """Give the weights."""
        return {name: w.detach().float().cpu().numpy() for name, w in self._named()}

    def _named(self) -> Sequence[tuple[str, Any]]:
        return list(self.model.named_parameters())
