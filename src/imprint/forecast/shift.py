"""Which latents SFT will shift, found without it or, as an oracle, after it.

A contrast is a pair of readings of the same queries; its latents are ranked by the change of their
means over query spans. Each way to find them has draws, which tell how stable the set is, and a
null, which tells what would be found where there is nothing to find:

=================  ==========================  ===============================================
mode               change                      null
=================  ==========================  ===============================================
``icl``            behind demonstrations       behind demonstrations of shuffled tokens, of
                   less bare, same tokens      equal length; with answers dealt out anew
``icl_content``    behind demonstrations       the same tokens shuffled in two ways
                   less behind their tokens
                   shuffled
``sft``            tuned less base model       signs of changes drawn (base against base is
                                               exactly nothing)
``answer``         gold answer less the        signs drawn
                   model's own, their tokens
``rollout``        best less worst sample of   signs drawn
                   a prompt, their tokens
``grad``           gradient of the SFT loss    gradient with answers dealt out anew
                   along decoder directions
``icl_unaligned``  row by row, whatever        two halves of the bare tokens
                   token stands there
=================  ==========================  ===============================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from imprint.errors import ConfigError, DataError, require
from imprint.forecast.contexts import (
    ALL,
    Contexts,
    Key,
    bare,
    behind,
    change,
    demonstrations,
    halves,
    read,
    room_before,
)
from imprint.forecast.features import POOLED, Reader, chunks, pooled
from imprint.forecast.gradients import answer_gradients
from imprint.forecast.material import Text
from imprint.forecast.meter import Mean, Meter
from imprint.forecast.rendering import Rendered, render, scrambled
from imprint.forecast.rollouts import Rollout, contrasted
from imprint.forecast.setting import Setting
from imprint.saes import Sae

SHUFFLES = 2  # draws in which answers are dealt out anew: each costs a pass over the queries
OWN_TOKENS = 128  # tokens of the model's own answers at most


def icl(
    setting: Setting,
    reader: Reader,
    saes: Sequence[Sae],
    *,
    bos: bool,
    unrelated: Sequence[Text] = (),
    nulls: bool = True,
) -> list[Meter]:
    """Contrast SFT prompts behind demonstrations with the same prompts bare.

    Args:
        setting: SFT examples, draws, demonstrations.
        reader: of the model.
        saes: dictionaries that read the same place.
        bos: whether texts begin with the start of text.
        unrelated: texts whose words stand in place of the demonstrations under the null, cut to
            their length; by default the demonstrations' own tokens, shuffled.
        nulls: read the queries in the contexts of the null too.

    Raises:
        DataError: demonstrations or queries do not fit into the context.
    """
    numbers, rows = bare(setting, reader, setting.sample, bos=bos)
    refuse_none(rows)
    texts = [setting.sample[n] for n in numbers]
    shown = _contexts(setting, texts, rows, bos, unrelated)
    contexts = Contexts(rows, {k: v for k, v in shown.items() if nulls or k[0] == "shift"})
    contexts.check()
    kinds = dict.fromkeys(kind for kind, _ in contexts.shown)
    keys = [*contexts.shown, *((kind, ALL) for kind in kinds)]
    meters = [Meter(sae, keys) for sae in saes]
    for chunk, passes in read(reader, contexts, max(sae.latents for sae in saes)):
        base = [pooled(m.sae, m.sae.latents, chunk.xs, chunk.oks, seen=m.activity) for m in meters]
        means = [Mean() for _ in meters]
        for key, one in passes:
            for meter, before, mean in zip(meters, base, means, strict=True):
                d = change(meter.sae, meter.sae.latents, chunk, before[0], one)
                meter.add(key, d)
                mean.add(key[0], d)
                if key == ("shift", 0):
                    meter.lose(_moved(chunk, one), d)
        for meter, mean in zip(meters, means, strict=True):
            for kind, d in mean.items():
                meter.add((kind, ALL), d)
    return meters


def sft(
    setting: Setting, reader: Reader, tuned: Reader, saes: Sequence[Sae], *, bos: bool
) -> list[Meter]:
    """Contrast SFT prompts read by the tuned model with the same read by the base (oracle).

    The same SAE, of the base, reads both.
    """
    _, rows = bare(setting, reader, setting.sample, bos=bos)
    refuse_none(rows)
    meters = _halved(setting, saes, "flipped")
    contexts = Contexts(rows, {("shift", 0): list(rows)})
    for chunk, shown in read(reader, contexts, max(sae.latents for sae in saes), {"shift": tuned}):
        base = [pooled(m.sae, m.sae.latents, chunk.xs, chunk.oks, seen=m.activity) for m in meters]
        for _, one in shown:
            for meter, before in zip(meters, base, strict=True):
                d = change(meter.sae, meter.sae.latents, chunk, before[0], one)
                _add_halves(setting, meter, d, chunk.numbers, len(rows))
                meter.lose(_moved(chunk, one), d)
    return meters


def answer(setting: Setting, reader: Reader, saes: Sequence[Sae], *, bos: bool) -> list[Meter]:
    """Contrast gold answers with the model's own, both behind their prompt."""
    numbers, rows = bare(setting, reader, setting.sample, bos=bos)
    refuse_none(rows)
    sample = [setting.sample[n] for n in numbers]
    left = setting.engine.context - max(len(one.ids) for one in rows)
    prompts = [setting.prompter.context(text.prompt) for text in sample]
    # encoded anew behind its prompt, what the model said may have more tokens than it had
    most = max(1, min(OWN_TOKENS, left // 2))
    made = setting.engine.generate(prompts, max_new_tokens=most, seed=setting.seed)
    own = [one.text.strip() for one in made]
    pairs = []
    for text, said in zip(sample, own, strict=True):
        if said and text.answer and said != text.answer.strip():
            pairs.append((replace(text, answer=said), text))
        else:
            reader.counts.leave_out("unlike", text.place)
    return _answers(setting, reader, saes, pairs, bos=bos)


def rollout(
    setting: Setting, reader: Reader, saes: Sequence[Sae], rollouts: Sequence[Rollout], *, bos: bool
) -> list[Meter]:
    """Contrast the best with the worst sample of each prompt.

    Raises:
        DataError: no prompt has samples of different rewards.
    """
    return _answers(setting, reader, saes, contrasted(rollouts), bos=bos)


def grad(setting: Setting, reader: Reader, saes: Sequence[Sae], *, bos: bool) -> list[Meter]:
    """Project the gradient of gold SFT answers at their prompts on decoder directions; signed.

    A step against the loss moves activations along it; the length of the step is not known, so
    values compare with each other only.

    Raises:
        ConfigError: the dictionary is a transcoder, whose decoder writes elsewhere than it reads.
        DataError: no answer fits into the context.
    """
    if any(sae.transcodes for sae in saes):
        raise ConfigError("--shift grad needs an SAE, not a transcoder", remedy="use --shift icl.")
    torch = require("torch", "models")
    sample = setting.sample
    order = setting.chances(4, 0).permutation(len(sample))
    dealt = [replace(one, answer=sample[n].answer) for one, n in zip(sample, order, strict=True)]
    _, rows = bare(setting, reader, sample, bos=bos)
    meters = _halved(setting, saes, "shuffled")
    _count_activity(reader, meters, rows)
    for kind, texts in (("shift", sample), ("shuffled", dealt)):
        slopes = torch.from_numpy(answer_gradients(setting, reader, texts, bos=bos)).float()
        if not bool(torch.isfinite(slopes).any()):
            raise DataError("no SFT answer fits into the context behind its prompt")
        if kind == "shift":
            for n in np.flatnonzero(np.isnan(slopes[:, 0].numpy())):
                reader.counts.leave_out("beyond", texts[n].place)
        for meter in meters:
            most = max(1, POOLED // meter.sae.latents)
            for at in range(0, len(texts), most):
                part = slopes[at : at + most].to(meter.sae.w_dec.device)
                d = part @ meter.sae.w_dec.float().T
                numbers = np.arange(at, at + len(part))
                _add_halves(setting, meter, d, numbers, len(texts), only=kind)
    return meters


def _contexts(
    setting: Setting,
    texts: Sequence[Text],
    rows: Sequence[Rendered],
    bos: bool,
    unrelated: Sequence[Text],
) -> dict[Key, list[Rendered | None]]:
    room = room_before(setting, rows)
    special = list(setting.model.tokenizer.all_special_ids)
    found: dict[Key, list[Rendered | None]] = {}
    for draw in range(setting.draws):
        shots = demonstrations(setting, draw, room)
        shown = behind(setting, texts, shots, bos=bos)
        if not any(shown):
            raise DataError(
                "no SFT prompt fits into the context behind demonstrations",
                remedy="ask for fewer --demonstrations, or use --shift grad.",
            )
        found["shift", draw] = shown
        words = _words(setting, unrelated, draw)
        found["scrambled", draw] = [
            None
            if one is None
            else _foreign(one, special, words)
            if words
            else scrambled(one, special, setting.chances(6, draw))
            for one in shown
        ]
        if draw < SHUFFLES:
            dealt = _dealt(setting, shots, draw)
            found["shuffled", draw] = [
                None if one is None else again
                for one, again in zip(shown, behind(setting, texts, dealt, bos=bos), strict=True)
            ]
    order = ("shift", "scrambled", "shuffled")
    return {key: found[key] for key in sorted(found, key=lambda k: (order.index(k[0]), k[1]))}


def _dealt(setting: Setting, shots: Sequence[Text], draw: int) -> list[Text]:
    """Give demonstrations the answers of other examples."""
    chances, all_ = setting.chances(2, draw), setting.material.sft
    found = []
    for one in shots:
        others = [other.answer for other in all_ if other.answer != one.answer] or [one.answer]
        found.append(replace(one, answer=others[chances.integers(len(others))]))
    return found


def _words(setting: Setting, unrelated: Sequence[Text], draw: int) -> list[int]:
    if not unrelated:
        return []
    order = setting.chances(6, draw).permutation(len(unrelated))
    words = "\n\n".join(unrelated[n].prompt for n in order[:64])
    return list(setting.engine.encoder.encode(words, special=False))


def _foreign(row: Rendered, special: Sequence[int], words: Sequence[int]) -> Rendered:
    """Put other words in place of what stands before the query, as long as it was."""
    known, ids = set(special), list(row.ids)
    for n, at in enumerate(at for at in range(row.query.start) if row.ids[at] not in known):
        ids[at] = words[n % len(words)]
    return replace(row, ids=tuple(ids))


def _moved(chunk: Any, one: Any) -> Any:
    """Give the change of the mean activation over each span, [texts, width]; NaN where not read."""
    torch = require("torch", "models")
    found = torch.full((len(chunk.xs), chunk.xs[0].shape[1]), torch.nan, device=chunk.xs[0].device)
    for place, y, ok in zip(one.own, one.ys, one.both, strict=True):
        found[place] = y[ok].mean(0) - chunk.xs[place][ok].mean(0)
    return found


def _halved(setting: Setting, saes: Sequence[Sae], null: str) -> list[Meter]:
    keys = [(kind, draw) for kind in ("shift", null) for draw in (*range(setting.draws), ALL)]
    return [Meter(sae, keys) for sae in saes]


def _add_halves(
    setting: Setting, meter: Meter, d: Any, numbers: Any, n: int, only: str | None = None
) -> None:
    """Count changes in the random half of each draw, and under the null with signs drawn."""
    torch = require("torch", "models")
    for kind, draw in meter.keys:
        if only is not None and kind != only:
            continue
        w = np.ones(n) if draw == ALL else halves(setting, draw, n).astype(np.float64)
        if kind == "flipped":
            w = w * setting.chances(7, draw + 1).choice([-1.0, 1.0], n)
        meter.add((kind, draw), d, torch.from_numpy(w[numbers]))


def _answers(
    setting: Setting,
    reader: Reader,
    saes: Sequence[Sae],
    pairs: Sequence[tuple[Text, Text]],
    *,
    bos: bool,
) -> list[Meter]:
    """Contrast two answers of the same prompt, each by the mean over its own tokens."""

    def rendered(text: Text) -> Rendered:
        tokenizer = setting.model.tokenizer
        return render(tokenizer, setting.prompter, text, answer=text.answer, bos=bos)

    rows = []
    for before, after in pairs:
        both = rendered(before), rendered(after)
        if all(one.answer and len(one.ids) <= setting.engine.context for one in both):
            rows.append(both)
        else:
            reader.counts.leave_out("beyond", after.place)
    refuse_none(rows)
    meters = _halved(setting, saes, "flipped")
    longest = [max(pair, key=lambda one: len(one.ids)) for pair in rows]
    for numbers in chunks(longest, max(sae.latents for sae in saes), reader.tokens):
        sides = [reader.spans([rows[n][side] for n in numbers], span="answer") for side in (0, 1)]
        oks = [reader.kept(xs) for xs in sides]
        for meter in meters:
            latents = meter.sae.latents
            low = pooled(meter.sae, latents, sides[0], oks[0], seen=meter.activity)[0]
            high = pooled(meter.sae, latents, sides[1], oks[1])[0]
            _add_halves(setting, meter, high - low, numbers, len(rows))
        reader.count([rows[n][1] for n in numbers], oks[1])
    return meters


def _count_activity(reader: Reader, meters: Sequence[Meter], rows: Sequence[Rendered]) -> None:
    for numbers in chunks(rows, max(m.sae.latents for m in meters), reader.tokens):
        part = [rows[n] for n in numbers]
        xs = reader.spans(part)
        oks = reader.kept(xs)
        reader.count(part, oks)
        for meter in meters:
            pooled(meter.sae, meter.sae.latents, xs, oks, seen=meter.activity)


def refuse_none(rows: Sequence[Any]) -> None:
    """Refuse to make statistics of fewer than two queries.

    Raises:
        DataError: there are fewer.
    """
    if len(rows) < 2:
        raise DataError(
            f"{len(rows)} SFT examples are left to contrast, and statistics need two at least",
            remedy="give more examples, shorter ones, or another --shift.",
        )
