"""Which domains the latents that SFT shifts belong to: the SAE-based transferability score.

After Xu et al. (arXiv 2603.02908), with shifted latents found on the same tokens in both contexts,
ranked by paired t, beside a null; their published estimator is there for comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from imprint.errors import CheckpointError, ConfigError, DataError, nearest
from imprint.findings import Finding
from imprint.forecast import answers
from imprint.forecast import shift as ways
from imprint.forecast.chosen import Chosen, choose
from imprint.forecast.content import icl_content
from imprint.forecast.contexts import bare
from imprint.forecast.features import Reader
from imprint.forecast.icl import icl
from imprint.forecast.material import Text
from imprint.forecast.meter import Meter
from imprint.forecast.predicted import Floats, Predicted
from imprint.forecast.rollouts import Rollout
from imprint.forecast.scores import domain_means, score, signed
from imprint.forecast.setting import Setting
from imprint.forecast.unaligned import icl_unaligned
from imprint.models import Loaded
from imprint.models.residual import Site
from imprint.saes import Covariance, Hook, Sae, pca, random_dictionary, raw
from imprint.saes.ablation import place_of

Tick = Callable[[str], None]
TITLES = {
    "sts": "shifted latents",
    "raw": "shifted dimensions",
    "pca": "shifted principal components",
    "random": "shifted random directions",
}
MORE = ("icl", "rollout", "sft")
COMPONENTS = 256  # principal components at most
DIRECTIONS = 4096  # random directions, where no SAE tells how many


@dataclass(frozen=True, eq=False)
class Sts:
    """What shifted latents say.

    Attributes:
        predicted: scores of domain texts.
        shifted: table of shifted latents of the SAE, the strongest first.
        overlap: table of nulls, the first the one that scores are compared with.
        latents: the shifted latents, the strongest first.
        rates: share of tokens on which each latent fires on bare SFT prompts, [L].
        findings: what was noticed.
    """

    predicted: list[Predicted]
    shifted: pl.DataFrame
    overlap: pl.DataFrame
    latents: list[int]
    rates: Floats
    findings: list[Finding]


@dataclass(frozen=True, eq=False)
class Asked:
    """How shifted latents are to be found.

    Attributes:
        shift: ``icl``, ``icl_content``, ``icl_unaligned``, ``answer``, ``sft``, ``grad`` or
            ``rollout``; see `imprint.forecast.shift`.
        latents: N; of a small dictionary at most a tenth of its latents.
        tuned: the tuned model, for ``sft``.
        rollouts: samples with rewards, for ``rollout``.
        unrelated: texts that the null of ``icl`` shows in place of demonstrations.
    """

    shift: str = "icl"
    latents: int = 100
    tuned: Loaded | None = None
    rollouts: Sequence[Rollout] = ()
    unrelated: Sequence[Text] = ()


DEFAULT = Asked()


def sts(
    setting: Setting,
    sae: Sae,
    asked: Asked = DEFAULT,
    *,
    tick: Tick = lambda _: None,
) -> Sts:
    """Find shifted latents and score the domain texts by them.

    Args:
        setting: SFT examples, domain texts, the model, draws.
        sae: reads the model where its hook says; its scale must be known (see ``Fit.sae``).
        asked: how shifted latents are found.
        tick: told what is done next.

    Raises:
        CheckpointError: activations are not finite, or the SAE has another width.
        ConfigError: the model has no such place, or something is missing.
        DataError: texts do not fit, or nothing is left of them.
    """
    where = place_of(setting.model, sae.hook)
    bos = sae.prepends_bos is not False
    found, findings = _run(setting, where, {"sts": sae}, asked, bos, tick)
    chosen, predicted = found["sts"]
    return Sts(
        predicted,
        chosen.table(),
        chosen.overlaps(),
        chosen.latents.tolist(),
        chosen.meter.activity.rates,
        [*findings, *_noticed(chosen, asked.latents)],
    )


def dictionaries(
    setting: Setting,
    asked: Asked = DEFAULT,
    *,
    sae: Sae | None = None,
    tick: Tick = lambda _: None,
) -> tuple[list[Predicted], list[Finding]]:
    """Score the domain texts with other dictionaries in the SAE's place, each beside its null.

    Raw dimensions of the activations, their principal components, and random directions, as many as
    the SAE has latents; all are read in the same passes, at the SAE's place or ``setting.layer``,
    and what shifts is found as it is of the SAE.
    """
    loaded = setting.model
    blocks = int(loaded.model.config.get_text_config().num_hidden_layers)
    layer = blocks // 2 if setting.layer is None else setting.layer
    hook = Hook(layer) if sae is None else sae.hook
    where = place_of(loaded, hook)
    bos = sae is None or sae.prepends_bos is not False
    others = _others(setting, where, sae, bos=bos)
    others = {name: replace(one, hook=hook) for name, one in others.items()}
    found, findings = _run(setting, where, others, asked, bos, tick)
    return [one for _, predicted in found.values() for one in predicted], findings


def _run(
    setting: Setting,
    where: Site,
    saes: Mapping[str, Sae],
    asked: Asked,
    bos: bool,
    tick: Tick,
) -> tuple[dict[str, tuple[Chosen, list[Predicted]]], list[Finding]]:
    own = [sae.to(setting.model.device) for sae in saes.values()]
    reader, reference = Reader(setting.model, where, setting.batcher), setting.sample
    _, rows = bare(setting, reader, reference or setting.texts, bos=bos)
    if not rows:
        raise DataError(
            f"none of {len(reference)} SFT prompts fits into the context of "
            f"{setting.engine.context} tokens"
        )
    reader.calibrate(rows, setting.chances(10))
    _check_width(setting, reader, rows[:1], own)
    first = Reader(setting.model, where, setting.batcher, reader.median)
    tick("latents that shift")
    meters = _meters(setting, first, own, asked, bos)
    chosen = [choose(setting, meter, asked.latents) for meter in meters]
    if not any(len(one.latents) for one in chosen):
        raise DataError(
            f"no latent shifts at all (--shift {asked.shift})",
            remedy="are both models, or both answers, the same?",
        )
    second = Reader(setting.model, where, setting.batcher, reader.median)
    tick("scores of domains")
    means = domain_means(setting, second, chosen, bos=bos)
    _refuse_empty(setting, means[0].tokens)
    found = {}
    for prefix, one, mean in zip(saes, chosen, means, strict=True):
        predicted = score(setting, one, mean, prefix, TITLES[prefix])
        if prefix == "sts":
            tick("direction of the change")
            predicted += signed(setting, second, one, bos=bos)
        found[prefix] = one, predicted
    return found, [*first.counts.findings("SFT"), *second.counts.findings("domains")]


def _meters(
    setting: Setting, reader: Reader, saes: Sequence[Sae], asked: Asked, bos: bool
) -> list[Meter]:
    if asked.shift == "icl":
        return icl(setting, reader, saes, bos=bos, unrelated=asked.unrelated)
    if asked.shift == "rollout":
        return answers.rollout(setting, reader, saes, asked.rollouts, bos=bos)
    if asked.shift == "sft":
        if asked.tuned is None:
            raise ConfigError("--shift sft needs the tuned model", remedy="give --tuned MODEL.")
        tuned = _tuned(reader, asked.tuned, saes[0])
        return ways.sft(setting, reader, tuned, saes, bos=bos)
    found = {
        "icl_content": icl_content,
        "icl_unaligned": icl_unaligned,
        "answer": answers.answer,
        "grad": ways.grad,
    }
    if asked.shift not in found:
        raise ConfigError(f"--shift {asked.shift!r}: {nearest(asked.shift, [*found, *MORE])}")
    return found[asked.shift](setting, reader, saes, bos=bos)


def _tuned(reader: Reader, tuned: Loaded, sae: Sae) -> Reader:
    """Give a reader of the tuned model at the same place; its sinks are judged as the base's."""
    where = place_of(tuned, sae.hook)
    return Reader(tuned, where, reader.batcher, reader.median)


