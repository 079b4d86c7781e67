"""What demonstrations say, apart from that something stands before the query.

Anything before a query changes its latents: positions, attention, style. In small models this
general effect outweighs the rest, and the null of ``icl`` finds most latents that ``icl`` finds.
Here a query behind demonstrations is contrasted with the same query behind the same tokens
shuffled, so that length, position and words are alike and their order alone differs. The null
contrasts two shufflings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from imprint.forecast.contexts import ALL, Contexts, Key, bare, change, read, refuse_none
from imprint.forecast.demonstrations import Demonstrations, behind
from imprint.forecast.features import Reader, pooled
from imprint.forecast.meter import Mean, Meter
from imprint.forecast.rendering import Rendered, scrambled
from imprint.forecast.setting import Setting
from imprint.forecast.spans import Counts
from imprint.saes import Sae

KINDS = ("shift", "scrambled", "again", "other")  # what a draw reads, in this order
# the null has shufflings of its own: with one in common both would find its latents
LESS = {"scrambled": "shift", "other": "again"}


def icl_content(setting: Setting, reader: Reader, saes: Sequence[Sae], *, bos: bool) -> list[Meter]:
    """Contrast SFT prompts behind demonstrations with the same behind the same tokens shuffled.

    Raises:
        DataError: demonstrations or queries do not fit into the context.
    """
    numbers, rows = bare(setting, reader, setting.sample, bos=bos)
    refuse_none(rows)
    contexts = Contexts(rows, _contexts(setting, numbers, rows, bos, reader.counts))
    contexts.check()
    draws = (*range(setting.draws), ALL)
    keys: list[Key] = [(kind, draw) for kind in ("shift", "again") for draw in draws]
    meters = [Meter(sae, keys) for sae in saes]
    for chunk, passes in read(reader, contexts, max(sae.latents for sae in saes)):
        base = [pooled(m.sae, m.sae.latents, chunk.xs, chunk.oks, seen=m.activity) for m in meters]
        means = [Mean() for _ in meters]
        held: list[dict[str, Any]] = [{} for _ in meters]
        for (kind, draw), one in passes:
            for meter, before, mean, parts in zip(meters, base, means, held, strict=True):
                d = change(meter.sae, meter.sae.latents, chunk, before[0], one)
                if kind in LESS:
                    name = LESS[kind]
                    d = parts.pop(name) - d
                    meter.add((name, draw), d)
                    mean.add(name, d)
                else:
                    parts[kind] = d
        for meter, mean in zip(meters, means, strict=True):
            for kind, d in mean.items():
                meter.add((kind, ALL), d)
    return meters


def _contexts(
    setting: Setting, numbers: Sequence[int], rows: Sequence[Rendered], bos: bool, counts: Counts
) -> dict[Key, list[Rendered | None]]:
    texts = [setting.sample[n] for n in numbers]
    special = list(setting.model.tokenizer.all_special_ids)
    drawn = Demonstrations(setting, rows, counts)
    found: dict[Key, list[Rendered | None]] = {}
    for draw in range(setting.draws):
        shown = behind(setting, texts, drawn.drawn(draw), bos=bos)
        for stream, kind in enumerate(KINDS):
            found[kind, draw] = [
                one
                if one is None or kind == "shift"
                else scrambled(one, special, setting.chances(6, draw, stream))
                for one in shown
            ]
    return found
