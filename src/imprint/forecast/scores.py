"""Scores of domain texts by shifted latents, of which alone the encoder columns are used.

With h̄_j(i) the mean of latent j over the span of text i, and μ_j, σ_j its mean and deviation over
the tokens of all domain texts, the base corpus here; N latents:

======== ================================= =============================== =======================
name     normalised, the default           raw                             says
======== ================================= =============================== =======================
act      mean_j (h̄_j − μ_j) / σ_j          Σ_j h̄_j (the paper's)           do they fire here
act2     mean_j mean h_j² / E h_j²         mean_j mean h_j² (its code's)   the same, squared
icl      mean_j d_j² / σ_j²                Σ_j d_j² (the paper's)          do they shift behind the
                                                                           domain's own answers
signed   Σ_j m_j ⟨g(i), W_dec[j]⟩          nats per token already          does the gold answer gain
======== ================================= =============================== =======================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from imprint.forecast.chosen import Chosen
from imprint.forecast.contexts import Contexts, Key, bare, change, read
from imprint.forecast.demonstrations import behind, room_before, shot_length
from imprint.forecast.features import Reader, pooled
from imprint.forecast.gradients import answer_gradients
from imprint.forecast.material import Text
from imprint.forecast.predicted import Predicted
from imprint.forecast.predictors.gold import missing
from imprint.forecast.rendering import Rendered
from imprint.forecast.setting import Setting
from imprint.forecast.spans import Counts
from imprint.forecast.statistics import Floats, Integers
from imprint.saes.activations import Identity

SHOTS = 5  # answered examples of a domain before its own queries, as the paper has it


@dataclass(frozen=True, eq=False)
class Means:
    """Latents of domain texts; T texts, U latents.

    Attributes:
        latents: their numbers, in order, [U].
        first, second: means of h and of h² over each text's span, [T, U]; NaN for texts left out.
        tokens: kept tokens of each text, [T].
        shifted: of each draw, the latents that it found shifted, or its null did, [n].
        changes: of each draw, their change behind answered texts of the domain, [T, n].
    """

    latents: Integers
    first: Floats
    second: Floats
    tokens: Floats
    shifted: list[Integers]
    changes: list[Floats]

    def at(self, latents: Integers) -> Integers:
        """Give the columns of latents."""
        return np.searchsorted(self.latents, latents)

    def moments(self) -> tuple[Floats, Floats, Floats]:
        """Give mean, deviation and mean square of each latent over the tokens of all texts."""
        known = self.tokens > 0
        w = self.tokens[known] / max(1.0, self.tokens.sum())
        mean, square = w @ self.first[known], w @ self.second[known]
        return mean, np.sqrt(np.maximum(square - mean**2, 0.0)), square


def domain_means(
    setting: Setting, reader: Reader, chosen: Sequence[Chosen], *, bos: bool, icl: bool = True
) -> list[Means]:
    """Read the domain texts once, and behind answered texts of their own domain in each draw.

    Args:
        setting: the texts.
        reader: of the model.
        chosen: shifted latents of each dictionary.
        bos: whether texts begin with the start of text.
        icl: read them behind answered texts too.
    """
    T = len(setting.texts)
    found = [_empty(T, one) for one in chosen]
    saes = [one.meter.sae for one in chosen]
    columns = [sae.only(m.latents.tolist()) for sae, m in zip(saes, found, strict=True)]
    fewer = [
        [sae.only(at.tolist()) for at in m.shifted] for sae, m in zip(saes, found, strict=True)
    ]
    most = max(len(m.latents) for m in found)
    for domain, members in enumerate(setting.groups.values()):
        texts = [setting.texts[n] for n in members]
        numbers, rows = bare(setting, reader, texts, bos=bos)
        places = np.array([members[n] for n in numbers], dtype=np.int64)
        if not rows:
            continue
        kept = [texts[n] for n in numbers]
        shown = _shown(setting, domain, kept, rows, reader.counts, bos=bos) if icl else {}
        for chunk, contexts in read(reader, Contexts(rows, shown), most):
            at = places[chunk.numbers]
            base = []
            for one, encoder in zip(found, columns, strict=True):
                both = pooled(encoder, len(one.latents), chunk.xs, chunk.oks, squares=True)
                one.first[at], one.second[at] = both.cpu().numpy()
                one.tokens[at] = [int(ok.sum()) for ok in chunk.oks]
                base.append(both[0])
            for (_, draw), seen in contexts:
                for one, encoders, before in zip(found, fewer, base, strict=True):
                    if draw < len(encoders):
                        own = before[:, one.at(one.shifted[draw])]
                        d = change(encoders[draw], own.shape[1], chunk, own, seen)
                        one.changes[draw][at] = d.cpu().numpy()
    return found


def score(
    setting: Setting, chosen: Chosen, means: Means, prefix: str, title: str
) -> list[Predicted]:
    """Give the scores of one dictionary.

    Args:
        setting: the texts.
        chosen: its shifted latents.
        means: what was read of them.
        prefix: of names: ``sts``, ``raw``, ``pca``, ``random``.
        title: of the dictionary, in words.
    """
    of_sae = prefix == "sts"
    family = "sts" if of_sae else "dictionary"
    both_signs = isinstance(chosen.meter.sae.function, Identity)
    kinds = ["act", "act2", "icl"] if of_sae else ["act", "icl"]
    found = []
    for kind in kinds:
        if kind == "icl" and all(np.isnan(one).all() for one in means.changes):
            continue
        # values of either sign cancel in a mean: squares say whether they are active
        way = "act2" if kind == "act" and both_signs else kind
        for raw in (False, True) if of_sae else (False,):
            found.append(
                Predicted(
                    f"{prefix}_{kind}{'_raw' if raw else ''}",
                    f"{WORDS[kind]} of {title}{', raw' if raw else ''}",
                    _values(means, chosen.draws, way, raw=raw),
                    null=_values(means, chosen.null, way, raw=raw) if chosen.null else None,
                    family=family,
                    note=NOTES[way, raw],
                    relative=kind != "icl" and not raw,
                )
            )
    if of_sae:
        for name, sets in chosen.controls.items():
            values = _values(means, sets, "act", raw=False)
            words = f"activation of {CONTROLS[name]}"
            note = "a control: what it foresees owes nothing to the shift"
            found.append(
                Predicted(f"sts_act_{name}", words, values, family="sts", note=note, relative=True)
            )
    return found


def signed(setting: Setting, reader: Reader, chosen: Chosen, *, bos: bool) -> list[Predicted]:
    """Foresee whether gold answers gain: Σ_j m_j ⟨g, W_dec[j]⟩, nats per token to first order.

    g is the gradient of the answer's mean log-likelihood at the prompt's tokens. Nothing where no
    domain text has an answer, and of a transcoder.
    """
    # a transcoder's decoder writes elsewhere than it reads, where no gradient is taken
    if chosen.meter.sae.transcodes or not any(text.answer for text in setting.texts):
        return []
    slopes = answer_gradients(setting, reader, setting.texts, bos=bos)
    meter, draws = chosen.meter, chosen.meter.draws("shift")
    null = meter.nulls[0]
    values = [slopes @ _way(chosen, "shift", d, chosen.draws[n]) for n, d in enumerate(draws)]
    nulls = [
        slopes @ _way(chosen, null, d, chosen.null[n]) for n, d in enumerate(meter.draws(null))
    ]
    return [
        Predicted(
            "sts_signed",
            "gold answers' gain along the shift",
            np.stack(values),
            signed=True,
            null=np.stack(nulls),
            family="sts",
            note="; ".join(filter(None, [SIGNED, missing(np.stack(values))])),
        )
    ]


WORDS = {"act": "activation", "act2": "squared activation", "icl": "shift in context"}
NOTES = {
    ("act", False): "mean over shifted latents, in deviations of each over all domain texts",
    ("act", True): "sum over shifted latents; compares only within one SAE",
    ("act2", False): "mean over shifted latents of squares, each by its mean over all domain texts",
    ("act2", True): "mean of squares over shifted latents; compares only within one SAE",
    ("icl", False): "squared change behind the domain's own answers, in variances of each latent",
    ("icl", True): "sum of squared changes over shifted latents; compares only within one SAE",
}
SIGNED = "to first order; above 0 the gold answer becomes likelier; nats per token"
CONTROLS = {
    "random": "random latents",
    "density": "latents that fire as often",
    "variance": "latents of like variance",
}


def _empty(texts: int, chosen: Chosen) -> Means:
    def nan(columns: int) -> Floats:
        # float32 is what latents are; sums over texts are taken in float64 later
        return np.full((texts, columns), np.nan, dtype=np.float32)

    latents, none = chosen.union, np.empty(0, dtype=np.int64)
    nulls = [*chosen.null, *[none] * len(chosen.draws)]
    shifted = [np.union1d(a, b) for a, b in zip(chosen.draws, nulls, strict=False)]
    changes = [nan(len(one)) for one in shifted]
    return Means(latents, nan(len(latents)), nan(len(latents)), np.zeros(texts), shifted, changes)


def _values(means: Means, sets: Sequence[Integers], kind: str, *, raw: bool) -> Floats:
    """Give the values [draws, T] of one score."""
    mean, deviation, square = means.moments()
    rows = []
    for draw, latents in enumerate(sets):
        at = means.at(latents)
        if kind == "act":
            x = means.first[:, at]
            part = x.sum(1) if raw else _over(x - mean[at], deviation[at]).mean(1)
        elif kind == "act2":
            x = means.second[:, at]
            part = x.mean(1) if raw else _over(x, square[at]).mean(1)
        else:
            columns = np.searchsorted(means.shifted[draw], latents)
            x = means.changes[draw][:, columns].astype(np.float64) ** 2
            part = x.sum(1) if raw else _over(x, deviation[at] ** 2).mean(1)
        rows.append(part if len(at) else np.where(means.tokens > 0, 0.0, np.nan))
    return np.stack(rows).astype(np.float64)


def _over(x: Floats, scale: Floats) -> Floats:
    """Divide; a latent that never varies says nothing and gives 0."""
    known = scale > 0
    return np.asarray(np.where(known, x, 0.0 * x) / np.where(known, scale, 1.0))


def _way(chosen: Chosen, kind: str, draw: int, latents: Integers) -> Floats:
    """Give the direction in which latents shift activations, [d]."""
    mean = chosen.meter.paired((kind, draw)).mean[latents]
    rows = chosen.meter.sae.directions(latents.tolist()).double().cpu().numpy()
    return np.asarray(mean @ rows)


def _shown(
    setting: Setting,
    domain: int,
    texts: Sequence[Text],
    rows: Sequence[Rendered],
    counts: Counts,
    *,
    bos: bool,
) -> dict[Key, list[Rendered | None]]:
    """Render a domain's texts behind answered ones of it, other ones in each draw."""
    room = room_before(setting, rows)
    answered = [n for n, text in enumerate(texts) if text.answer]
    found: dict[Key, list[Rendered | None]] = {}
    for n in answered:
        if shot_length(setting, texts[n]) > room:
            counts.leave_out("long", texts[n].place)
    for draw in range(setting.draws):
        order = setting.chances(8, draw, domain).permutation(len(answered))
        shots = _fitting(setting, [texts[answered[n]] for n in order], room, len(texts) // 2)
        counts.stand_before(texts[0].group, len(shots), SHOTS)
        if shots:
            found["icl", draw] = behind(setting, texts, shots, bos=bos)
    return found


def _fitting(setting: Setting, texts: Sequence[Text], room: int, most: int) -> list[Text]:
    found: list[Text] = []
    for text in texts:
        length = shot_length(setting, text)
        if len(found) < min(SHOTS, most) and length <= room:
            found.append(text)
            room -= length
    return found
