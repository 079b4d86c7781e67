"""eai-sparsify's trainer of top-k SAEs, on windows of tokens, behind one call.

Its own settings are kept but for the auxiliary loss, which revives latents that no longer fire
(Gao et al. 2024, arXiv 2406.04093, appendix A.2). Its steps have the same size whatever the
activations are, so these are scaled to a mean norm of √d, and the scale is folded into the weights.
"""

from __future__ import annotations

import io
import math
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from imprint.errors import DependencyError, require
from imprint.models import Loaded
from imprint.models.residual import activations, blocks, site
from imprint.progress import Bar
from imprint.saes.training.config import TrainConfig
from imprint.saes.training.measure import OUTLIER

PACKAGE = "eai-sparsify"
AUXILIARY = 1 / 32
SEEN = 32  # windows that the scale is taken from
TINY = 1e-12
MEANT = 1 << 16  # tokens in a batch that the trainer's own learning rate is meant for
NEVER = 1 << 60
PARTS = {"W_enc": "encoder.weight", "b_enc": "encoder.bias", "W_dec": "W_dec", "b_dec": "b_dec"}


def train(
    loaded: Loaded, rows: Sequence[Sequence[int]], config: TrainConfig, bar: Bar, *, bos: bool
) -> dict[str, Any]:
    """Train an SAE on the output of a layer.

    Args:
        loaded: the model; its weights are frozen.
        rows: windows of one length, read in order and from the beginning again.
        config: ``layer``, ``latents`` and ``k`` are given.
        bar: told of every token.
        bos: the first token of a window is BOS, whose activations are left out.

    Returns:
        W_enc [d, L], b_enc [L], W_dec [L, d], b_dec [d], float32 on the CPU.

    Raises:
        DependencyError: eai-sparsify is not installed.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        sparsify = stack.enter_context(_quiet_sparsify())
        layer = int(config.layer or 0)
        scale = stack.enter_context(_scaled(loaded, layer, rows, bos=bos))
        hook = stack.enter_context(_shortened(loaded, layer))
        settings = _settings(sparsify, config, hook, folder, rows, bos)
        data = _Data(rows, settings.batch_size * _steps(config, len(rows[0])), bar)
        trainer = sparsify.Trainer(settings, data, loaded.model.base_model)
        trainer.fit()
        return _weights(Path(folder) / "run" / hook / "sae.safetensors", scale)


def default_rate(latents: int, batch_tokens: int) -> float:
    """Give the learning rate: the trainer's own, less for batches smaller than it is meant for.

    Steps of its optimiser have one size, so that noise grows as batches shrink. The third root was
    found on a small model, where 2 million tokens in batches of 2,048 leave 0.103 of the variance
    at the trainer's own rate and 0.065 at 0.3 of it.
    """
    own = 5e-3 / math.sqrt(latents / (1 << 14))
    return own * math.cbrt(min(1.0, batch_tokens / MEANT))


def trainer_version() -> str:
    """Give the version of eai-sparsify.

    Raises:
        DependencyError: it is not installed.
    """
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        raise DependencyError(
            f"training an SAE needs the package {PACKAGE!r}, which is not installed",
            remedy='pip install "imprint[sae]"',
        ) from None


def _settings(
    sparsify: Any, config: TrainConfig, hook: str, folder: str, rows: Any, bos: bool
) -> Any:
    length = len(rows[0])
    return sparsify.TrainConfig(
        sparsify.SparseCoderConfig(num_latents=config.latents, k=config.k),
        batch_size=max(1, config.batch_tokens // length),
        lr=config.learning_rate,
        auxk_alpha=AUXILIARY,
        dead_feature_threshold=max(config.batch_tokens * 8, config.tokens // 10),
        exclude_tokens=[rows[0][0]] if bos else [],
        hookpoints=[hook],
        init_seeds=[config.seed],
        save_every=NEVER,
        save_dir=folder,
        run_name="run",
        log_to_wandb=False,
    )


def _steps(config: TrainConfig, length: int) -> int:
    batch = max(1, config.batch_tokens // length)
    return max(1, config.tokens // (batch * length))


class _Data:
    """A data set of torch, as long as the training is."""

    def __init__(self, rows: Sequence[Sequence[int]], length: int, bar: Bar):
        self.rows, self.length, self.bar = rows, length, bar

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, at: int) -> dict[str, Any]:
        import torch

        if at >= self.length:
            raise IndexError(at)
        row = self.rows[at % len(self.rows)]
        self.bar.advance(len(row))
        return {"input_ids": torch.tensor(row)}


@contextmanager
def _scaled(
    loaded: Loaded, layer: int, rows: Sequence[Sequence[int]], *, bos: bool
) -> Iterator[float]:
    """Bring a layer's output to a mean norm of √d meanwhile, and give the factor.

    Activations of more than ten times the median norm are shortened to that: squared errors would
    be about them alone, and no fit counts them.
    """
    import torch

    where = site(loaded, layer=layer)
    seen = activations(loaded, where, rows[:SEEN])
    norms = torch.cat([states[int(bos) :].float().norm(dim=-1) for states in seen])
    longest = OUTLIER * float(norms.median())
    scale = seen[0].shape[-1] ** 0.5 / max(float(norms[norms <= longest].mean()), TINY)

    def change(found: Any) -> Any:
        lengths = found.float().norm(dim=-1, keepdim=True)
        return found * (scale * (longest / lengths.clamp(min=TINY)).clamp(max=1)).to(found.dtype)

    with where.hooked(change):
        yield scale


@contextmanager
def _shortened(loaded: Loaded, layer: int) -> Iterator[str]:
    """Take the blocks behind a layer out of the model meanwhile, and give that layer's name."""
    whole = blocks(loaded)
    named = loaded.model.base_model.named_modules()
    name = next(name for name, module in named if module is whole[layer])
    behind = list(whole[layer + 1 :])
    del whole[layer + 1 :]
    try:
        yield name
    finally:
        whole.extend(behind)


@contextmanager
def _quiet_sparsify() -> Iterator[Any]:
    """Give the library; what it prints and warns of concerns its own development."""
    torch = require("torch", "sae")
    precision, states = torch.get_float32_matmul_precision(), torch.get_rng_state()
    with redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sparsify: Any = require("sparsify", "sae")
        inner: Any = require("sparsify.trainer", "sae")
        bar = inner.tqdm
        inner.tqdm = lambda *given, **more: bar(*given, **{**more, "disable": True})
        try:
            yield sparsify
        finally:
            inner.tqdm = bar
            torch.set_float32_matmul_precision(precision)
            torch.set_rng_state(states)


def _weights(file: Path, scale: float) -> dict[str, Any]:
    """Give the tensors for activations as they are, of an SAE that saw them scaled."""
    from safetensors.torch import load_file

    held = load_file(file)
    found = {ours: held[theirs].float().cpu().clone() for ours, theirs in PARTS.items()}
    return {
        "W_enc": found["W_enc"].T.contiguous() * scale,
        "b_enc": found["b_enc"],
        "W_dec": found["W_dec"] / scale,
        "b_dec": found["b_dec"] / scale,
    }
