"""Latents that demonstrations shift in the query behind them, on the same tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from imprint.errors import DataError
from imprint.forecast.contexts import ALL, Contexts, Key, bare, change, moved, read, refuse_none
from imprint.forecast.demonstrations import Demonstrations, behind
from imprint.forecast.features import Reader, pooled
from imprint.forecast.material import Text
from imprint.forecast.meter import Mean, Meter
from imprint.forecast.rendering import Rendered, scrambled
from imprint.forecast.setting import Setting
from imprint.forecast.spans import Counts
from imprint.saes import Sae

SHUFFLES = 2  # draws in which answers are dealt out anew: each costs a pass over the queries


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
    shown = _contexts(setting, texts, rows, bos, unrelated, reader.counts)
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
                    meter.lose(moved(chunk, one), d)
        for meter, mean in zip(meters, means, strict=True):
            for kind, d in mean.items():
                meter.add((kind, ALL), d)
    return meters


def _contexts(
    setting: Setting,
    texts: Sequence[Text],
    rows: Sequence[Rendered],
    bos: bool,
    unrelated: Sequence[Text],
    counts: Counts,
) -> dict[Key, list[Rendered | None]]:
    drawn, null = Demonstrations(setting, rows, counts), "unrelated" if unrelated else "scrambled"
    special = list(setting.model.tokenizer.all_special_ids)
    found: dict[Key, list[Rendered | None]] = {}
    for draw in range(setting.draws):
        shots = drawn.drawn(draw)
        shown = behind(setting, texts, shots, bos=bos)
        if not any(shown):
            raise DataError(
                "no SFT prompt fits into the context behind demonstrations",
                remedy="ask for fewer --demonstrations, or use --shift grad.",
            )
        found["shift", draw] = shown
        words = _words(setting, unrelated, draw)
        found[null, draw] = [
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
    order = ("shift", null, "shuffled")
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
