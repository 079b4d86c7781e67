"""``imprint drift``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from imprint.cli.common import default_out, mapping, show, tell

Flag = Annotated[bool, Parameter(negative="")]


def drift(
    base: str,
    *tuned: str,
    models: Path | None = None,
    texts: Path | None = None,
    mastery: Path | None = None,
    on_policy: Path | None = None,
    scores: Path | None = None,
    positions: Literal["auto", "all", "answer"] | None = None,
    window: int | None = None,
    limit: int | None = None,
    chat_template: str | None = None,
    chat_template_base: str | None = None,
    chat_template_tuned: str | None = None,
    system_prompt: str | None = None,
    fact_prompts: Literal["paper", "statement", "question"] | None = None,
    levels: str | None = None,
    near: int | None = None,
    samples: int | None = None,
    max_new_tokens: int | None = None,
    layers: Annotated[bool | None, Parameter(negative="")] = None,
    layer_positions: int | None = None,
    null: int | None = None,
    resamples: int | None = None,
    one_model: Annotated[bool | None, Parameter(negative="")] = None,
    map: Annotated[list[str] | None, Parameter(negative="")] = None,  # noqa: A002
    config: Path | None = None,
    device: str | None = None,
    dtype: Literal["bf16", "fp16", "fp32"] | None = None,
    trust_remote_code: Annotated[bool | None, Parameter(negative="")] = None,
    out: Path | None = None,
    seed: int | None = None,
    json: Flag = False,
    dry_run: Flag = False,
    quiet: Flag = False,
) -> None:
    """How far did fine-tuning move the next-token distributions, and on what?

    Compares one or more tuned models with their base over the whole vocabulary: KL in both
    directions, JS, log-probability, rank and top-1 agreement per token, text and domain, with
    intervals by text. Writes result.json, tables, report.html and summary.md into --out and prints
    the verdict.

    Examples:

      imprint drift base-model tuned-model --texts texts.jsonl

      imprint drift base-model trainer-output --texts texts.txt --layers --null 1

      imprint drift base tuned --mastery runs/mastery --chat-template-tuned sft.jinja --one-model

      imprint drift base tuned --on-policy prompts.jsonl --samples 4

      imprint drift base --models models.csv --texts texts.jsonl

    Parameters
    ----------
    base
        The model before, as PATH_OR_REPO[@REVISION][+ADAPTER[@REVISION]].
    tuned
        Models after; a folder of a Trainer stands for its checkpoint-N in order of steps. With
        --models those of the table, by default all.
    models
        CSV or YAML with model, unit and stage, and any further columns: drift is drawn against
        those that hold numbers.
    texts
        .jsonl, .parquet or .csv with text, prompt and completion, or messages, and optionally id,
        domain and answer; or .txt with texts separated by blank lines.
    mastery
        Folder of a run of imprint mastery: first-token drift on its facts.
    on_policy
        Prompts that the tuned model completes: exact KL(tuned‖base) where it goes itself.
    scores
        A scores table, to set drift beside the change of accuracy.
    positions
        Compare all tokens, those of the answer (or completion), or auto: those of the answer where
        a row has one. Default auto.
    window
        Tokens that a model sees at once; default its context, at most 2,048.
    limit
        Take so many texts of each domain (facts of each relation, prompts) at random.
    chat_template
        none, auto or a Jinja file, for both models.
    chat_template_base
        The same for the base alone.
    chat_template_tuned
        The same for the tuned models alone.
    system_prompt
        Stands before every prompt.
    fact_prompts
        paper (default): the base goes on with its best statement template, the tuned model answers
        the question; statement or question: both see the same.
    levels
        Mastery levels to compare, with commas; default all.
    near
        Keep facts whose answer the base begins within so many tokens; default 2, 0 keeps all.
    samples
        Completions per prompt, on-policy; default 1.
    max_new_tokens
        Length of a completion at most; default 32.
    layers
        Compare hidden states of every layer too, and logit lenses.
    layer_positions
        Positions drawn for that; default 512.
    null
        Draws of the random control, the base with the changes shuffled; default 0.
    resamples
        Bootstrap draws of every interval; default 2,000.
    one_model
        Keep one model in memory at a time, and the base's hidden states on disk.
    map
        ours=theirs, for columns of --texts; may repeat.
    config
        YAML with any of these settings; flags win.
    device
        Where models compute; default a GPU where there is one.
    dtype
        Type that models compute in; default that of the weights.
    trust_remote_code
        Run code that a checkpoint brings along; never without this.
    out
        Run folder; default imprint-runs/drift.
    seed
        Seed of everything drawn; default 0.
    json
        Print result.json to stdout instead of the summary.
    dry_run
        Read everything but the weights, print the plan, write nothing.
    quiet
        No progress and no notes on stderr.
    """
    from imprint.drift.drift import describe, open_run, perform
    from imprint.drift.inputs import open_models
    from imprint.drift.material import Sources, gather
    from imprint.report import publish

    given: dict[str, Any] = {
        "positions": positions,
        "window": window,
        "limit": limit,
        "chat_template_base": chat_template_base or chat_template,
        "chat_template_tuned": chat_template_tuned or chat_template,
        "system_prompt": system_prompt,
        "fact_prompts": fact_prompts,
        "levels": _levels(levels),
        "near": near,
        "samples": samples,
        "max_new_tokens": max_new_tokens,
        "layers": layers,
        "layer_positions": layer_positions,
        "null": null,
        "resamples": resamples,
        "one_model": one_model,
        "device": device,
        "trust_remote_code": trust_remote_code,
        "dtype": dtype,
        "seed": seed,
        "quiet": quiet or None,
    }
    settings = _settings(config, given)
    renamed = tuple(mapping(map or ()).items())
    sources = Sources(texts, mastery, on_policy, scores, renamed)
    material = gather(open_models(base, tuned, models), sources, settings)
    target = out or default_out("drift")
    if dry_run:
        show(describe(material, target))
        return
    run = open_run(material, target)
    result = perform(material, run)
    publish(run, result)
    tell(result, target, json=json, quiet=quiet)


def _settings(config: Path | None, given: dict[str, Any]) -> Any:
    from imprint.configuration import Settings, build, load_yaml
    from imprint.drift.config import DriftConfig

    settings = load_yaml(config) if config else Settings()
    settings.update({name: value for name, value in given.items() if value is not None})
    return build(DriftConfig, settings)


def _levels(text: str | None) -> list[int] | None:
    from imprint.errors import ConfigError

    if text is None:
        return None
    try:
        return [int(piece) for piece in text.split(",")]
    except ValueError:
        raise ConfigError(
            f"--levels {text!r} is no list of levels", remedy="write --levels 3,4."
        ) from None
