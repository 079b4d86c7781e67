"""The corpora of a world: one truth in several registers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from imprint.lab.world.documents.code import Code
from imprint.lab.world.documents.material import Material
from imprint.lab.world.documents.noise import REMEMBERED, REPEATED, soiled
from imprint.lab.world.documents.prose import Prose
from imprint.lab.world.documents.scoring import Document, Likeness, best
from imprint.lab.world.documents.style import CODE, CURATED, FILTERED, RAW, Style
from imprint.lab.world.world import Quality, Register, World

STYLES = {"raw": RAW, "filtered": FILTERED, "curated": CURATED, "code": CODE}
TRAINED_ON = 2000  # documents of each kind that the scoring model has seen


def documents(
    world: World, register: Register, quality: Quality | None, count: int, seed: int = 0
) -> Iterator[Document]:
    """Write documents; see ``World.documents``."""
    if register == "web" and quality == "scored":
        return best(_endless(world, RAW, "candidates", seed), _likeness(world), count)
    style = STYLES[quality or "raw"] if register == "web" else STYLES[register]
    return islice(_endless(world, style, "documents", seed), count)


def _endless(world: World, style: Style, purpose: str, seed: int) -> Iterator[Document]:
    dice = world.dice(purpose, style.name, seed)
    material = Material(world, rare=style.rare)
    writer = (Code if style is CODE else Prose)(material, style, dice)
    recent: list[Document] = []
    while True:
        if style.noise and recent and dice.percent(REPEATED):
            yield dice.pick(recent)
            continue
        said, domain = writer.document()
        if style.noise:
            said = soiled(said, dice)
        found = (" ".join(said), domain)
        if style.noise:
            recent = [*recent[1 - REMEMBERED :], found]
        yield found


def _likeness(world: World) -> Likeness:
    seen = {
        style.name: [text for text, _ in islice(_endless(world, style, "likeness", 0), TRAINED_ON)]
        for style in (CURATED, RAW)
    }
    return Likeness(seen["curated"], seen["raw"])
