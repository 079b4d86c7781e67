"""The engine that answers for a model, and the files that it depends on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from imprint.errors import DataError
from imprint.evaluation.config import EvaluateConfig
from imprint.models import Engine, LocalEngine, load
from imprint.models.adapter import find
from imprint.models.endpoint import EndpointEngine
from imprint.models.harness import lm_eval_engine
from imprint.models.load import TORCH


def open_engine(model: str, config: EvaluateConfig) -> Engine:
    """Load a model, or find the server that has it.

    Raises:
        CheckpointError: the model cannot be loaded.
        ConfigError: a device that is not there, or a server that serves no such model.
        DataError: the model has no tokenizer, or the server does not answer.
        DependencyError: a package that the engine needs is not installed.
    """
    if config.remote:
        return EndpointEngine(config.engine, model, config.patience)
    if config.engine == "lm-eval":
        return _lm_eval(model, config)
    loaded = load(
        model,
        dtype=config.dtype,
        device=config.device,
        trust_remote_code=config.trust_remote_code,
    )
    if loaded.tokenizer is None:
        raise DataError(
            "the model has no tokenizer, which texts need",
            where=str(loaded.folder),
            remedy="put tokenizer.json and tokenizer_config.json beside its weights.",
        )
    return LocalEngine(loaded)


def _lm_eval(model: str, config: EvaluateConfig) -> Engine:
    folder, adapter = find(model)
    given = {
        **({"peft": str(adapter)} if adapter else {}),
        **({"dtype": TORCH[config.dtype]} if config.dtype else {}),
        **({"device": config.device} if config.device else {}),
        **({"trust_remote_code": True} if config.trust_remote_code else {}),
    }
    return replace(lm_eval_engine(str(folder), "hf", given), model=model)


def model_files(model: str, config: EvaluateConfig) -> list[Path]:
    """List the files of a model, which enter the run's fingerprint; none on a server.

    Raises:
        CheckpointError: it cannot be found.
        ConfigError: the name fits no form.
    """
    if config.remote:
        return []
    folders = [folder for folder in find(model) if folder is not None]
    return [p for folder in folders for p in sorted(folder.iterdir()) if p.is_file()]
