"""Which tokens count: a query's own, without those whose norm is far above the others'.

Some tokens, mostly the first, draw attention without saying anything and have norms a hundred times
the median (Sun et al. 2024, arXiv 2402.17762); squared statistics would be theirs alone. A token is
such a sink where its norm is above ten times the median.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from imprint.findings import Finding

SINK = 10.0  # times the median norm
LISTED = 8  # domains that a finding names


@dataclass(slots=True)
class Counts:
    """What was read and what was left out.

    Attributes:
        texts: renderings whose tokens count.
        tokens: tokens that count.
        outside: tokens of BOS, template, demonstrations and system prompt.
        sinks: tokens of a query left out for their norm.
        beyond: texts longer than the model's context, left out whole.
        empty: texts without a token that counts.
        crowded: texts that are read behind demonstrations in no draw.
        unlike: texts without two answers to contrast.
        long: answered texts that never stand before a query, for want of room.
        few: domain → the fewest answered texts before its queries, where that is less than wanted.
        wanted: how many that would be.
        where: the first text left out.
    """

    texts: int = 0
    tokens: int = 0
    outside: int = 0
    sinks: int = 0
    beyond: int = 0
    empty: int = 0
    crowded: int = 0
    unlike: int = 0
    long: int = 0
    few: dict[str, int] = field(default_factory=dict)
    wanted: int = 0
    where: dict[str, str] = field(default_factory=dict)

    def leave_out(self, why: str, place: str) -> None:
        """Count a text that is left out, by the name of one of these counts."""
        setattr(self, why, getattr(self, why) + 1)
        self.where.setdefault(why, place)

    def stand_before(self, domain: str, count: int, wanted: int) -> None:
        """Count a draw of answered texts that stand before the queries of a domain."""
        if count < wanted:
            self.few[domain] = min(count, self.few.get(domain, count))
            self.wanted = wanted

    def add(self, tokens: int, span: int, counted: int) -> None:
        """Count a text of so many tokens, so many of them the query's, so many of these counted."""
        self.texts += 1
        self.tokens += counted
        self.outside += tokens - span
        self.sinks += span - counted

    def findings(self, what: str) -> list[Finding]:
        """Say what was left out of some texts."""
        found = []
        if self.tokens or self.sinks:
            detail = (
                f"{what}: {self.tokens:,} tokens of {self.texts:,} readings count; left out are "
                f"{self.sinks:,} of unusual norm and {self.outside:,} of template and context"
            )
            found.append(Finding("tokens", detail, "info", count=self.tokens))
        for why, words in (
            ("beyond", "do not fit into the model's context and are left out"),
            ("empty", "have no token that counts and are left out"),
            ("crowded", "do not fit behind demonstrations, or always are some, and show no shift"),
            ("unlike", "lack a second answer to contrast and are left out"),
            ("long", "with their answers are too long to stand before a query and never do"),
        ):
            count = getattr(self, why)
            if count:
                detail = f"{what}: {count:,} texts {words}, the first at {self.where[why]}"
                found.append(Finding(f"{why}_span", detail, count=count))
        return found + self._few(what)

    def _few(self, what: str) -> list[Finding]:
        if not self.few:
            return []
        listed = ", ".join(f"{name!r}: {count}" for name, count in [*self.few.items()][:LISTED])
        detail = (
            f"{what}: in {len(self.few):,} of them fewer than {self.wanted} answered texts stand "
            f"before the others, for they are few or long ({listed}"
            + (", …)" if len(self.few) > LISTED else ")")
        )
        return [Finding("few_shots", detail, count=len(self.few))]


def kept(x: Any, median: float) -> Any:
    """Tell which activations [N, d] are no sinks, bool [N].

    Args:
        x: activations.
        median: of norms, see `median_norm`; 0 keeps all.
    """
    norms = x.float().norm(dim=-1)
    return norms <= SINK * median if median > 0 else norms >= 0


def median_norm(parts: Iterable[Any]) -> float:
    """Give the median norm of activations [N, d].

    It is taken once, from a drawn sample of texts read before all others, so that the same tokens
    count whatever the order and the batches in which texts are read afterwards.
    """
    norms = [x.float().norm(dim=-1).double().cpu() for x in parts]
    if not norms:
        return 0.0
    import torch

    return float(torch.cat(norms).median())
