"""What an SAE's latents do in this model: their fit, their strongest texts, what zeroing costs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from imprint.forecast.domains import score_domains
from imprint.forecast.inputs import Inputs
from imprint.forecast.material import Text
from imprint.forecast.predicted import Floats, Predicted
from imprint.forecast.predictors.gold import answer_request, per_token
from imprint.forecast.rendering import Rendered, render
from imprint.forecast.setting import Setting
from imprint.forecast.spans import kept, median_norm
from imprint.forecast.statistics import matched
from imprint.models import Loaded
from imprint.models.residual import activations, refuse_nan
from imprint.saes import Fit, FitMeter, Sae
from imprint.saes.ablation import ablated, place_of
from imprint.stats import percentile_interval

FIT_TOKENS = 8192  # tokens that the fit is judged on
BATCH = 16  # texts read together
SHOWN = 20  # latents whose strongest texts are listed
TEXTS = 3  # texts of each
AROUND = 40  # characters beside the strongest token
STRONGEST = {
    "latent": pl.Int64,
    "place": pl.Int64,
    "activation": pl.Float64,
    "token": pl.String,
    "group": pl.String,
    "text": pl.String,
    "excerpt": pl.String,
}


@dataclass(frozen=True, eq=False)
class Reader:
    """Reads texts at the place that an SAE reads.

    Attributes:
        loaded: the model.
        sae: on the model's device.
        inputs: how prompts are put.
    """

    loaded: Loaded
    sae: Sae
    inputs: Inputs

    def rendered(self, text: Text) -> Rendered:
        """Give the tokens of a prompt as the model is asked it."""
        bos = self.sae.prepends_bos is not False
        return render(self.inputs.tokenizer, self.inputs.prompter, text, bos=bos)

    def read(self, texts: Sequence[Text]) -> list[tuple[list[int], Any]]:
        """Give the tokens of the prompts' own words, and their activations [tokens, d].

        Prompts that do not fit into the context have none.

        Raises:
            CheckpointError: activations are not finite.
        """
        where = place_of(self.loaded, self.sae.hook)
        rows = [self.rendered(text) for text in texts]
        fits = [row for row in rows if len(row.ids) <= self.inputs.context]
        states = activations(self.loaded, where, [row.ids for row in fits]) if fits else []
        known = dict(zip(map(id, fits), states, strict=True))
        found: list[tuple[list[int], Any]] = []
        for row in rows:
            held = known.get(id(row))
            if held is None:
                found.append(([], None))
                continue
            refuse_nan(held, where, self.loaded)
            found.append((list(row.content), held[row.query.start : row.query.stop]))
        return found


def measure_fit(reader: Reader, seed: int) -> Fit:
    """Measure the SAE's fit on texts of all domains, drawn at random.

    Tokens of unusual norm are left out, as everywhere.

    Raises:
        CheckpointError: the model's activations have another width, or are not finite.
        DataError: no token is left to judge it on.
    """
    meter, tokens, median = FitMeter(reader.sae), 0, 0.0
    texts = list(reader.inputs.texts)
    random.Random(f"{seed} fit").shuffle(texts)  # noqa: S311
    for at in range(0, len(texts), BATCH):
        read = [states for ids, states in reader.read(texts[at : at + BATCH]) if ids]
        median = median or median_norm(read)
        for states in read:
            counted = states[kept(states, median)]
            if len(counted):
                meter.add(counted)
            tokens += len(counted)
        if tokens >= FIT_TOKENS:
            break
    return meter.fit()


def strongest(reader: Reader, latents: Sequence[int], sft: Sequence[Text]) -> pl.DataFrame:
    """List for each latent the texts in which it fires most, of the SFT set and of the domains."""
    chosen = list(latents[:SHOWN])
    texts = [*sft, *reader.inputs.texts]
    columns = reader.sae.only(chosen)
    best: dict[int, list[tuple[float, int, int]]] = {latent: [] for latent in chosen}
    tokens: dict[int, list[int]] = {}
    for at in range(0, len(texts), BATCH):
        for n, (ids, states) in enumerate(reader.read(texts[at : at + BATCH]), at):
            if not ids:
                continue
            values, places = columns.encode(states).max(dim=0)
            for latent, value, place in zip(chosen, values.tolist(), places.tolist(), strict=True):
                if value > 0:
                    best[latent] = sorted([*best[latent], (-value, n, place)])[:TEXTS]
            tokens[n] = ids
    rows = [
        _row(reader, latent, rank, texts[n], tokens[n], place, -value, of_sft=n < len(sft))
        for latent, found in best.items()
        for rank, (value, n, place) in enumerate(found, 1)
    ]
    return pl.DataFrame(rows, schema=STRONGEST)


def _row(
    reader: Reader,
    latent: int,
    rank: int,
    text: Text,
    ids: list[int],
    place: int,
    value: float,
    *,
    of_sft: bool,
) -> dict[str, Any]:
    decode = reader.inputs.tokenizer.decode
    before, token = decode(ids[:place]), decode([ids[place]])
    return {
        "latent": latent,
        "place": rank,
        "activation": value,
        "token": token,
        "group": f"SFT: {text.group}" if of_sft else text.group,
        "text": text.name,
        "excerpt": f"{before[-AROUND:]}⟦{token}⟧{decode(ids[place + 1 :])[:AROUND]}",
    }


def ablation(
    reader: Reader,
    setting: Setting,
    latents: Sequence[int],
    rates: Floats,
    *,
    resamples: int,
    seed: int,
) -> pl.DataFrame:
    """Measure the loss on gold answers with latents zeroed, beside random ones of like density.

    Args:
        reader: model and SAE.
        setting: the texts, and how they are scored.
        latents: which are zeroed.
        rates: share of tokens on which each latent of the SAE fires, [L].
        resamples: bootstrap draws over texts.
        seed: of the random latents and of the bootstrap.

    Returns:
        A row per domain: ``nll`` per token, its ``change`` by these latents and by random ones
        (``random``), and the ``excess`` with its interval.
    """
    chances = np.random.default_rng([seed, 9])
    like = matched(np.asarray(latents, dtype=np.int64), rates, chances)
    requests = [answer_request(setting, text) for text in setting.texts]
    losses = [-per_token(setting, requests)]
    for zeroed in (latents, like.tolist()):
        with ablated(reader.loaded, reader.sae, zeroed):
            losses.append(-per_token(setting, requests))
    changes = [losses[1] - losses[0], losses[2] - losses[0]]
    columns = [losses[0], *changes, changes[0] - changes[1]]
    groups = [text.group for text in setting.texts]
    said = [Predicted(str(n), "", column[None]) for n, column in enumerate(columns)]
    scored = score_domains(said, groups, resamples=resamples, seed=seed)
    low, high = percentile_interval(scored[3].samples)
    return pl.DataFrame(
        {
            "domain": list(setting.groups),
            "latents": [len(latents)] * len(setting.groups),
            "nll": scored[0].score,
            "change": scored[1].score,
            "random": scored[2].score,
            "excess": scored[3].score,
            "low": low,
            "high": high,
        }
    ).fill_nan(None)
