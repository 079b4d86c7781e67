"""Two ways to train: our batched program on CPU cores, and a plain transformers model."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from imprint.errors import ConfigError, require
from imprint.lab.pretraining import kernels, muon
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

    def wait(self) -> None:
        """Wait until every process that shares the run is here."""

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
        if optimiser.method == "muon":
            self._steps = self.model.room(len(seeds), muon.matrix_count(shape))
        self._decayed = sum(
            int(np.prod(size)) for name, size in shape.tensors().items() if "norm" not in name
        )

    def step(self, windows: Ids, step: int, lr: float) -> Floats:
        """Take a step."""
        losses = self.model.losses_and_gradients(windows)
        first = 0
        if self.optimiser.method == "muon":
            first = muon.matrix_count(self.shape)
            self._orthogonal_step(first, self.optimiser.matrix_lr * lr / self.optimiser.lr)
        for run in range(len(losses)):
            self._adamw_step(run, first, step + 1, lr)
        return losses

    def _orthogonal_step(self, count: int, lr: float) -> None:
        """Step the first parameters, those of the layers' matrices, by Muon."""
        o, model, single = self.optimiser, self.model, np.float32
        for run in range(model.runs):
            m, g = self._moments[0][run, :count], model.gradients.n[run, :count]
            kernels.momentum(m, g, self._steps.n[run], single(muon.MOMENTUM))
        muon.orthogonal(model.torch, self._steps.t, self.shape)
        for run in range(model.runs):
            p, low = model.masters[run, :count], model.low.n[run, :count]
            kernels.descend(p, self._steps.n[run], low, single(lr), single(o.weight_decay))

    def _adamw_step(self, run: int, first: int, step: int, lr: float) -> None:
        """Step the parameters from the first on by AdamW."""
        o, model, single = self.optimiser, self.model, np.float32
        norm = float(np.sqrt(kernels.square_sum(model.gradients.n[run])))
        shrink = single(1.0 if norm <= o.clip else o.clip / (norm + 1e-6))
        b1, b2 = o.betas
        moments = single(b1), single(b2), single(1 / (1 - b1**step)), single(1 / (1 - b2**step))
        edge = self._decayed
        for part, decay in ((slice(first, edge), o.weight_decay), (slice(edge, None), 0.0)):
            arrays = (model.masters, *self._moments, model.gradients.n, model.low.n)
            rows = (array[run, part] for array in arrays)
            kernels.adamw(*rows, shrink, single(lr), single(decay), *moments, single(EPS))

    def wait(self) -> None:
        """There is one process."""

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
        self._optimisers = self._made()
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
        rates = (lr, self.optimiser.matrix_lr * lr / self.optimiser.lr)
        for one, rate in zip(self._optimisers, rates, strict=False):
            for group in one.param_groups:
                group["lr"] = rate
            one.step()
            one.zero_grad()
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

    def _made(self) -> list[Any]:
        """Make AdamW, and Muon where asked, over the weights that are theirs."""
        torch, o = self._torch, self.optimiser
        weights = dict(self._named())
        norms = [w for w in weights.values() if w.ndim == 1]
        matrices = [w for name, w in weights.items() if w.ndim > 1 and ".layers." in name]
        others = [w for name, w in weights.items() if w.ndim > 1 and ".layers." not in name]
        decayed = others if o.method == "muon" else [*others, *matrices]
        groups = [
            {"params": decayed, "weight_decay": o.weight_decay},
            {"params": norms, "weight_decay": 0.0},
        ]
        made: list[Any] = [torch.optim.AdamW(groups, betas=o.betas, eps=EPS, fused=True)]
        if o.method == "muon":
            if not hasattr(torch.optim, "Muon"):
                problem = f"torch {torch.__version__} brings no Muon"
                raise ConfigError(problem, where="method", remedy="use adamw, or torch 2.9.")
            made.append(
                torch.optim.Muon(
                    matrices,
                    weight_decay=o.weight_decay,
                    momentum=muon.MOMENTUM,
                    ns_coefficients=muon.COEFFICIENTS,
                    ns_steps=muon.STEPS,
                    adjust_lr_fn="original",
                )
            )
        return made

    def wait(self) -> None:
        """Wait for the others."""
        self._place.wait_for_everyone()

    def state(self) -> Arrays:
        """Give parameters, moments and the count of steps."""
        found = {f"model.{name}": weight for name, weight in self._named()}
        for name, kept in self._kept():
            found |= {f"{key}.{name}": value for key, value in kept.items()}
        return {key: value.detach().float().cpu().numpy() for key, value in found.items()}

    def restore(self, state: Arrays) -> None:
        """Take them up."""
        torch = self._torch
        with torch.no_grad():
            for name, weight in self._named():
                weight.copy_(torch.from_numpy(state[f"model.{name}"]))
        for name, kept in self._kept():
            for key in ("step", "exp_avg", "exp_avg_sq", "momentum_buffer"):
                if f"{key}.{name}" in state:
                    kept[key] = torch.from_numpy(state[f"{key}.{name}"]).to(self._device)

    def _kept(self) -> list[tuple[str, Any]]:
        """What the optimisers keep of each weight, by its name."""
        names = {id(weight): name for name, weight in self._named()}
        return [
            (names[id(weight)], one.state[weight])
            for one in self._optimisers
            for group in one.param_groups
            for weight in group["params"]
        ]

    def llama(self, run: int) -> Arrays:
        """Give the weights."""
        return {name: w.detach().float().cpu().numpy() for name, w in self._named()}

    def _named(self) -> Sequence[tuple[str, Any]]:
        return list(self.model.named_parameters())
