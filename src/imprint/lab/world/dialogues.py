"""SFT dialogues of the world: the exchanges of all domains, and sets that teach some of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from imprint.lab.world.domains import DOMAINS, Dealt
from imprint.lab.world.world import World

GROUPS = tuple(dict.fromkeys(domain.group for domain in DOMAINS))


def sft_rows(world: World, dealt: list[Dealt], group: str | None = None) -> list[dict[str, Any]]:
    """Give SFT rows, all domains mixed.

    Args:
        world: decides the order.
        dealt: exchanges of all domains.
        group: only the domains of this group, as ``sft_sets/GROUP.jsonl`` has them.

    Returns:
        Rows of ``messages`` (user, assistant), ``skill`` and ``domain``.
    """
    rows = [row for part in dealt if group in (None, part.domain.group) for row in _rows(part)]
    return world.dice("dialogues", group or "").shuffled(rows)


def _rows(part: Dealt) -> Iterator[dict[str, Any]]:
    for one in part.sft:
        yield {
            "messages": [
                {"role": "user", "content": one.prompt},
                {"role": "assistant", "content": one.answer},
            ],
            "skill": one.skill,
            "domain": part.domain.name,
        }
