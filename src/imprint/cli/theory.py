"""``imprint theory``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from imprint.cli.common import default_out, show, tell

Flag = Annotated[bool, Parameter(negative="")]


def theory(
    name: str | None = None,
    *,
    d: int | None = None,
    weak: float | None = None,
    weak_eig: float | None = None,
    target_rate: float | None = None,
    interference: str | None = None,
    n: str | None = None,
    n_pre: int | None = None,
    n_sft: int | None = None,
    n_test: int | None = None,
    sizes: str | None = None,
    cot: str | None = None,
    seeds: int | None = None,
    epochs: int | None = None,
    batch: int | None = None,
    learning_rate: float | None = None,
    layers: int | None = None,
    heads: int | None = None,
    width: int | None = None,
    pretrain_steps: int | None = None,
    sft_steps: int | None = None,
    os_steps: int | None = None,
    test_prompts: int | None = None,
    paper_size: Annotated[bool | None, Parameter(negative="")] = None,
    config: Path | None = None,
    device: str | None = None,
    out: Path | None = None,
    seed: int | None = None,
    json: Flag = False,
    dry_run: Flag = False,
    quiet: Flag = False,
) -> None:
    """Why small and hard data for SFT, large and not too hard for outcome supervision?

    Runs a named experiment of the in-context weight-prediction theory (arXiv 2603.01293): theory
    beside simulation, with spread over seeds, and a verdict on each claim. Without a name it lists
    the experiments. Each reads some of the settings below, and says so when given another.

    Examples:

      imprint theory

      imprint theory double-descent --out runs/double-descent

      imprint theory double-descent --d 120 --interference 0,0.01 --n 240 --seeds 9

      imprint theory context-length --n-pre 400 --n-test 400

      imprint theory gpt2 --seeds 3

    Parameters
    ----------
    name
        The experiment; left out, they are listed.
    d
        Feature dimension.
    weak
        Share of the directions that pretraining covers weakly.
    weak_eig
        Their variance in pretraining.
    target_rate
        Rate of the step targets of SFT.
    interference
        Variances of the SFT data on the directions that pretraining knows, with commas.
    n
        Prompt lengths of pretraining, SFT and test together, with commas.
    n_pre
        Hold the prompt length of pretraining here.
    n_sft
        Hold that of SFT here.
    n_test
        Hold that of the test here.
    sizes
        Numbers of post-training prompts, with commas.
    cot
        Lengths of the chain of thought, with commas.
    seeds
        Realisations of everything drawn.
    epochs
        Passes over the prompts in training.
    batch
        Prompts in a minibatch.
    learning_rate
        Of Adam.
    layers
        Layers of the transformer.
    heads
        Attention heads of a layer.
    width
        Width of the transformer.
    pretrain_steps
        Steps of its pretraining.
    sft_steps
        Steps of SFT.
    os_steps
        Steps of outcome supervision.
    test_prompts
        Prompts that a trained model is tested on.
    paper_size
        The paper's sizes where the defaults are smaller.
    config
        YAML with any of these settings; flags win.
    device
        Where the transformer computes; default a GPU where there is one.
    out
        Run folder; default imprint-runs/theory-NAME.
    seed
        Seed of everything drawn; default 0.
    json
        Print result.json to stdout instead of the summary.
    dry_run
        Print the plan, write nothing.
    quiet
        No progress and no notes on stderr.
    """
    from imprint.theory.experiments.catalogue import listing

    if name is None:
        show(listing())
        return
    given: dict[str, Any] = {
        "d": d,
        "weak": weak,
        "weak_eig": weak_eig,
        "target_rate": target_rate,
        "interference": _numbers("interference", interference, float),
        "n": _numbers("n", n, int),
        "n_pre": n_pre,
        "n_sft": n_sft,
        "n_test": n_test,
        "sizes": _numbers("sizes", sizes, int),
        "cot": _numbers("cot", cot, int),
        "seeds": seeds,
        "epochs": epochs,
        "batch": batch,
        "learning_rate": learning_rate,
        "layers": layers,
        "heads": heads,
        "width": width,
        "pretrain_steps": pretrain_steps,
        "sft_steps": sft_steps,
        "os_steps": os_steps,
        "test_prompts": test_prompts,
        "paper_size": paper_size,
        "device": device,
        "seed": seed,
        "quiet": quiet or None,
    }
    _run(name, config, given, out, json=json, dry_run=dry_run, quiet=quiet)


def _run(
    name: str,
    config: Path | None,
    given: dict[str, Any],
    out: Path | None,
    *,
    json: bool,
    dry_run: bool,
    quiet: bool,
) -> None:
    from imprint.configuration import Settings, load_yaml
    from imprint.report import publish
    from imprint.theory.study import describe, open_run, perform, prepare

    settings = load_yaml(config) if config else Settings()
    settings.update({key: value for key, value in given.items() if value is not None})
    study = prepare(name, settings)
    target = out or default_out(f"theory-{name}")
    if dry_run:
        show(describe(study, target))
        return
    run = open_run(study, target)
    result = perform(study, run)
    publish(run, result)
    tell(result, target, json=json, quiet=quiet)


def _numbers(flag: str, text: str | None, kind: type[int] | type[float]) -> list[float] | None:
    from imprint.errors import ConfigError

    if text is None:
        return None
    try:
        return [kind(piece) for piece in text.split(",")]
    except ValueError:
        raise ConfigError(
            f"--{flag} {text!r} is no list of numbers", remedy=f"write --{flag} 10,20."
        ) from None
