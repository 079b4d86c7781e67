"""``imprint mastery``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from imprint.cli.common import default_out, mapping, show, tell

if TYPE_CHECKING:
    from imprint.mastery import MasteryConfig
    from imprint.mastery.models import Answering, Named
    from imprint.mastery.study import Inputs

Flag = Annotated[bool, Parameter(negative="")]
Many = Annotated[list[str] | None, Parameter(negative="")]


def mastery(
    model: str,
    *more: str,
    facts: Path | None = None,
    closed_book: Path | None = None,
    config: Path | None = None,
    map_: Annotated[list[str] | None, Parameter(name="--map", negative="")] = None,
    split: Many = None,
    templates: str | None = None,
    synonyms: str | None = None,
    drop: Annotated[
        list[Literal["answer-in-subject", "both-splits"]] | None, Parameter(negative="")
    ] = None,
    limit: int | None = None,
    asking: Literal["auto", "few-shot"] | None = None,
    variants: int | None = None,
    samples: int | None = None,
    temperature: float | None = None,
    max_new_tokens: int | None = None,
    match: Literal["substring", "casefold", "word"] | None = None,
    stop: str | None = None,
    interval: Literal["wilson", "bayes"] | None = None,
    slick: Flag | None = None,
    likelihood: Literal["no", "also", "only"] | None = None,
    keep_samples: Flag | None = None,
    sizes: str | None = None,
    set_seeds: int | None = None,
    sft_prompt: str | None = None,
    chat_template: str | None = None,
    system_prompt: str | None = None,
    num_fewshot: int | None = None,
    engine: str = "hf",
    batch_size: int | None = None,
    device: str | None = None,
    dtype: Literal["bf16", "fp16", "fp32"] | None = None,
    trust_remote_code: Flag = False,
    budget: int | None = None,
    yes: Flag = False,
    out: Path | None = None,
    seed: int | None = None,
    json: Flag = False,
    dry_run: Flag = False,
    quiet: Flag = False,
) -> None:
    """How well does the model know these facts, and which should it be tuned on?

    Samples continuations of statement templates, counts in which share the answer occurs, and gives
    each fact a level from 0 (never) to 4 (nearly always) with its uncertainty. Writes result.json,
    tables, report.html, summary.md and, with --sizes, sets for fine-tuning and tests into --out.

    Examples:

      imprint mastery base-model --facts EntityQuestions/dataset --limit 10

      imprint mastery base-model --facts facts.jsonl --stop 0.95 --sizes 60,240,all

      imprint mastery tuned-seed0 tuned-seed1 --closed-book imprint-runs/mastery

    Parameters
    ----------
    model
        The model, as PATH_OR_REPO[@REVISION][+ADAPTER[@REVISION]]; with --engine its name there.
    more
        Further models, with --closed-book.
    facts
        A folder of EntityQuestions, LRE relations or ParaRel, an LRE file, or JSON lines.
    closed_book
        A finished run of this command: ask its questions, greedily, and give accuracy by level.
    config
        YAML file with the same settings; flags win over it.
    map_
        ours=theirs: the name of a field in JSON lines; may repeat.
    split
        Keep facts of this split; may repeat.
    templates
        JSON file of templates, in place of those that come with the facts or the package.
    synonyms
        Other names that count: paper (default), none, or a JSON file.
    drop
        Leave out facts with this flag; may repeat.
    limit
        Facts per relation and split, drawn by --seed.
    asking
        auto takes own prompts, templates, else few-shot prompts; few-shot always those.
    variants
        Few-shot prompts per fact (10).
    samples
        Samples per template (10).
    temperature
        Of the samples (0.7).
    max_new_tokens
        Length of a sample (32).
    match
        substring (default), casefold or word; the others are counted beside it.
    stop
        exact (default: once the level cannot change), none, or a certainty such as 0.95.
    interval
        Of a fact's score: wilson (default) or bayes.
    slick
        Also SliCK's four categories, from one greedy continuation per template.
    likelihood
        also or only: the probability that the answer follows at once.
    keep_samples
        Write a table of all samples.
    sizes
        Sizes of SFT sets, with commas; all is every fact of a level.
    set_seeds
        SFT sets per level and size (3).
    sft_prompt
        Prompt of the sets and of --closed-book, with {question}.
    chat_template
        none (default), auto or the path of a Jinja file.
    system_prompt
        Text before everything else.
    num_fewshot
        Examples in few-shot prompts (4).
    engine
        hf loads the model here; a URL asks an OpenAI-compatible completions server.
    batch_size
        Samples in a batch; halved when memory runs out.
    device
        cpu, cuda, cuda:1, auto, ...; default a GPU where there is one.
    dtype
        Type to compute in; default that of the stored weights.
    trust_remote_code
        Run code that the checkpoint brings along.
    budget
        Samples beyond which --yes is needed (100,000).
    yes
        Go beyond the budget.
    out
        Run folder; default imprint-runs/mastery, or imprint-runs/closed-book.
    seed
        Seed of samples, limits and sets.
    json
        Print result.json to stdout instead of the summary.
    dry_run
        Print the work, do nothing.
    quiet
        No progress and no notes on stderr.
    """
    from imprint.errors import ConfigError
    from imprint.mastery.models import Named

    flags = {
        "map": mapping(map_) if map_ else None,
        "split": tuple(split) if split else None,
        "templates": templates,
        "synonyms": synonyms,
        "drop": tuple(drop) if drop else None,
        "limit": limit,
        "asking": asking,
        "variants": variants,
        "samples": samples,
        "temperature": temperature,
        "max_new_tokens": max_new_tokens,
        "match": match,
        "stop": stop,
        "interval": interval,
        "slick": slick,
        "likelihood": likelihood,
        "keep_samples": keep_samples,
        "sizes": _sizes(sizes) if sizes is not None else None,
        "set_seeds": set_seeds,
        "sft_prompt": sft_prompt,
        "batch_size": batch_size,
        "seed": seed,
        "dtype": dtype,
        "device": device,
    }
    asked = {
        "chat_template": chat_template,
        "system_prompt": system_prompt,
        "num_fewshot": num_fewshot,
    }
    settings = _settings(config, flags, asked)
    if (facts is None) == (closed_book is None):
        raise ConfigError("give either --facts or --closed-book")
    url = None if engine == "hf" else engine
    named = [Named(name, url, trust_remote_code) for name in (model, *more)]
    how = {"json": json, "dry_run": dry_run, "quiet": quiet}
    if closed_book is not None:
        _closed_book(named, closed_book, settings, out, **how)
        return
    if more:
        raise ConfigError(
            "one model at a time is scored on --facts", remedy="several go with --closed-book."
        )
    _mastery(named[0], facts or Path(), settings, out, None if yes else budget or -1, **how)


def _mastery(
    model: Named,
    facts: Path,
    config: MasteryConfig,
    out: Path | None,
    budget: int | None,
    *,
    json: bool,
    dry_run: bool,
    quiet: bool,
) -> None:
    from imprint.mastery.study import describe, open_inputs, open_run, perform

    inputs = open_inputs(model, facts, config)
    folder = out or default_out("mastery")
    if dry_run:
        show(describe(inputs, folder))
        return
    run = open_run(inputs, folder)
    answering = _announced(inputs, budget, quiet=quiet)
    result = perform(inputs, run, answering=answering, quiet=quiet)
    tell(result, folder, json=json, quiet=quiet)


def _announced(inputs: Inputs, budget: int | None, *, quiet: bool) -> Answering:
    """Say how many samples are to come and how long they take at most; refuse too many."""
    from imprint.errors import ConfigError
    from imprint.mastery.models import Answering
    from imprint.mastery.study import BUDGET, seconds
    from imprint.progress import note

    most = BUDGET if budget == -1 else budget
    told = f"{inputs.samples:,} samples of {len(inputs.facts):,} facts to come"
    if most is not None and inputs.samples > most:
        raise ConfigError(
            f"{told}, more than the budget of {most:,}",
            remedy="add --yes, raise --budget, or take fewer facts with --limit; --dry-run says "
            "more.",
        )
    answering = Answering(inputs.model, inputs.config, quiet=quiet)
    if inputs.samples and not quiet:
        minutes = seconds(inputs, answering) / 60
        note(f"{told}, at most about {max(minutes, 0.1):,.1f} minutes")
    return answering


def _closed_book(
    models: list[Named],
    run_folder: Path,
    config: MasteryConfig,
    out: Path | None,
    *,
    json: bool,
    dry_run: bool,
    quiet: bool,
) -> None:
    from imprint.mastery.closed_book import describe, open_inputs, open_run, perform
    from imprint.progress import note

    inputs = open_inputs(models, run_folder, config)
    folder = out or default_out("closed-book")
    if dry_run:
        show(describe(inputs, folder))
        return
    result = perform(inputs, open_run(inputs, folder), quiet=quiet)
    for finding in result.findings:
        note(f"finding: {finding.detail}", quiet=quiet)
    show(result.json() if json else result.summary())
    note(f"report: {folder / 'report.html'}", quiet=quiet)


def _settings(path: Path | None, flags: dict[str, Any], prompting: dict[str, Any]) -> MasteryConfig:
    from imprint.configuration import build, load_yaml
    from imprint.mastery import MasteryConfig

    base = build(MasteryConfig, load_yaml(path)) if path is not None else MasteryConfig()
    how = replace(base.prompting, **{k: v for k, v in prompting.items() if v is not None})
    given = {name: value for name, value in flags.items() if value is not None}
    return replace(base, prompting=how, **given)


def _sizes(text: str) -> tuple[int, ...]:
    from imprint.errors import ConfigError

    try:
        pieces = [piece.strip() for piece in text.split(",")]
        return tuple(dict.fromkeys(0 if piece == "all" else int(piece) for piece in pieces))
    except ValueError:
        raise ConfigError(
            f"--sizes {text!r} is no list of sizes", remedy="write --sizes 60,240,all."
        ) from None
