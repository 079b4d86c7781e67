"""imprint's choice scoring as a backend of lm-eval, under the name ``imprint``.

The backend is lm-eval's own ``hf`` with one step replaced: log-likelihoods are computed with the
contexts and few-shot examples that requests share read once. Loading, tokens, chat templates,
generation and the recorded settings stay those of ``hf``.

Releases that know entry points find the backend by themselves. With others, call this module in
place of lm-eval: ``python -m imprint.integrations.lm_eval --model imprint --tasks …``.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

# lm-eval lists its own backends only while none is registered, so they have to come first
import torch
from lm_eval.api.registry import register_model
from lm_eval.models.huggingface import HFLM
from tqdm import tqdm

from imprint.checkpoints import parse_reference
from imprint.models import Dtype, Loaded, load
from imprint.models.batching import Batcher
from imprint.models.local import windows
from imprint.models.requests import Request, cut
from imprint.models.scoring import Scorer

LOG = logging.getLogger(__name__)
BLOCK = 4096  # requests after which answers are handed over, so that a cache can keep them
DTYPES: dict[str, Dtype] = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}
Tokens = tuple[tuple[str, str] | None, list[int], list[int]]


@register_model("imprint")
class ImprintLM(HFLM):  # type: ignore[misc]
    """A Hugging Face model in lm-eval, its log-likelihoods computed with shared contexts.

    Takes every argument of lm-eval's ``hf``. ``pretrained`` may also be written
    ``PATH_OR_REPO@REVISION`` or ``…+ADAPTER``; such an adapter is merged in float32. Of the batch
    size only generation takes notice: scoring fills batches by tokens and halves them when memory
    runs out.
    """

    def __init__(self, pretrained: str | Any, **settings: Any):
        if isinstance(pretrained, str):
            pretrained, settings = _named(pretrained, settings)
        super().__init__(pretrained, **settings)

    @cached_property
    def scorer(self) -> Scorer:
        """Computes log-likelihoods."""
        loaded = Loaded(self.model, self.tokenizer, Path(str(self.pretrained)))
        return Scorer(loaded, Batcher.on(self.device))

    def _loglikelihood_tokens(
        self,
        requests: Sequence[Tokens],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> list[tuple[float, bool]]:
        if self.backend != "causal":
            found: list[tuple[float, bool]] = super()._loglikelihood_tokens(
                requests, disable_tqdm, override_bs
            )
            return found
        answers: list[tuple[float, bool]] = []
        too_long = 0
        with tqdm(
            total=len(requests),
            desc="Running loglikelihood requests",
            disable=disable_tqdm or self.rank != 0,
        ) as bar:
            for at in range(0, len(requests), BLOCK):
                block = requests[at : at + BLOCK]
                asked = [cut(context, option, self.max_length) for _, context, option in block]
                too_long += sum(one.cut > 0 for one in asked)
                answers += self._scored(asked)
                for (texts, _, _), answer in zip(block, answers[at:], strict=True):
                    if texts is not None:
                        self.cache_hook.add_partial("loglikelihood", texts, answer)
                bar.update(len(block))
        if too_long:
            LOG.warning(
                "%d of %d requests were longer than %d tokens and cut from the left",
                too_long,
                len(requests),
                self.max_length,
            )
        return answers

    def _scored(self, requests: list[Request]) -> list[tuple[float, bool]]:
        mixed = self.mixed_precision_dtype
        with torch.autocast(self.device.type, mixed) if mixed is not None else nullcontext():
            return [(one.logprob, one.greedy) for one in self.scorer.score(requests)]

    def loglikelihood_rolling(
        self, requests: Sequence[Any], disable_tqdm: bool = False
    ) -> list[float]:
        """Score whole texts in the windows of ``hf``, those of all texts in shared batches."""
        if self.backend != "causal":
            found: list[float] = super().loglikelihood_rolling(requests, disable_tqdm)
            return found
        pieces = [
            (number, piece)
            for number, request in enumerate(requests)
            for piece in windows(
                self.tok_encode(request.args[0]), self.prefix_token_id, self.max_length
            )
        ]
        totals = [0.0] * len(requests)
        scored = self._scored([piece for _, piece in pieces])
        for (number, _), (logprob, _) in zip(pieces, scored, strict=True):
            totals[number] += logprob
        for request, total in zip(requests, totals, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return totals


def _named(pretrained: str, settings: dict[str, Any]) -> tuple[str | Any, dict[str, Any]]:
    """Read a reference: a model with an adapter is loaded here, any other by lm-eval."""
    reference = parse_reference(pretrained)
    if reference.adapter is None:
        revision = {"revision": reference.revision} if reference.revision else {}
        return reference.source, {**settings, **revision}
    dtype = DTYPES.get(str(settings.pop("dtype", None)).removeprefix("torch."))
    loaded = load(
        pretrained,
        dtype=dtype,
        device=settings.pop("device", None),
        trust_remote_code=bool(settings.pop("trust_remote_code", False)),
    )
    return loaded.model, {"tokenizer": loaded.tokenizer, **settings}


def run(arguments: Sequence[str]) -> None:
    """Run lm-eval's command line; a run that names no backend takes ``imprint``.

    Args:
        arguments: what would follow ``lm-eval``.
    """
    from lm_eval.__main__ import cli_evaluate

    given = list(arguments)
    runs = bool(given) and (given[0] == "run" or given[0].startswith("--"))
    named = any(one in ("-M", "--model") or one.startswith("--model=") for one in given)
    asks = any(one in ("-h", "--help") for one in given)
    sys.argv = [
        "lm-eval",
        *given,
        *(["--model", "imprint"] if runs and not (named or asks) else []),
    ]
    cli_evaluate()


if __name__ == "__main__":
    run(sys.argv[1:])
