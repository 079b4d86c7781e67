"""Training an SAE, or checking the fit of one, into a run folder."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from imprint.checkpoints import Checkpoint, open_checkpoint, weight_files
from imprint.configuration import build
from imprint.errors import CheckpointError, ConfigError, DataError, require
from imprint.findings import Finding
from imprint.models import Loaded, load
from imprint.progress import Bar, progress
from imprint.report import publish
from imprint.runs import Run
from imprint.saes.fit import Fit, judge
from imprint.saes.opening import open_sae
from imprint.saes.sae import Sae
from imprint.saes.training.config import CheckConfig, TrainConfig
from imprint.saes.training.made import built, packed, stored, unpacked
from imprint.saes.training.measure import SAE, measure
from imprint.saes.training.result import SaeResult, assemble
from imprint.saes.training.texts import Windows, cut, drawn, read_texts, text_files
from imprint.saes.training.trainer import default_rate, trainer_version

COMPUTING = ("torch", "transformers")
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json")
FEWEST = 8  # windows that a training needs at least
CAUSES = (
    "train on more --tokens or more various texts, raise --k or --latents, or choose another "
    "--layer. --accept-bad-fit keeps it all the same."
)


@dataclass(frozen=True, eq=False)
class Subject:
    """A model with texts, and an SAE to check, none to train one.

    Attributes:
        checkpoint: the model on disk.
        texts: where texts are read from.
        config: settings; of a training its layer, latents and k are given.
        sae: the SAE, where there is one already.
    """

    checkpoint: Checkpoint
    texts: Path
    config: TrainConfig | CheckConfig
    sae: Sae | None = None

    @property
    def job(self) -> str:
        """``sae-train`` or ``sae-check``."""
        return "sae-check" if self.sae else "sae-train"

    @property
    def model(self) -> str:
        """How the user named the model."""
        return str(self.checkpoint.reference)

    @property
    def files(self) -> list[Path]:
        """Files that numbers depend on."""
        folder = self.checkpoint.path
        beside = [folder / name for name in TOKENIZER if (folder / name).is_file()]
        own = list(self.sae.files) if self.sae else []
        return [*weight_files(self.checkpoint), *beside, *text_files(self.texts), *own]


def check_sae(
    model: str | Path,
    sae: str | Path,
    texts: str | Path,
    config: CheckConfig | None = None,
    *,
    out: str | Path | None = None,
    **settings: Any,
) -> SaeResult:
    """Check how well an SAE fits a model on texts.

    Args:
        model: ``PATH_OR_REPO[@REVISION][+ADAPTER[@REVISION]]``.
        sae: ``PATH_OR_REPO[@REVISION][:SUBPATH]``.
        texts: a ``.txt``, a folder of such, or a table with ``text``.
        config: how much is read, and where.
        out: run folder to write; without it nothing is kept.
        settings: fields of `CheckConfig`, as ``fit_tokens=10_000``.

    Raises:
        CheckpointError: model or SAE is damaged, or they do not belong together.
        ConfigError: a setting makes no sense.
        DataError: texts that cannot be used.
        DependencyError: torch or transformers is not installed.
    """
    whole = _merged(CheckConfig, config, settings)
    return _done(open_check(model, sae, texts, whole), out)


def train_sae(
    model: str | Path,
    texts: str | Path,
    config: TrainConfig | None = None,
    *,
    out: str | Path | None = None,
    **settings: Any,
) -> SaeResult:
    """Train a top-k SAE on the output of a layer, and check it on texts that it did not see.

    Args:
        model: ``PATH_OR_REPO[@REVISION][+ADAPTER[@REVISION]]``.
        texts: a ``.txt``, a folder of such, or a table with ``text``.
        config: which layer, how many latents, how long.
        out: run folder to write, which `open_sae` reads; without it the SAE is in ``files``.
        settings: fields of `TrainConfig`, as ``layer=3``.

    Raises:
        CheckpointError: the model is damaged, or the SAE fits badly after all.
        ConfigError: a setting makes no sense.
        DataError: texts that cannot be used.
        DependencyError: torch, transformers or eai-sparsify is not installed.
    """
    whole = _merged(TrainConfig, config, settings)
    return _done(open_training(model, texts, whole), out)


def open_check(
    model: str | Path, sae: str | Path, texts: str | Path, config: CheckConfig
) -> Subject:
    """Open model and SAE; the model's weights are not read."""
    opened = open_sae(sae, k=config.k, layer=config.layer)
    checkpoint = open_checkpoint(model)
    if opened.hook.layer is not None:
        _refuse_layer(checkpoint, opened.hook.layer)
    return Subject(checkpoint, _texts(texts), config, opened)


