"""Chapter 5, what data next: the sets of ``imprint plan`` tried against as many at random.

SFT: the pretrained model learns the form of questions from a few rows outside the pool; that model
is rolled out on the pool, planned for and trained further. RL: the model after SFT, fine-tuned for
longer so that it solves some prompts, is rolled out, planned for and reinforced. Each set stands
beside its control of equal size, equal steps and equal seed; the outcome is the exact probability
of the right answer on held-out questions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from imprint.lab.chapters.asked import Item, of_rows, read_rows, split, take
from imprint.lab.chapters.chapter import Agreement, Chapter, Material, lacking, measured
from imprint.lab.chapters.contrast import NOTHING, TRAININGS, Contrast, contrast, draw, listed
from imprint.lab.chapters.part import opening, stance_of
from imprint.lab.chapters.planned import ARMS, Cell, Stage, plans, rollouts
from imprint.lab.chapters.trials import MODEL, Start, Trial, Trials
from imprint.lab.unit import Work
from imprint.report import Section, State

NUMBER, TITLE = 5, "What data next?"
HELD_SHARE, HELD = 0.25, 400
FIRST = 256  # rows that teach the form
LONGEST = 8  # words of an answer that is checked exactly
PLANNED = {"sft": "hard and few rows for SFT", "rl": "the planned band for RL"}


@dataclass
class Found:
    """What one stage came to."""

    stage: Stage
    cells: list[Cell]
    trials: dict[tuple[str, Cell], Trial]
    plan: dict[str, Any]
    before: Trial | None
    rates: pl.DataFrame

    def pairs(self, size: int | None = None) -> list[tuple[pl.DataFrame, pl.DataFrame]]:
        """Scores of the planned set and of its control, by training."""
        cells = [cell for cell in self.cells if size is None or cell.size == size]
        return [self._scores(cell) for cell in cells]

    def _scores(self, cell: Cell) -> tuple[pl.DataFrame, pl.DataFrame]:
        chosen, control = ARMS[self.stage]
        return self.trials[chosen, cell].scores(), self.trials[control, cell].scores()

    @property
    def contrast(self) -> Contrast:
        """Planned less random, over all sizes and seeds."""
        return contrast(self.pairs()) if self.trials else NOTHING

    def of_size(self, size: int | None) -> Contrast:
        """Planned less random at one size."""
        chosen = [cell for cell in self.cells if cell.size == size]
        return contrast([self._scores(cell) for cell in chosen]) if self.trials else NOTHING


def run(material: Material) -> Chapter:
    """Write the chapter; what it lacks is named."""
    with measured() as took:
        chapter = _chapter(material)
    chapter.seconds, chapter.peak_bytes = took["seconds"], int(took["peak_bytes"])
    return chapter


def _chapter(material: Material) -> Chapter:
    missing = _missing(material)
    trials = Trials(material, "data")
    found = [one for one in (_sft(trials), _rl(trials)) if one is not None]
    if not found:
        return lacking(NUMBER, TITLE, missing)
    states = [one.contrast.state for one in found]
    undecided = states.count("undetermined")
    chapter = Chapter(
        NUMBER,
        TITLE,
        _verdict(found),
        _agreements(found),
        [_section(one) for one in found],
        _tables(found, trials),
        missing,
        _joined(states),
        len(states) - undecided,
        undecided,
        judged="planned sets teach more than as many rows at random, for SFT and for RL",
        details=_details(found, material),
    )
    chapter.sections.insert(0, opening(chapter))
    return chapter


def main_model(material: Material, stage: str) -> Mapping[str, Any] | None:
    """Choose the checkpoint to train further: of the largest scale the middle one in order."""
    rows = material.models(stage)
    if not rows:
        return None
    largest = [row for row in rows if row.get("scale") == rows[-1].get("scale")]
    first = [row for row in largest if row.get("replicate") == largest[0].get("replicate")]
    return first[len(first) // 2]


def _missing(material: Material) -> list[str]:
    wanted = {
        "a pretrained checkpoint": material.models("pretrained"),
        "SFT rows of messages": material.sft,
        "prompts with answers for RL": material.rl,
        "a checkpoint after SFT, which RL starts from": material.models("sft"),
        "leave to train (the study was given its checkpoints)": material.pretraining,
    }
    return [f"Chapter {NUMBER} lacks {name}." for name, there in wanted.items() if not there]


def _sft(trials: Trials) -> Found | None:
    material = trials.material
    row = main_model(material, "pretrained")
    if row is None or material.sft is None:
        return None
    material.report("data: planning what to fine-tune on")
    items = of_rows(read_rows(material.sft), longest=LONGEST)
    sets = _sets(items, material, FIRST)
    if sets is None:
        return None
    unit, start, before = trials.items("sft-items", sets), trials.start(row), None
    if material.pretraining:
        labels = {"arm": "first", "size": len(sets["first"]), "seed": 0}
        steps = max(1, material.budget.steps // 2)
        before = trials.sft(
            labels, start, (unit, "first"), [(unit, "held")], keep=True, steps=steps
        )
        trials.run([before])
        start = Start(str(before.model), (before.work,))
    sizes = sizes_within(material.budget.sizes, len(sets["pool"]))
    cells = [Cell(size, seed) for size in sizes for seed in range(material.budget.seeds)]
    return _tried(trials, "sft", start, unit, cells, before)


def _rl(trials: Trials) -> Found | None:
    material = trials.material
    row = main_model(material, "sft")
    if row is None or material.rl is None:
        return None
    material.report("data: planning what to reinforce")
    sets = _sets(of_rows(read_rows(material.rl), longest=LONGEST), material, 0)
    if sets is None:
        return None
    unit = trials.items("rl-items", sets)
    start = trials.ready(row) if material.pretraining else trials.start(row)
    before = trials.probe("before RL", start, [(unit, "held")]) if material.pretraining else None
    if before is not None:
        trials.run([before])
    pairs = max(1, material.budget.rl_runs // 4)
    seeds = min(material.budget.seeds, pairs)
    sizes = (None, material.budget.prompts // 2) if pairs >= 2 * seeds else (None,)
    cells = [Cell(size, seed) for size in sizes for seed in range(seeds)]
    return _tried(trials, "rl", start, unit, cells, before)


def sizes_within(sizes: Sequence[int], pool: int) -> list[int]:
    """Keep the sizes of which a pool has three times as many, so that there is a choice.

    >>> sizes_within([60, 240, 960], 768), sizes_within([60], 90)
    ([60, 240], [30])
    """
    return [size for size in sizes if 3 * size <= pool] or [max(1, pool // 3)]


def _sets(items: Sequence[Item], material: Material, first: int) -> dict[str, list[Item]] | None:
    train, held = split(items, HELD_SHARE, material.seed)
    drawn = take(train, None, material.seed)
    first = min(first, len(drawn) // 4)
    pool = drawn[first : first + 16 * material.budget.prompts]
    if len(pool) < 6 or len(held) < 2:
        return None
    return {"first": drawn[:first], "pool": pool, "held": take(held, HELD, material.seed)}


def _tried(
    trials: Trials, stage: Stage, start: Start, unit: Any, cells: list[Cell], before: Trial | None
) -> Found:
    material, pool = trials.material, (unit, "pool")
    rolled = rollouts(material, f"data-{stage}-rollouts", start, pool)
    planned = plans(material, f"data-{stage}-plan", stage, rolled, pool, cells)
    material.ledger.run([rolled, planned])
    told = json.loads((planned.path / "plan.json").read_text())
    done: dict[tuple[str, Cell], Trial] = {}
    if material.pretraining:
        done = _trained(trials, stage, start, unit, planned, cells)
    rates = pl.read_parquet(rolled.path / "rates.parquet")
    return Found(stage, cells, done, told, before, rates)


def _trained(
    trials: Trials, stage: Stage, start: Start, unit: Any, planned: Work, cells: Sequence[Cell]
) -> dict[tuple[str, Cell], Trial]:
    train = trials.sft if stage == "sft" else trials.rl
    done = {
        (arm, cell): train(
            {"arm": f"{stage} {arm}", "size": cell.size, "seed": cell.seed},
            start,
            (planned, cell.file(arm)),
            [(unit, "held")],
        )
        for cell in cells
        for arm in ARMS[stage]
    }
    trials.material.report(f"data: {len(done)} {stage.upper()} trainings")
    trials.run(list(done.values()))
    return done


def _verdict(found: Sequence[Found]) -> str:
    """Say in one sentence how the planned sets did against as many rows at random."""
    tried = [one for one in found if one.trials and one.contrast.trainings]
    if not tried:
        return "Sets are planned and not tried, so that it cannot be told what they are worth."
    told = [f"{PLANNED[one.stage]} {_word(one)} by {one.contrast.words}" for one in tried]
    return f"Against as many rows at random, {'; '.join(told)}."


def _details(found: Sequence[Found], material: Material) -> list[str]:
    told = []
    for one in found:
        if not one.trials:
            told.append(f"{one.stage.upper()}, planned and not tried: {one.plan['said']}")
        elif not one.contrast.trainings:
            told.append(f"{one.stage.upper()} could not be tried: no prompt qualifies. "
                        f"{one.plan['said']}")  # fmt: skip
    if any(0 < one.contrast.trainings < TRAININGS for one in found):
        told.append(f"Fewer than {TRAININGS} trainings of each decide nothing; {_more(material)}")
    if any(one.trials for one in found):
        told.append("Points are hundredths of the probability of the right answer.")
    return told


def _word(one: Found) -> str:
    words = {"holds": "do better", "does_not_hold": "do worse", "undetermined": "may differ"}
    return words[one.contrast.state]


def _more(material: Material) -> str:
    if material.preset in ("smoke", "default"):
        return "the preset standard has three."
    return "take more budget.seeds."


def _joined(states: Sequence[State]) -> State:
    if "does_not_hold" in states:
        return "does_not_hold"
    return "holds" if states and set(states) == {"holds"} else "undetermined"


def _agreements(found: Sequence[Found]) -> list[Agreement]:
    told = []
    for one in found:
        if not one.trials:
            continue
        if one.stage == "sft":
            told += [_hard(one), _scaling(one)]
        else:
            told.append(_band(one))
    return told


def _hard(one: Found) -> Agreement:
    return Agreement(
        "A few rows that are hard for the model teach more than as many at random.",
        "817 curated traces took a 32B model from 6.5 to 57.1 on AIME 2024 (arXiv 2502.03387); in "
        "theory, for a linear model (arXiv 2603.01293, data selection). Neither has a random "
        "control of equal size.",
        one.contrast.words,
        stance_of(one.contrast.state),
    )


def _scaling(one: Found) -> Agreement:
    """Hold the largest random set against the smallest planned one, at equal steps."""
    sizes = sorted({cell.size or 0 for cell in one.cells})
    few = [cell for cell in one.cells if cell.size == sizes[0]]
    many = [Cell(sizes[-1], cell.seed) for cell in few]
    pairs = [
        (one.trials["random", m].scores(), one.trials["hard", f].scores())
        for f, m in zip(few, many, strict=True)
    ]
    gap = contrast(pairs) if len(sizes) > 1 else NOTHING
    return Agreement(
        "More rows at random beat few chosen ones.",
        "Scaling the set beats curation, and a hard tier levels off near 65 % (arXiv 2504.11741); "
        "random scaling is a strong baseline (arXiv 2507.01921).",
        f"{sizes[-1]} at random less {sizes[0]} planned, equal steps: {gap.words}",
        stance_of(gap.state),
    )


def _band(one: Found) -> Agreement:
    return Agreement(
        "RL gains more from prompts that are solved sometimes than from prompts at random.",
        "Filtering by pass rate: plain GRPO's best reward within 60 % of time and data (arXiv "
        "2504.03380); dropping groups of one outcome: AIME 2024 42 to 50 (arXiv 2503.14476). "
        "Against it: chosen data alone gains little in the end (arXiv 2605.09188).",
        one.contrast.words,
        stance_of(one.contrast.state),
    )


def _section(one: Found) -> Section:
    chosen = "Hard and few" if one.stage == "sft" else "The band"
    section = Section(
        f"{chosen} against random: {one.stage.upper()}",
        "Mean probability of the right answer on held-out questions, planned less random: each set "
        "beside as many rows at random, with as many steps.",
    )
    solved, rate = one.rates.select(
        (pl.col("c") > 0).mean(), rate=(pl.col("c") / pl.col("n")).mean()
    ).row(0)
    section.text(
        f"{one.rates.height:,} prompts were rolled out {one.rates['n'][0]} times each: "
        f"{solved:.0%} solved at least once, mean pass rate {rate:.2f}. "
        f"{one.plan['said']}"
    )
    frame = contrasts(one)
    if frame.height:
        draw(section, frame, "Planned less random at each size; all sizes together stand last.")
        listed(
            section,
            frame,
            "Planned less random, with intervals at 95 %. "
            "With one training they leave out how trainings differ.",
        )
    return section


def contrasts(one: Found) -> pl.DataFrame:
    """Give one row per size, and one over all: estimate, interval, numbers, state."""
    if not one.trials:
        return pl.DataFrame()
    sizes = list(dict.fromkeys(cell.size for cell in one.cells))
    named = [(_rows(one, size), one.of_size(size)) for size in sizes]
    named += [("all sizes", one.contrast)] if len(sizes) > 1 else []
    return pl.DataFrame(
        [
            {"label": name, "estimate": c.estimate, "low": c.low, "high": c.high,
             "trainings": c.trainings, "items": c.items, "state": c.state}
            for name, c in named
        ]
    ).with_columns(pl.col("estimate", "low", "high").fill_nan(None))  # fmt: skip


def _rows(one: Found, size: int | None) -> str:
    chosen = ARMS[one.stage][0]
    got = sorted({s["rows"] for s in one.plan["sets"] if s["arm"] == chosen and s["size"] == size})
    return f"{' to '.join(map(str, dict.fromkeys((got[0], got[-1]))))} rows"


def _tables(found: Sequence[Found], trials: Trials) -> dict[str, pl.DataFrame]:
    parts = [contrasts(one).with_columns(stage=pl.lit(one.stage)) for one in found if one.trials]
    tables = {f"data_rates_{one.stage}": one.rates for one in found}
    if parts:
        tables["data_contrasts"] = pl.concat(parts, how="diagonal_relaxed")
        tables["data_trials"] = trials.table(["held"])
    return tables


__all__ = ["MODEL", "NUMBER", "TITLE", "run"]
