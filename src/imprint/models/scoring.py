"""Scoring requests with all that they share read once, where the model allows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from imprint.models.batching import Batcher, memory_ran_out
from imprint.models.engine import Likelihood
from imprint.models.load import Loaded
from imprint.models.plain import score_plainly
from imprint.models.plan import Family, plan
from imprint.models.requests import Request
from imprint.models.shared import TRUNK, score_family
from imprint.models.sharing import shareable
from imprint.progress import note

# nats per token that two orders of the same sums may differ by
TOLERANCE = {"float64": 1e-6, "float32": 1e-3, "float16": 0.05, "bfloat16": 0.3}


@dataclass
class Scorer:
    """Scores requests with one model.

    Before anything is shared for the first time, and again before keys and values are first kept,
    one row of requests is scored both ways. Where they differ nothing is shared, and this is said.

    Attributes:
        loaded: model and tokenizer.
        batcher: puts requests together, and remembers when memory was short.
        share: whether to share at all.
    """

    loaded: Loaded
    batcher: Batcher = field(default_factory=Batcher)
    share: bool = True
    _compared: set[bool] = field(default_factory=set)

    def score(self, requests: Sequence[Request]) -> list[Likelihood]:
        """Give the likelihood of each request's targets, in order.

        Raises:
            OutOfMemoryError: one request alone does not fit into memory.
        """
        families, alone = self._plan(requests)
        found = dict(zip(alone, self._plain(requests, alone), strict=True))
        for family in families:
            found.update(score_family(self.loaded, family, requests, self.batcher))
        return [found[number] for number in range(len(requests))]

    def _plan(self, requests: Sequence[Request]) -> tuple[list[Family], list[int]]:
        limit = shareable(self.loaded.model) if self.share else 0
        families, alone = plan(requests, float("inf") if limit is None else limit)
        for family in families:
            keeps = _keeps(family, requests)
            if self.share and keeps not in self._compared:
                self._compared.add(keeps)
                self.share = self._exact(family, requests)
                if not self.share:
                    note("this model cannot share contexts exactly; options are scored one by one")
        if not self.share:
            return [], list(range(len(requests)))
        return families, alone

    def _plain(self, requests: Sequence[Request], numbers: list[int]) -> list[Likelihood]:
        return score_plainly(self.loaded, [requests[number] for number in numbers], self.batcher)

    def _exact(self, family: Family, requests: Sequence[Request]) -> bool:
        """Score a row both ways."""
        longest = max(family.rows, key=lambda row: max(len(requests[n].ids) for n in row))
        one = Family(family.skip, [longest])
        plain = self._plain(requests, longest)
        try:
            shared = score_family(self.loaded, one, requests, self.batcher)
        except Exception as failed:
            if memory_ran_out(failed):
                raise
            return False
        kind = str(self.loaded.model.dtype).removeprefix("torch.")
        allowed = TOLERANCE.get(kind, 0.3)
        return all(
            abs(shared[number].logprob - other.logprob) <= allowed * (1 + other.tokens)
            for number, other in zip(longest, plain, strict=True)
        )


def _keeps(family: Family, requests: Sequence[Request]) -> bool:
    """Tell whether keys and values are kept for a family: of its beginning, or of long contexts."""
    numbers = [number for row in family.rows for number in row]
    longest = max(len(requests[n].ids) - len(requests[n].targets) for n in numbers)
    return bool(family.skip) or longest >= TRUNK
