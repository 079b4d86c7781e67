"""RL prompts of the world: one right answer each, word for word, graded by skill and level."""

from __future__ import annotations

from typing import Any

from imprint.lab.world.domains import Dealt
from imprint.lab.world.world import World


def rl_rows(world: World, dealt: list[Dealt]) -> list[dict[str, Any]]:
    """Give the rows of ``rl.jsonl``, all domains mixed.

    Returns:
        Rows of ``id``, ``prompt``, ``answer``, ``skill``, ``level`` (1 to 4) and ``domain``.
    """
    rows = [
        {
            "id": f"{part.domain.name}-{at:03d}",
            "prompt": one.prompt,
            "answer": one.answer,
            "skill": one.skill,
            "level": one.level,
            "domain": part.domain.name,
        }
        for part in dealt
        for at, one in enumerate(part.rl)
    ]
    return world.dice("rewards").shuffled(rows)
