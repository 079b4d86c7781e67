"""``imprint evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from imprint.cli.common import default_out, mapping, note_findings, show

Many = Annotated[list[str] | None, Parameter(negative="")]
Lists = Annotated[list[str] | None, Parameter(negative="", consume_multiple=True)]
Flag = Annotated[bool | None, Parameter(negative="")]


def evaluate(
    *model: str,
    benchmarks: Lists = None,
    prompts: str | None = None,
    models: Path | None = None,
    stage: Many = None,
    engine: str | None = None,
    num_fewshot: int | None = None,
    chat_template: Many = None,
    system_prompt: Many = None,
    normalisation: Literal["raw", "token", "character", "byte", "unconditional"] | None = None,
    style: Literal["cloze", "letter"] | None = None,
    samples: int | None = None,
    verify: str | None = None,
    temperature: float | None = None,
    max_new_tokens: int | None = None,
    stop: Many = None,
    map: Many = None,  # noqa: A002 (the flag's name)
    limit: int | None = None,
    seed: int | None = None,
    device: str | None = None,
    dtype: Literal["bf16", "fp16", "fp32"] | None = None,
    trust_remote_code: Flag = None,
    concurrency: int | None = None,
    retries: int | None = None,
    timeout: float | None = None,
    write_lm_eval: Path | None = None,
    config: Path | None = None,
    out: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """How do models answer, and how sure are they?

    Scores multiple-choice questions by the probability of their options, and verifies what models
    write. The tables `items` and `scores` of the run folder are what `imprint transfer` reads.

    Examples:

      imprint evaluate model --benchmarks arc.jsonl sciq.jsonl.gz

      imprint evaluate --models models.csv --benchmarks mmlu.jsonl --chat-template sft=auto

      imprint evaluate model --prompts gsm8k.jsonl --samples 8 --verify math

      imprint evaluate served-name --engine http://localhost:8000/v1 --prompts questions.jsonl

    Parameters
    ----------
    model
        PATH_OR_REPO[@REVISION][+ADAPTER[@REVISION]], or a name on the server.
    benchmarks
        JSON lines of questions, YAML files that describe them, or tasks of lm-eval by name or file.
    prompts
        JSON lines of prompts with answers, for verified rollouts.
    models
        Models table (CSV or YAML): model, unit, stage, scale, ...; without a model all of it.
    stage
        Without a models table: the stage of the models, once or once per model.
    engine
        hf (default), lm-eval, or the address of a completions server (http://HOST:PORT/v1).
    num_fewshot
        Answered examples before each question; default 0, for a task of lm-eval its own.
    chat_template
        none (default), auto, or a Jinja file; STAGE=... for one stage; may repeat.
    system_prompt
        Text before everything else; STAGE=... for one stage; may repeat.
    normalisation
        What makes options comparable: raw (default), token, character, byte, unconditional.
    style
        Score the options' texts (cloze) or their letters; default as the benchmark has it.
    samples
        Rollouts per prompt; default 8.
    verify
        exact (default), math, regex, or package.module:function.
    temperature
        Of rollouts; default 1.
    max_new_tokens
        Of rollouts; default 256.
    stop
        Text at which a rollout ends; may repeat. Default for plain questions: the end of the line.
    map
        ours=theirs: a field of questions or prompts under another name; may repeat.
    limit
        So many items per benchmark, and prompts, drawn by the seed.
    seed
        Of items, examples and rollouts; default 0.
    device
        cpu, cuda, cuda:1, auto; default a GPU where there is one.
    dtype
        Type to compute in; default that of the weights.
    trust_remote_code
        Run code that a model brings along.
    concurrency
        Requests to a server at the same time; default 8.
    retries
        How often a request that failed is tried again; default 6.
    timeout
        Seconds without an answer after which a request has failed; default 300.
    write_lm_eval
        Also write results and samples as lm-eval writes them, into this folder.
    config
        YAML file with any of these settings; flags come before it.
    out
        Run folder; default imprint-runs/evaluate.
    json
        Print result.json to stdout instead of the summary.
    dry_run
        Read everything but the models, print the plan, write nothing.
    quiet
        No progress and no notes on stderr.
    """
    from imprint.evaluation.study import describe, open_inputs, open_run, perform
    from imprint.evaluation.subjects import subjects
    from imprint.progress import note

    given: dict[str, Any] = {
        "benchmarks": benchmarks,
        "prompts": prompts,
        "engine": engine,
        "num_fewshot": num_fewshot,
        "chat_template": chat_template,
        "system_prompt": system_prompt,
        "normalisation": normalisation,
        "style": style,
        "samples": samples,
        "verify": verify,
        "temperature": temperature,
        "max_new_tokens": max_new_tokens,
        "stop": stop,
        "rename": [list(pair) for pair in mapping(map).items()] if map else None,
        "limit": limit,
        "seed": seed,
        "device": device,
        "dtype": dtype,
        "trust_remote_code": trust_remote_code,
        "concurrency": concurrency,
        "retries": retries,
        "timeout": timeout,
        "quiet": quiet or None,
    }
    settings = _settings(given, config)
    inputs = open_inputs(subjects(model, models, stage or ()), settings, models)
    target = out or default_out("evaluate")
    if write_lm_eval is not None:
        from imprint.evaluation.lm_eval_files import refuse_target

        refuse_target(write_lm_eval)
    if dry_run:
        show(describe(inputs, target))
        return
    result = perform(inputs, open_run(inputs, target))
    note_findings(result.findings, quiet=settings.quiet)
    if write_lm_eval is not None:
        from imprint.evaluation.lm_eval_files import write

        for path in write(inputs, result, write_lm_eval):
            note(f"written: {path}", quiet=settings.quiet)
    show(result.json() if json else result.summary())
    note(f"report: {target / 'report.html'}", quiet=settings.quiet)


def _settings(given: dict[str, Any], path: Path | None) -> Any:
    """Lay flags over a YAML file."""
    from imprint.configuration import Settings, build, load_yaml
    from imprint.evaluation.config import EvaluateConfig

    settings = Settings() if path is None else load_yaml(path)
    settings.update({name: value for name, value in given.items() if value is not None})
    return build(EvaluateConfig, settings)
