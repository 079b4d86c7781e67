"""Latents that two answers of the same prompt differ in, each by the mean over its own tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from imprint.forecast.contexts import bare, refuse_none
from imprint.forecast.features import Reader, chunks, pooled
from imprint.forecast.halves import add_halves, halved
from imprint.forecast.material import Text
from imprint.forecast.meter import Meter
from imprint.forecast.rendering import Rendered, render
from imprint.forecast.rollouts import Rollout, contrasted
from imprint.forecast.setting import Setting
from imprint.saes import Sae

OWN_TOKENS = 128  # tokens of the model's own answers at most


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
    meters = halved(setting, saes, "flipped")
    longest = [max(pair, key=lambda one: len(one.ids)) for pair in rows]
    for numbers in chunks(longest, max(sae.latents for sae in saes), reader.tokens):
        sides = [reader.spans([rows[n][side] for n in numbers], span="answer") for side in (0, 1)]
        oks = [reader.kept(xs) for xs in sides]
        for meter in meters:
            latents = meter.sae.latents
            low = pooled(meter.sae, latents, sides[0], oks[0], seen=meter.activity)[0]
            high = pooled(meter.sae, latents, sides[1], oks[1])[0]
            add_halves(setting, meter, high - low, numbers, len(rows))
        reader.count([rows[n][1] for n in numbers], oks[1])
    return meters
