"""Claims of the papers put to the test: holding back, a domain removed, noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from imprint.errors import ImprintError
from imprint.lab.chapters import claim_coverage, claim_methods, claim_noise
from imprint.lab.chapters.chapter import Chapter, Material, Stance, lacking, measured
from imprint.lab.chapters.contrast import TRAININGS
from imprint.lab.chapters.part import Part, join
from imprint.lab.chapters.trials import Trials
from imprint.report import State

NUMBER, TITLE = 6, "Claims put to the test"
PARTS: tuple[Callable[[Trials], Part], ...] = (
    claim_methods.part,
    claim_coverage.part,
    claim_noise.part,
)


def run(material: Material) -> Chapter:
    """Write the chapter; a claim that cannot be tried is named with what it lacks."""
    if not material.pretraining:
        return lacking(NUMBER, TITLE, ["The claims take trainings, and nothing is trained here."])
    with measured() as took:
        chapter = _chapter(material)
    chapter.seconds, chapter.peak_bytes = took["seconds"], int(took["peak_bytes"])
    return chapter


def _chapter(material: Material) -> Chapter:
    trials = Trials(material, "claims")
    parts = [_tried(part, trials) for part in PARTS]
    parts.insert(0, _answer(parts))
    if trials.trials and material.budget.seeds < TRAININGS:
        few = f"Fewer than {TRAININGS} trainings of each decide nothing: the preset standard has"
        parts.append(Part(said=f"{few} three."))
    chapter = join(NUMBER, TITLE, parts)
    chapter.state = _state([a.stance for a in chapter.agreement])
    if trials.trials:
        chapter.tables["claims_trials"] = trials.table(["held", "task_test", "kept_test"])
    return chapter


def _answer(parts: Sequence[Part]) -> Part:
    """Count how the papers' claims fare, beside the first effect that was measured."""
    stances = [a.stance for part in parts for a in part.agreement]
    if not stances:
        return Part()
    words: dict[Stance, str] = {"agrees": "hold", "disagrees": "do not", "cannot tell": "are open"}
    counts = ", ".join(f"{stances.count(stance)} {word}" for stance, word in words.items())
    effect = next((f"; {part.answer}" for part in parts if part.answer), "")
    return Part(
        answer=f"Of {len(stances)} claims of the papers: {counts}{effect}.",
        judged="every claim of the papers that was tried holds here",
    )


def _state(stances: Sequence[Stance]) -> State:
    """Say whether the papers' claims hold here: all of them, or one does not."""
    if "disagrees" in stances:
        return "does_not_hold"
    return "holds" if stances and set(stances) == {"agrees"} else "undetermined"


def _tried(part: Callable[[Trials], Part], trials: Trials) -> Part:
    """Let a claim that fails for a reason of the user's stop no other."""
    try:
        return part(trials)
    except ImprintError as failed:
        return Part(missing=[str(failed)])
