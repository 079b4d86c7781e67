"""``imprint plan``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from imprint.cli.common import default_out, mapping, show, tell

Flag = Annotated[bool, Parameter(negative="")]
Many = Annotated[list[str] | None, Parameter(negative="")]


def plan(
    *,
    rollouts: Annotated[list[Path] | None, Parameter(negative="")] = None,
    mastery: Path | None = None,
    references: Path | None = None,
    kind: Literal["skill", "fact"] | None = None,
    size: int | None = None,
    sizes: str | None = None,
    hard_below: float | None = None,
    domain_share: float | None = None,
    near_duplicate: float | None = None,
    references_verified: Flag = False,
    band: tuple[float, float] | None = None,
    band_probability: float | None = None,
    tail: float | None = None,
    rl_size: int | None = None,
    rl_from: str | None = None,
    group_size: int | None = None,
    stalled: float | None = None,
    target: Many = None,
    samples: int | None = None,
    pass_at: float | None = None,
    model: str | None = None,
    stage: str | None = None,
    filter: str | None = None,  # noqa: A002
    metric: str | None = None,
    adapters: str | None = None,
    limit: int | None = None,
    resamples: int | None = None,
    map: Many = None,  # noqa: A002
    config: Path | None = None,
    out: Path | None = None,
    seed: int | None = None,
    json: Flag = False,
    dry_run: Flag = False,
    quiet: Flag = False,
) -> None:
    """Which rows to fine-tune on, and which prompts to reinforce, given what a model can do?

    Reads verified rollouts of the model that is to be trained: a run of imprint evaluate --prompts
    or imprint mastery, samples of lm-eval, or a table. Writes an SFT subset, an RL band and an
    equal-size random control of each, files for trainers, a balance report by domain, result.json,
    tables, report.html and summary.md into --out and prints the verdict.

    Examples:

      imprint plan --rollouts runs/evaluate --kind skill --references traces.jsonl

      imprint plan --mastery runs/mastery --size 240

      imprint plan --rollouts rollouts.jsonl --kind skill --group-size 16 --target maths=0.7

      imprint plan --rollouts log.parquet --map prompt=problem --map correct=scores --pass-at 1

    Parameters
    ----------
    rollouts
        Run folder, or table with id, prompt and correct (0 or 1 per rollout), c and n, or pass_rate
        and n; optionally domain, answer, reference, ref_nll, source. May repeat.
    mastery
        Folder of a run of imprint mastery.
    references
        Table with id and reference, optionally reference_verified, ref_nll, ref_tokens.
    kind
        What SFT is to teach: a skill that traces can show, or facts. Facts for a mastery run.
    size
        Rows of the SFT subset; default 1,000 for a skill, 240 for facts.
    sizes
        Further sizes with commas, written as nested sets.
    hard_below
        Largest shrunk pass rate of an SFT row; default 0.25.
    domain_share
        Largest share of one domain in the SFT subset; default twice an equal share.
    near_duplicate
        Share of word trigrams from which two prompts are one; default 0.8, 1 keeps all but equal.
    references_verified
        All references were checked: also those of prompts that no rollout solved.
    band
        Pass rates that RL learns from; default 0.2 0.8.
    band_probability
        How probable it must be that a rate lies there; default 0.5.
    tail
        Share of the RL set easier, and share harder, than the band; default 0.1.
    rl_size
        Prompts for RL at most; default all.
    rl_from
        The model that RL starts from; refused if the rollouts are another's.
    group_size
        Rollouts per prompt in RL; default 8.
    stalled
        Share of groups without signal from which a domain is blocked; default 0.8.
    target
        DOMAIN=WEIGHT, what the model is for; may repeat.
    samples
        Rollouts per prompt, for pass rates without their number.
    pass_at
        A reward of at least this is a verified pass; without it rewards must be 0 or 1.
    model
        Which model (unit) of an evaluation with several.
    stage
        Which stage of it.
    filter
        Which filter of lm-eval samples with several.
    metric
        Name of verified accuracy in your trainer, for generated settings; default acc.
    adapters
        Frameworks with commas: trl, verl, openrlhf, open-instruct, prime-rl; default all.
    limit
        Take so many prompts of each domain at random.
    resamples
        Draws of simulated intervals; default 2,000.
    map
        ours=theirs, for columns of --rollouts; may repeat.
    config
        YAML with any of these settings; flags win.
    out
        Run folder; default imprint-runs/plan.
    seed
        Seed of everything drawn; default 0.
    json
        Print result.json to stdout instead of the summary.
    dry_run
        Read and check everything, print what would be done, write nothing.
    quiet
        No progress and no notes on stderr.
    """
    from imprint.planning.plan import Sources, describe, open_run, perform, read, settled
    from imprint.report import publish

    given: dict[str, Any] = {
        "kind": kind,
        "size": size,
        "sizes": _sizes(sizes),
        "hard_below": hard_below,
        "domain_share": domain_share,
        "near_duplicate": near_duplicate,
        "references_verified": references_verified or None,
        "band": band,
        "band_probability": band_probability,
        "tail": tail,
        "rl_size": rl_size,
        "rl_from": rl_from,
        "group_size": group_size,
        "stalled": stalled,
        "targets": _weights(target),
        "samples": samples,
        "pass_at": pass_at,
        "model": model,
        "stage": stage,
        "filter": filter,
        "metric": metric,
        "adapters": adapters.split(",") if adapters else None,
        "limit": limit,
        "resamples": resamples,
        "seed": seed,
        "quiet": quiet or None,
    }
    renamed = tuple(mapping(map or ()).items())
    sources = Sources(tuple(rollouts or ()), mastery, references, renamed)
    settings = settled(sources, _settings(config, given))
    target_folder = out or default_out("plan")
    if dry_run:
        show(describe(sources, settings, target_folder))
        return
    run = open_run(sources, settings, target_folder)
    result = perform(read(sources, settings, run), settings, sources)
    publish(run, result, result.files)
    tell(result, target_folder, json=json, quiet=quiet)


def _settings(config: Path | None, given: dict[str, Any]) -> Any:
    from imprint.configuration import Settings, build, load_yaml
    from imprint.planning.config import PlanConfig

    settings = load_yaml(config) if config else Settings()
    settings.update({name: value for name, value in given.items() if value is not None})
    return build(PlanConfig, settings)


def _sizes(text: str | None) -> list[int] | None:
    from imprint.errors import ConfigError

    if text is None:
        return None
    try:
        return [int(piece) for piece in text.split(",")]
    except ValueError:
        raise ConfigError(
            f"--sizes {text!r} is no list of sizes", remedy="write --sizes 250,500,1000."
        ) from None


def _weights(pairs: list[str] | None) -> dict[str, float] | None:
    from imprint.errors import ConfigError

    if pairs is None:
        return None
    found = {}
    for pair in pairs:
        domain, equals, weight = pair.rpartition("=")
        try:
            found[domain] = float(weight)
        except ValueError:
            equals = ""
        if not equals or not domain:
            raise ConfigError(f"--target {pair!r} is not of the form DOMAIN=WEIGHT")
    return found
