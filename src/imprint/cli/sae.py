"""``imprint sae train`` and ``imprint sae check``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from imprint.cli.common import default_out, show, tell

if TYPE_CHECKING:
    from imprint.saes.training.work import Subject

Flag = Annotated[bool, Parameter(negative="")]
MaybeFlag = Annotated[bool | None, Parameter(negative="")]

sae = App(
    name="sae",
    help="Train a sparse autoencoder on a model's activations, or check the fit of one.",
    help_format="markdown",
)


@sae.command
def train(
    model: str,
    *,
    texts: Path,
    layer: int | None = None,
    latents: int | None = None,
    k: int | None = None,
    tokens: int | None = None,
    batch_tokens: int | None = None,
    learning_rate: float | None = None,
    held_out: float | None = None,
    fit_tokens: int | None = None,
    window: int | None = None,
    limit: int | None = None,
    accept_bad_fit: MaybeFlag = None,
    config: Path | None = None,
    device: str | None = None,
    dtype: Literal["bf16", "fp16", "fp32"] | None = None,
    trust_remote_code: MaybeFlag = None,
    out: Path | None = None,
    seed: int | None = None,
    json: Flag = False,
    dry_run: Flag = False,
    quiet: Flag = False,
) -> None:
    """Train a top-k SAE on the output of a layer, and check it on texts held out.

    Writes cfg.json and sae_weights.safetensors, which imprint and SAELens read, beside result.json,
    tables, report.html and summary.md into --out. An SAE that does not fit is refused.

    Examples:

      imprint sae train base-model --texts texts.jsonl --layer 4 --out runs/sae

      imprint forecast base-model --sae runs/sae --sft sft.jsonl --domains domains.jsonl

    Parameters
    ----------
    model
        PATH_OR_REPO[@REVISION][+ADAPTER[@REVISION]].
    texts
        .txt, a folder of .txt, or .jsonl, .parquet or .csv with text (or prompt and completion).
    layer
        Layer whose output is read, from 0; default the middle one.
    latents
        How many latents; default 8 times the model's width.
    k
        How many of them fire per token; default 32, at most a quarter of the width.
    tokens
        Tokens to train on, texts being read again where they are fewer; default 2,000,000.
    batch_tokens
        Tokens per step; default 2,048.
    learning_rate
        Default 5e-3 / √(latents / 16,384) · ∛(batch_tokens / 65,536).
    held_out
        Share of the texts that the fit is judged on; default 0.1.
    fit_tokens
        Tokens that the fit is judged on at most; default 50,000.
    window
        Tokens that the model sees at once; default its context, at most 256.
    limit
        Take so many texts at random.
    accept_bad_fit
        Keep an SAE that does not fit.
    config
        YAML with any of these settings; flags win.
    device
        Where the model computes; default a GPU where there is one.
    dtype
        Type that the model computes in; default that of the weights.
    trust_remote_code
        Run code that a checkpoint brings along; never without this.
    out
        Run folder; default imprint-runs/sae-train.
    seed
        Seed of everything drawn; default 0.
    json
        Print result.json to stdout instead of the summary.
    dry_run
        Read everything but the weights, print the plan, write nothing.
    quiet
        No progress and no notes on stderr.
    """
    from imprint.saes.training.config import TrainConfig
    from imprint.saes.training.work import open_training

    given: dict[str, Any] = {
        "layer": layer,
        "latents": latents,
        "k": k,
        "tokens": tokens,
        "batch_tokens": batch_tokens,
        "learning_rate": learning_rate,
        "held_out": held_out,
        "fit_tokens": fit_tokens,
        "window": window,
        "limit": limit,
        "accept_bad_fit": accept_bad_fit,
        "device": device,
        "dtype": dtype,
        "trust_remote_code": trust_remote_code,
        "seed": seed,
        "quiet": quiet or None,
    }
    subject = open_training(model, texts, _settings(TrainConfig, config, given))
    _run(subject, out, json=json, dry_run=dry_run, quiet=quiet)


@sae.command
def check(
    model: str,
    *,
    sae: str,
    texts: Path,
    layer: int | None = None,
    k: Annotated[int | None, Parameter(name=["--k", "--sae-k"])] = None,
    fit_tokens: int | None = None,
    window: int | None = None,
    limit: int | None = None,
    config: Path | None = None,
    device: str | None = None,
    dtype: Literal["bf16", "fp16", "fp32"] | None = None,
    trust_remote_code: MaybeFlag = None,
    out: Path | None = None,
    seed: int | None = None,
    json: Flag = False,
    dry_run: Flag = False,
    quiet: Flag = False,
) -> None:
    """Check how well an SAE fits a model on texts.

    Measures the fraction of variance unexplained, the number of latents that fire and the share
    that never does, with intervals, against what the SAE's format promises and two controls.

    Examples:

      imprint sae check google/gemma-2-2b --texts texts.txt --sae
      google/gemma-scope-2b-pt-res:layer_12/width_16k/average_l0_82

    Parameters
    ----------
    model
        PATH_OR_REPO[@REVISION][+ADAPTER[@REVISION]].
    sae
        PATH_OR_REPO[@REVISION][:SUBPATH].
    texts
        .txt, a folder of .txt, or .jsonl, .parquet or .csv with text (or prompt and completion).
    layer
        Layer that the SAE reads, where its format does not tell.
    k
        How many latents fire, for a top-k SAE that does not tell.
    fit_tokens
        Tokens that the fit is judged on at most; default 50,000.
    window
        Tokens that the model sees at once; default its context, at most 256.
    limit
        Take so many texts at random.
    config
        YAML with any of these settings; flags win.
    device
        Where the model computes; default a GPU where there is one.
    dtype
        Type that the model computes in; default that of the weights.
    trust_remote_code
        Run code that a checkpoint brings along; never without this.
    out
        Run folder; default imprint-runs/sae-check.
    seed
        Seed of everything drawn; default 0.
    json
        Print result.json to stdout instead of the summary.
    dry_run
        Read everything but the model's weights, print the plan, write nothing.
    quiet
        No progress and no notes on stderr.
    """
    from imprint.saes.training.config import CheckConfig
    from imprint.saes.training.work import open_check

    given: dict[str, Any] = {
        "layer": layer,
        "k": k,
        "fit_tokens": fit_tokens,
        "window": window,
        "limit": limit,
        "device": device,
        "dtype": dtype,
        "trust_remote_code": trust_remote_code,
        "seed": seed,
        "quiet": quiet or None,
    }
    subject = open_check(model, sae, texts, _settings(CheckConfig, config, given))
    _run(subject, out, json=json, dry_run=dry_run, quiet=quiet)


def _run(subject: Subject, out: Path | None, *, json: bool, dry_run: bool, quiet: bool) -> None:
    from imprint.report import publish
    from imprint.saes.training.work import describe, open_run, perform

    target = out or default_out(subject.job)
    if dry_run:
        show(describe(subject, target))
        return
    run = open_run(subject, target)
    result = perform(subject, run)
    publish(run, result, result.files)
    tell(result, target, json=json, quiet=quiet)


def _settings(cls: Any, config: Path | None, given: dict[str, Any]) -> Any:
    from imprint.configuration import Settings, build, load_yaml

    settings = load_yaml(config) if config else Settings()
    settings.update({name: value for name, value in given.items() if value is not None})
    return build(cls, settings)
