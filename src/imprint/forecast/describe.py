"""What a run would do, and what it will lack."""

from __future__ import annotations

from pathlib import Path

from imprint.findings import Finding
from imprint.forecast.config import ForecastConfig
from imprint.forecast.inputs import Inputs


def describe(inputs: Inputs, out: Path) -> str:
    """Say what a run would do."""
    config, texts = inputs.config, sum(inputs.lengths)
    sae = "no SAE" if inputs.sae is None else f"{inputs.sae.latents:,} latents, {inputs.sae.hook}"
    lines = [
        f"{inputs.base.reference}: {inputs.base.parameters:,} parameters; {sae}",
        f"{len(inputs.domains)} domains: {len(inputs.texts):,} texts, {texts:,} tokens",
    ]
    for name, examples in inputs.sets.items():
        lines.append(
            f"SFT set {name}: {len(examples):,} examples, {inputs.sft_tokens[name]:,} tokens"
        )
    lines += [f"for each set {words}" for words in passes(config, sae=inputs.sae is not None)]
    lines += [f"{found.check}: {found.detail}" for found in [*inputs.findings, *missing(inputs)]]
    return "\n".join([*lines, f"would write {out}"])


def passes(config: ForecastConfig, *, sae: bool) -> list[str]:
    """Say how often the model reads what, by family of predictors."""
    draws, shown = config.draws, config.demonstrations
    told = {
        "sts": f"STS: the set {1 + 2 * draws} times up to the SAE's layer, {shown} demonstrations "
        "before it; the domains as often",
        "dictionary": "STS of other dictionaries: on the same readings",
        "lexical": "lexical: nothing is read by the model",
        "likelihood": f"likelihood: the domains {3 + 2 * draws} times",
        "similarity": "similarity: the set and the domains once",
        "gradient": "gradient: the set once, forth and back; the domains four times",
    }
    without = () if sae else ("sts",)
    return [
        words
        for family, words in told.items()
        if family not in without and (not config.families or family in config.families)
    ]


def missing(inputs: Inputs) -> list[Finding]:
    """Say what a run without an SAE or without answers lacks."""
    found = []
    if inputs.sae is None:
        found.append(
            Finding(
                "no_sae",
                "no SAE was given: shifted latents and their scores (STS) are missing; "
                "`imprint sae train` makes one",
                "info",
            )
        )
    unanswered = sum(text.answer is None for text in inputs.texts)
    if unanswered:
        detail = (
            f"{unanswered} of {len(inputs.texts)} domain texts have no answer: predictors from "
            "answers leave them out"
        )
        found.append(Finding("no_answers", detail, count=unanswered))
    return found
