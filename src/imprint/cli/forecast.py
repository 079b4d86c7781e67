"""``imprint forecast``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from imprint.cli.common import default_out, mapping, show, tell

Flag = Annotated[bool, Parameter(negative="")]
Maybe = Annotated[bool | None, Parameter(negative="")]
Several = Annotated[list[Path] | None, Parameter(negative="", consume_multiple=True)]
Words = Annotated[list[str] | None, Parameter(negative="", consume_multiple=True)]


def forecast(
    model: str,
    *,
    sft: Several = None,
    domains: Words = None,
    sae: str | None = None,
    group_by: str | None = None,
    observed: Several = None,
    history: Several = None,
    others: Several = None,
    shift: Literal["icl", "icl_content", "answer", "sft", "grad", "rollout", "icl_unaligned"]
    | None = None,
    tuned: str | None = None,
    rollouts: Path | None = None,
    score: str | None = None,
    families: Words = None,
    layer: int | None = None,
    sae_k: int | None = None,
    latents: int | None = None,
    demonstrations: int | None = None,
    draws: int | None = None,
    tokens: int | None = None,
    limit: int | None = None,
    top: int | None = None,
    extremes: int | None = None,
    budget: int | None = None,
    temperature: float | None = None,
    floor: int | None = None,
    cap: int | None = None,
    max_new_tokens: int | None = None,
    labels: Path | None = None,
    unrelated: Path | None = None,
    ablate: int | None = None,
    accept_bad_fit: Maybe = None,
    chat_template: str | None = None,
    system_prompt: str | None = None,
    resamples: int | None = None,
    map: Annotated[list[str] | None, Parameter(negative="")] = None,  # noqa: A002
    config: Path | None = None,
    device: str | None = None,
    dtype: Literal["bf16", "fp16", "fp32"] | None = None,
    trust_remote_code: Maybe = None,
    out: Path | None = None,
    seed: int | None = None,
    json: Flag = False,
    dry_run: Flag = False,
    quiet: Flag = False,
) -> None:
    """Which domains will an SFT set change, before any training?

    Scores every domain by what the SFT set shifts inside the model (with an SAE), and by baselines
    from texts, likelihoods, representations and gradients; each score with its interval and its
    null. With observed changes it says which predictor was right. Writes result.json, tables,
    report.html and summary.md into --out and prints the verdict.

    Examples:

      imprint forecast MODEL --sae SAE --sft sft.jsonl --domains domains.jsonl

      imprint forecast MODEL --sft a.jsonl --sft b.jsonl --domains law.jsonl physics.jsonl

      imprint forecast MODEL --sae SAE --sft mix.jsonl --group-by source --domains mmlu_pro

      imprint forecast MODEL --sae SAE --sft sft.jsonl --domains d.jsonl --observed changes.csv

      imprint forecast MODEL --sae SAE --sft sft.jsonl --domains d.jsonl --budget 200

    Parameters
    ----------
    model
        The model before SFT, as PATH_OR_REPO[@REVISION][+ADAPTER[@REVISION]].
    sft
        .jsonl, .parquet or .csv with prompt and completion, or messages; may repeat.
    domains
        The same with prompt, and optionally answer and domain (else the file's name is the domain);
        or names of lm-eval tasks; may repeat.
    sae
        PATH_OR_REPO[@REVISION][:SUBPATH]; without it every other predictor runs.
    group_by
        Column of the SFT rows; each of its values is forecast as a set of its own.
    observed
        A table of domain and change (and se, and sft where there are several sets), or two tables
        of scores: before and after.
    history
        Run folders of past forecasts that were given what was observed; ranks predictors.
    others
        Tables of changes seen with another model or SFT set, a baseline.
    shift
        How shifted latents are found: icl (default), icl_content (less what any tokens before the
        query do), answer, grad; sft asks --tuned (oracle),
        rollout contrasts --rollouts; icl_unaligned is the published estimator, for comparison.
    tuned
        The fine-tuned model, for --shift sft.
    rollouts
        .jsonl with prompt, completion and reward, for --shift rollout; also stands for --sft.
    score
        The predictor that the headline is about.
    families
        Kinds of predictors: sts, dictionary, lexical, likelihood, similarity, gradient, history;
        default all.
    layer
        The block whose output is read; default the SAE's, else the middle one.
    sae_k
        Latents that fire per token, for a top-k SAE whose files do not say so.
    latents
        How many latents count as shifted; default 100.
    demonstrations
        SFT examples before a query; default 2.
    draws
        Random choices of demonstrations; default 5.
    tokens
        Tokens of each domain that are read, and twice as many of each SFT set; default 10,000.
    limit
        Take so many texts of each domain and SFT set at random.
    top
        Domains that count as those which change most; default a quarter of them.
    extremes
        Judge on so many domains of the largest and smallest observed change only; this makes every
        correlation larger, and is said.
    budget
        Examples that a mixture plan may add; writes mixture.jsonl with replay targets.
    temperature
        Of the plan: above 1 spreads examples more evenly; default 1.
    floor
        Fewest examples of a domain in the plan; default 0.
    cap
        Most examples of a domain in the plan.
    max_new_tokens
        Length of a replay target at most; default 128.
    labels
        What latents are called: an export of Neuronpedia, .json or .jsonl.
    unrelated
        Texts of anything else (.txt, a folder of .txt, .jsonl, .parquet, .csv): under the null of
        --shift icl their words stand in place of demonstrations; default these, shuffled.
    ablate
        Zero so many of the strongest shifted latents and measure the loss on gold answers.
    accept_bad_fit
        Go on although the SAE does not fit the model.
    chat_template
        none (default), auto or a Jinja file.
    system_prompt
        Stands before every prompt.
    resamples
        Bootstrap draws of every interval; default 2,000.
    map
        ours=theirs, for columns of --sft and --domains; may repeat.
    config
        YAML with any of these settings; flags win.
    device
        Where the model computes; default a GPU where there is one.
    dtype
        Type that the model computes in; default that of the weights.
    trust_remote_code
        Run code that a checkpoint brings along; never without this.
    out
        Run folder; default imprint-runs/forecast.
    seed
        Seed of everything drawn; default 0.
    json
        Print result.json to stdout instead of the summary.
    dry_run
        Read everything but the weights, print the plan, write nothing.
    quiet
        No progress and no notes on stderr.
    """
    from imprint.forecast.describe import describe
    from imprint.forecast.forecast import open_run, perform, save
    from imprint.forecast.inputs import gather
    from imprint.forecast.sources import Sources

    given: dict[str, Any] = {
        "shift": shift,
        "score": score,
        "families": tuple(families) if families else None,
        "layer": layer,
        "sae_k": sae_k,
        "latents": latents,
        "demonstrations": demonstrations,
        "draws": draws,
        "tokens": tokens,
        "group_by": group_by,
        "limit": limit,
        "top": top,
        "extremes": extremes,
        "budget": budget,
        "temperature": temperature,
        "floor": floor,
        "cap": cap,
        "max_new_tokens": max_new_tokens,
        "ablate": ablate,
        "accept_bad_fit": accept_bad_fit,
        "chat_template": chat_template,
        "system_prompt": system_prompt,
        "resamples": resamples,
        "device": device,
        "dtype": dtype,
        "trust_remote_code": trust_remote_code,
        "seed": seed,
        "quiet": quiet or None,
    }
    settings = _settings(config, given)
    sources = Sources(
        sft=tuple(sft or ()),
        domains=tuple(domains or ()),
        sae=sae,
        observed=tuple(observed or ()),
        history=tuple(history or ()),
        others=tuple(others or ()),
        tuned=tuned,
        rollouts=rollouts,
        labels=labels,
        unrelated=unrelated,
        rename=tuple(mapping(map or ()).items()),
    )
    inputs = gather(model, sources, settings)
    target = out or default_out("forecast")
    if dry_run:
        show(describe(inputs, target))
        return
    run = open_run(inputs, target)
    result, files = perform(inputs, run)
    save(run, result, files)
    tell(result, target, json=json, quiet=quiet)


def _settings(config: Path | None, given: dict[str, Any]) -> Any:
    from imprint.configuration import Settings, build, load_yaml
    from imprint.forecast.config import ForecastConfig

    settings = load_yaml(config) if config else Settings()
    settings.update({name: value for name, value in given.items() if value is not None})
    return build(ForecastConfig, settings)
