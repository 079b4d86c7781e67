"""Carrying a mixture plan out: how many examples of each domain, and what the base model says."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from imprint.findings import Finding
from imprint.forecast.inputs import Inputs
from imprint.forecast.judged import Judged
from imprint.forecast.material import Text
from imprint.forecast.mixture import allocate, choose, plan_table, shares, training_file
from imprint.models import LocalEngine

Said = Callable[[Sequence[Text]], list[str]]


def plan(inputs: Inputs, judged: Judged) -> tuple[pl.DataFrame, list[Text], list[Finding]]:
    """Decide how many examples of each domain to add for the first SFT set, and which.

    Of a signed predictor only the falls that it foresees count: a rise needs no practice.

    Returns:
        Table ``mixture``, the texts to replay, and what was noticed.
    """
    config, chosen = inputs.config, judged.chosen
    excess = chosen.score if chosen.excess is None else chosen.excess
    risk = -excess if chosen.predicted.signed else excess
    groups = [text.group for text in inputs.texts]
    most = [groups.count(name) for name in inputs.domains]
    share = shares(risk, config.temperature)
    counts = allocate(share, config.budget or 0, floor=config.floor, cap=config.cap, most=most)
    frame = plan_table(inputs.domains, excess, share, counts, most)
    texts = choose(inputs.texts, dict(zip(inputs.domains, counts, strict=True)), config.seed)
    return frame, texts, list(_findings(inputs, judged, risk, counts))


def replies(
    inputs: Inputs, engine: LocalEngine, texts: Sequence[Text]
) -> tuple[list[str], list[Finding]]:
    """Give what the base model says to each prompt, greedily, and what is amiss with it."""
    prompts = [inputs.prompter.context(text.prompt) for text in texts]
    most = inputs.config.max_new_tokens
    made = list(engine.generate(prompts, max_new_tokens=most))
    said = [one.text.strip() for one in made]
    found = []
    if cut := sum(one.ended == "length" for one in made):
        detail = (
            f"{cut} of {len(made)} replay targets are cut off at --max-new-tokens {most}: "
            "a model that is trained on them learns to stop there"
        )
        found.append(Finding("replay_cut", detail, count=cut))
    if silent := sum(not one for one in said):
        detail = f"to {silent} of {len(made)} prompts the model says nothing; they are left out"
        found.append(Finding("replay_silent", detail, count=silent))
    return said, found


def mixture_file(inputs: Inputs, sft: str, texts: Sequence[Text], said: Sequence[str]) -> str:
    """Write the whole SFT set and the replayed examples, but those the model said nothing to."""
    pairs = [(text, reply) for text, reply in zip(texts, said, strict=True) if reply]
    return training_file(inputs.whole[sft], pairs)


def _findings(inputs: Inputs, judged: Judged, risk: np.ndarray, counts: list[int]) -> list[Finding]:
    found = [
        Finding(
            "replayed",
            f"mixture.jsonl adds {sum(counts)} prompts of the domains to the examples of "
            f"{judged.found.sft!r}; do not evaluate on them",
            "info",
        )
    ]
    if sum(counts) < (inputs.config.budget or 0):
        detail = f"{sum(counts)} of the budget of {inputs.config.budget} could be placed"
        found.append(Finding("budget", detail))
    if not (np.nan_to_num(risk) > 0).any():
        name, signed = judged.choice.name, judged.chosen.predicted.signed
        why = f"{name} foresees no fall" if signed else f"no domain's {name} exceeds its null"
        detail = f"{why}: the plan treats all alike"
        found.append(Finding("no_excess", detail))
    return found
