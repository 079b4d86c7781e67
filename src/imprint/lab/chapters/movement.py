"""Chapter 3: where did fine-tuning move the model, and does putting a part back help?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from imprint.lab.chapters.chapter import Chapter, Material, lacking, measured
from imprint.lab.chapters.movement_restoration import restoration
from imprint.lab.chapters.movement_sets import Trained, train_sets
from imprint.lab.chapters.movement_verdicts import by_set, by_stage
from imprint.lab.chapters.movement_weights import changes
from imprint.lab.chapters.part import Part, join
from imprint.lab.chapters.units import may_train

NUMBER, TITLE = 3, "Where did it move?"
Row = dict[str, Any]


def run(material: Material) -> Chapter:
    """Write the chapter: drift by stage, size and level, changed weights, restoration.

    Reads a base and a tuned checkpoint, and where they are there texts, facts with templates, and
    the SFT set. Models of its own it trains only where the study trains.

    Raises:
        ImprintError: checkpoints or files that cannot be used.
    """
    pairs = stages(material)
    if not pairs:
        lacks = "A base checkpoint and one tuned from it are missing (--base, --tuned)."
        return lacking(NUMBER, TITLE, [lacks])
    with measured() as cost:
        chapter = join(NUMBER, TITLE, _parts(material, pairs))
        chapter.state = _state(chapter)
    chapter.seconds, chapter.peak_bytes = cost["seconds"], int(cost["peak_bytes"])
    return chapter


def stages(material: Material) -> list[tuple[Row, Row]]:
    """Choose pairs of base and tuned: the first is of the largest scale, the last stages follow.

    Of each scale the first unit that has most stages is taken; at most ``budget.models`` pairs.
    """
    if material.checkpoints is None:
        return []
    order = material.checkpoints["stage"].unique(maintain_order=True).to_list()
    tuned = [stage for stage in order if stage != "pretrained"]
    tuned.sort(key=lambda stage: {"sft": 0, "rl": 1}.get(stage, 2))
    by: dict[Any, dict[Any, list[tuple[Row, Row]]]] = {}
    for stage in tuned:
        for base, after in material.pairs(stage):
            key = base.get("unit"), base.get("replicate")
            by.setdefault(base.get("scale"), {}).setdefault(key, []).append((base, after))
    scales = [max(units.values(), key=len) for units in by.values()]
    scales.sort(key=lambda pairs: -float(str(pairs[0][0].get("parameters") or 0)))
    return [pair for pairs in scales for pair in pairs][: material.budget.models]


def _parts(material: Material, pairs: list[tuple[Row, Row]]) -> Iterator[Part]:
    base, first = pairs[0]
    folder = str(base["model"])
    tuned = {str(after["stage"]): str(after["model"]) for b, after in pairs if b["model"] == folder}
    material.report("movement: drift")
    yield by_stage(material, pairs)
    trained = None
    if may_train(material):
        material.report("movement: training on sets of facts")
        found = train_sets(material, folder)
        trained = found if isinstance(found, Trained) else None
        yield by_set(material, found) if isinstance(found, Trained) else found
    else:
        lacks = "Drift against size and level of the SFT set needs trainings, and none are made "
        yield Part(missing=[f"{lacks}where only checkpoints are given."])
    material.report("movement: changed weights")
    yield changes(material, folder, tuned)
    material.report("movement: restoration")
    yield restoration(material, trained, folder, str(first["model"]))


def _state(chapter: Chapter) -> Any:
    """Whether restoration helps, which is the claim of the chapter that can be acted on."""
    verdict = chapter.tables.get("movement_restoration_verdict")
    return "undetermined" if verdict is None else verdict["state"][0]
