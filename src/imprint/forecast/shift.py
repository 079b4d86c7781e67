"""Which latents SFT will shift, found without it or, as an oracle, after it.

A contrast is a pair of readings of the same queries; its latents are ranked by the change of their
means over query spans. Each way to find them has draws, which tell how stable the set is, and a
null, which tells what would be found where there is nothing to find:

=================  ==========================  ===============================================
mode               change                      null
=================  ==========================  ===============================================
``icl``            behind demonstrations       behind demonstrations of shuffled tokens, of
                   less bare, same tokens      equal length (or of ``--unrelated`` texts); with
                                               answers dealt out anew
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

import numpy as np

from imprint.errors import ConfigError, DataError, require
from imprint.forecast.contexts import Contexts, bare, change, moved, read, refuse_none
from imprint.forecast.features import POOLED, Reader, chunks, pooled
from imprint.forecast.gradients import answer_gradients
from imprint.forecast.halves import add_halves, halved
from imprint.forecast.meter import Meter
from imprint.forecast.rendering import Rendered
from imprint.forecast.setting import Setting
from imprint.saes import Sae


def sft(
    setting: Setting, reader: Reader, tuned: Reader, saes: Sequence[Sae], *, bos: bool
) -> list[Meter]:
    """Contrast SFT prompts read by the tuned model with the same read by the base (oracle).

    The same SAE, of the base, reads both.
    """
    _, rows = bare(setting, reader, setting.sample, bos=bos)
    refuse_none(rows)
    meters = halved(setting, saes, "flipped")
    contexts = Contexts(rows, {("shift", 0): list(rows)})
    for chunk, shown in read(reader, contexts, max(sae.latents for sae in saes), {"shift": tuned}):
        base = [pooled(m.sae, m.sae.latents, chunk.xs, chunk.oks, seen=m.activity) for m in meters]
        for _, one in shown:
            for meter, before in zip(meters, base, strict=True):
                d = change(meter.sae, meter.sae.latents, chunk, before[0], one)
                add_halves(setting, meter, d, chunk.numbers, len(rows))
                meter.lose(moved(chunk, one), d)
    return meters


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
    meters = halved(setting, saes, "shuffled")
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
                add_halves(setting, meter, d, numbers, len(texts), only=kind)
    return meters


def _count_activity(reader: Reader, meters: Sequence[Meter], rows: Sequence[Rendered]) -> None:
    for numbers in chunks(rows, max(m.sae.latents for m in meters), reader.tokens):
        part = [rows[n] for n in numbers]
        xs = reader.spans(part)
        oks = reader.kept(xs)
        reader.count(part, oks)
        for meter in meters:
            pooled(meter.sae, meter.sae.latents, xs, oks, seen=meter.activity)