def _others(setting: Setting, where: Site, sae: Sae | None, *, bos: bool) -> dict[str, Sae]:
    reader = Reader(setting.model, where, setting.batcher)
    _, rows = bare(setting, reader, setting.sample, bos=bos)
    reader.calibrate(rows, setting.chances(10))
    (x,) = reader.spans(rows[:1])
    width = int(x.shape[1])
    seen = Covariance(width)
    for at in range(0, len(rows), 32):
        xs = reader.spans(rows[at : at + 32])
        for x, ok in zip(xs, reader.kept(xs), strict=True):
            seen.add(x[ok])
    count = DIRECTIONS if sae is None else sae.latents
    return {
        "raw": raw(width),
        "pca": pca(seen, min(width, COMPONENTS)),
        "random": random_dictionary(width, count, setting.seed, mean=_tensor(seen.mean())),
    }


def _tensor(values: Floats) -> object:
    import torch

    return torch.from_numpy(values)


def _check_width(
    setting: Setting, reader: Reader, rows: Sequence[object], saes: Sequence[Sae]
) -> None:
    (x,) = reader.spans(rows)  # type: ignore[arg-type]
    for sae in saes:
        if x.shape[1] != sae.width:
            raise CheckpointError(
                f"reads activations of width {sae.width}, and the model's are {x.shape[1]} wide at "
                f"{reader.where.name}",
                where=sae.source,
                remedy="was it made for another model, or another place in this one?",
            )


def _refuse_empty(setting: Setting, tokens: Floats) -> None:
    for domain, members in setting.groups.items():
        if not np.any(tokens[members] > 0):
            raise DataError(
                f"no text of the domain {domain!r} has a token that counts",
                where=setting.texts[members[0]].place or None,
                remedy="its prompts are empty, longer than the context, or of unusual norm alone.",
            )


def _noticed(chosen: Chosen, wanted: int) -> list[Finding]:
    found = []
    n, null = len(chosen.latents), chosen.overlaps().row(0, named=True)
    if n < wanted:
        detail = f"{n} latents count as shifted, not {wanted}: the dictionary has no more to give"
        found.append(Finding("few_latents", detail, count=n))
    if n and null["overlap"] > n / 2:
        detail = f"{null['overlap']:.0f} of {n} shifted latents are also found with {null['null']}"
        found.append(Finding("shift_is_null", detail))
    if null["residual"] is not None:
        detail = (
            f"what the SAE does not express is {null['residual']:.0%} of the shift of activations, "
            "squared (0 % for a perfect SAE; above 100 % it misleads)"
        )
        found.append(Finding("residual", detail, "warn" if null["residual"] > 0.5 else "info"))
    return found