def open_training(model: str | Path, texts: str | Path, config: TrainConfig) -> Subject:
    """Open the model and settle layer, latents and k; its weights are not read."""
    checkpoint = open_checkpoint(model)
    layers = _number(checkpoint, "num_hidden_layers", "n_layer")
    width = _number(checkpoint, "hidden_size", "n_embd")
    layer = layers // 2 if config.layer is None else config.layer
    _refuse_layer(checkpoint, layer)
    latents = config.latents or 8 * width
    k = config.k or min(32, max(1, width // 4), latents)
    if k > latents:
        raise ConfigError(f"--k {k} is more than the {latents} latents")
    rate = config.learning_rate or default_rate(latents, config.batch_tokens)
    settled = replace(config, layer=layer, latents=latents, k=k, learning_rate=rate)
    return Subject(checkpoint, _texts(texts), settled)


def open_run(subject: Subject, out: Path) -> Run:
    """Open the run folder whose fingerprint covers model, texts, SAE, settings and versions."""
    versions = {name: str(require(name, "models").__version__) for name in COMPUTING}
    if subject.sae is None:
        versions["eai-sparsify"] = trainer_version()
    settings = {
        **subject.config.settings,
        "model": subject.model,
        "sae": subject.sae.source if subject.sae else None,
        "computed_by": versions,
    }
    return Run(out, subject.job, settings, subject.files, seed=subject.config.seed)


def describe(subject: Subject, out: Path) -> str:
    """Say what a run would do."""
    config, sae = subject.config, subject.sae
    lines = [f"{subject.model}: {subject.checkpoint.parameters:,} parameters"]
    if sae is not None:
        lines.append(
            f"{sae.source}: {sae.format}, {sae.latents:,} latents of width {sae.width}, {sae.hook}"
        )
    elif isinstance(config, TrainConfig):
        width = _number(subject.checkpoint, "hidden_size", "n_embd")
        values = (config.latents or 0) * width * 2
        lines.append(
            f"an SAE of {config.latents:,} latents, {config.k} firing, on layer {config.layer} "
            f"(width {width}), trained on {config.tokens:,} tokens: {4 * values / 2**20:,.0f} MiB, "
            f"about {16 * values / 2**20:,.0f} MiB of memory beside the model"
        )
    lines.append(f"fit on at most {config.fit_tokens:,} tokens of {subject.texts}")
    return "\n".join([*lines, f"would write {out}"])


def perform(subject: Subject, run: Run) -> SaeResult:
    """Do the work, each finished part kept in the run, and put the result together.

    Raises:
        CheckpointError: the SAE that was trained fits badly; nothing is published then.
    """
    config = subject.config
    texts = drawn(read_texts(subject.texts), config.limit, config.seed)
    loaded = load(
        subject.model,
        dtype=config.dtype,
        device=config.device,
        trust_remote_code=config.trust_remote_code,
    )
    if isinstance(config, CheckConfig):
        assert subject.sae is not None  # noqa: S101 - a check is opened with one
        windows = cut(loaded, texts, config.window, config.fit_tokens)
        with progress(windows.tokens, "fit (tokens)", quiet=config.quiet) as bar:
            fits = run.unit("fit", lambda: _fit(loaded, subject.sae, windows, config, bar))  # type: ignore[arg-type]
        return _checked(subject, subject.sae, fits, {"config": config})
    return _trained(subject, loaded, texts, config, run)


def _trained(
    subject: Subject, loaded: Loaded, texts: Sequence[str], config: TrainConfig, run: Run
) -> SaeResult:
    learnt, held = _shares(loaded, texts, config)
    total = config.tokens + held.tokens
    with progress(total, "training (tokens)", quiet=config.quiet) as bar:
        tensors = unpacked(run.unit("trained", lambda: packed(loaded, learnt, config, bar)))
        sae = built(loaded, tensors, config, learnt)
        bar.describe("fit (tokens)")
        fits = run.unit("fit", lambda: _fit(loaded, sae, held, config, bar))
    about = {"config": config, "training": _about(config, learnt, held)}
    result = _checked(subject, sae, fits, about)
    result.files.update(stored(sae, loaded, config, result.data["fit"]["fvu"]))
    return result


def _shares(loaded: Loaded, texts: Sequence[str], config: TrainConfig) -> tuple[Windows, Windows]:
    """Give windows to train on, all of one length, and windows held out."""
    most = round(config.tokens / (1 - config.held_out)) + config.fit_tokens
    windows = cut(loaded, texts, config.window, most)
    if len(windows.rows) < FEWEST:
        raise DataError(
            f"{windows.tokens:,} tokens are {len(windows.rows)} windows of {windows.length}; a "
            f"training needs {FEWEST} at least",
            where="--texts",
            remedy="give more texts, or a shorter --window.",
        )
    learnt, held = windows.split(config.held_out)
    kept = max(1, config.fit_tokens // windows.length)
    return learnt, replace(held, rows=held.rows[:kept])


def _fit(
    loaded: Loaded, sae: Sae, windows: Windows, config: TrainConfig | CheckConfig, bar: Bar
) -> dict[str, pl.DataFrame]:
    return measure(loaded, sae, windows, config.seed, bar).tables()


def _checked(
    subject: Subject, sae: Sae, tables: dict[str, pl.DataFrame], about: dict[str, Any]
) -> SaeResult:
    """Judge the fit, and refuse a bad one unless the user takes it."""
    said = [Finding(c, d, level=level) for level, c, d in tables["findings"].iter_rows()]
    row = tables["fit"].row(by_predicate=pl.col("dictionary") == SAE, named=True)
    numbers = {name: row[name] for name in row if name not in ("dictionary", "outliers")}
    fit = Fit(**numbers, rates=tables["latents"]["rate"].to_numpy(), sae=sae, findings=tuple(said))
    found = [*sae.findings, *judge(fit, sae)]
    bad = " ".join(finding.detail for finding in found if finding.level == "error")
    config = subject.config
    if bad and isinstance(config, TrainConfig) and not config.accept_bad_fit:
        raise CheckpointError(f"the SAE that was trained does not fit. {bad}", remedy=CAUSES)
    fits = {name: tables[name] for name in ("fit", "latents")}
    return assemble(subject.job, subject.model, sae, fits, found, about)


def _about(config: TrainConfig, learnt: Windows, held: Windows) -> dict[str, Any]:
    return {
        "trainer": f"eai-sparsify {trainer_version()}",
        "tokens": config.tokens,
        "passes": round(config.tokens / max(1, learnt.tokens), 3),
        "windows": len(learnt.rows),
        "window": learnt.length,
        "held_out_tokens": held.tokens,
        "held_out_windows": len(held.rows),
    }


def _done(subject: Subject, out: str | Path | None) -> SaeResult:
    if out is None:
        with tempfile.TemporaryDirectory() as folder:
            return perform(subject, open_run(subject, Path(folder) / "run"))
    run = open_run(subject, Path(out))
    result = perform(subject, run)
    publish(run, result, result.files)
    return result


def _merged(cls: Any, config: Any, settings: dict[str, Any]) -> Any:
    checked = build(cls, settings)
    given = {name: getattr(checked, name) for name in settings}
    return replace(config, **given) if config else checked


def _texts(texts: str | Path) -> Path:
    path = Path(texts)
    if not path.exists():
        raise DataError("no such file", where=str(path))
    text_files(path)
    return path


def _number(checkpoint: Checkpoint, *names: str) -> int:
    inner = checkpoint.config.get("text_config")
    for config in (checkpoint.config, inner if isinstance(inner, dict) else {}):
        found = next((config[name] for name in names if isinstance(config.get(name), int)), None)
        if found:
            return int(found)
    raise CheckpointError(f"its config.json has no {names[0]}", where=str(checkpoint.path))


def _refuse_layer(checkpoint: Checkpoint, layer: int) -> None:
    count = None
    with suppress(CheckpointError):
        count = _number(checkpoint, "num_hidden_layers", "n_layer")
    if count is not None and layer >= count:
        raise ConfigError(
            f"--layer {layer}, but the model has {count} layers, 0 to {count - 1}",
            where=str(checkpoint.reference),
        )
