"""What an SAE's latents do in this model: their fit, their strongest texts, what zeroing costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from imprint.errors import DataError
from imprint.forecast.contexts import bare
from imprint.forecast.domains import score_domains
from imprint.forecast.features import Reader
from imprint.forecast.material import Text
from imprint.forecast.predicted import Floats, Predicted
from imprint.forecast.predictors.gold import answer_request, per_token
from imprint.forecast.rendering import Rendered
from imprint.forecast.setting import Setting
from imprint.forecast.statistics import matched
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


def measure_fit(setting: Setting, sae: Sae) -> Fit:
    """Measure the SAE's fit on texts of all domains, drawn at random.

    Raises:
        CheckpointError: the model's activations have another width, or are not finite.
        DataError: no token is left to judge it on.
    """
    reader, rows = _opened(setting, sae, setting.texts)
    order = [rows[n][1] for n in setting.chances(11).permutation(len(rows))]
    meter, tokens = FitMeter(sae), 0
    for at in range(0, len(order), BATCH):
        xs = reader.spans(order[at : at + BATCH])
        for x, ok in zip(xs, reader.kept(xs), strict=True):
            if bool(ok.any()):
                meter.add(x[ok])
                tokens += int(ok.sum())
        if tokens >= FIT_TOKENS:
            break
    return meter.fit()


def strongest(setting: Setting, sae: Sae, latents: Sequence[int]) -> pl.DataFrame:
    """List for each latent the texts in which it fires most, of the SFT set and of the domains."""
    chosen = list(latents[:SHOWN])
    columns, best = sae.only(chosen), _Best({latent: [] for latent in chosen})
    texts = [*setting.sample, *setting.texts]
    reader, rows = _opened(setting, sae, texts)
    for at in range(0, len(rows), BATCH):
        part = rows[at : at + BATCH]
        xs = reader.spans([row for _, row in part])
        for (n, row), x, ok in zip(part, xs, reader.kept(xs), strict=True):
            if bool(ok.any()):
                values = columns.encode(x).masked_fill(~ok[:, None], 0.0)
                best.add(chosen, n, row, values)
    return best.table(setting, texts)


@dataclass(eq=False)
class _Best:
    """The strongest texts of each latent: (−activation, text, place of the token)."""

    found: dict[int, list[tuple[float, int, int]]]
    rows: dict[int, Rendered] = field(default_factory=dict)

    def add(self, chosen: Sequence[int], n: int, row: Rendered, values: Any) -> None:
        """Count a text's latents [tokens, chosen]."""
        self.rows[n] = row
        most, places = values.max(dim=0)
        for latent, value, place in zip(chosen, most.tolist(), places.tolist(), strict=True):
            if value > 0:
                self.found[latent] = sorted([*self.found[latent], (-value, n, place)])[:TEXTS]

    def table(self, setting: Setting, texts: Sequence[Text]) -> pl.DataFrame:
        """Table ``strongest``."""
        known = len(setting.sample)
        rows = []
        for latent, found in self.found.items():
            for rank, (value, n, place) in enumerate(found, 1):
                group = f"SFT: {texts[n].group}" if n < known else texts[n].group
                about = {"latent": latent, "place": rank, "activation": -value, "group": group}
                ids = list(self.rows[n].content)
                rows.append({**about, "text": texts[n].name, **_excerpt(setting, ids, place)})
        return pl.DataFrame(rows, schema=STRONGEST)


def _opened(
    setting: Setting, sae: Sae, texts: Sequence[Text]
) -> tuple[Reader, list[tuple[int, Rendered]]]:
    """Give a reader at the SAE's place, and the texts that fit, each with its number."""
    reader = Reader(setting.model, place_of(setting.model, sae.hook), setting.batcher)
    numbers, rows = bare(setting, reader, texts, bos=sae.prepends_bos is not False)
    if not rows:
        raise DataError("no text fits into the model's context")
    reader.calibrate(rows, setting.chances(10))
    return reader, list(zip(numbers, rows, strict=True))


def _excerpt(setting: Setting, ids: list[int], place: int) -> dict[str, str]:
    decode = setting.model.tokenizer.decode
    before, token = decode(ids[:place]), decode([ids[place]])
    return {
        "token": token,
        "excerpt": f"{before[-AROUND:]}⟦{token}⟧{decode(ids[place + 1 :])[:AROUND]}",
    }


def ablation(
    setting: Setting,
    sae: Sae,
    latents: Sequence[int],
    rates: Floats,
    *,
    resamples: int,
    seed: int,
) -> pl.DataFrame:
    """Measure the loss on gold answers with latents zeroed, beside random ones of like density.

    Args:
        setting: the texts, and how they are scored.
        sae: the SAE, on the model's device.
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
        with ablated(setting.model, sae, zeroed):
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
