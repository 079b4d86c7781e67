"""Ways to keep what the base model knew, at equal data and steps.

One narrow SFT set is learnt by plain fine-tuning and by each way of holding back; plain fine-tuning
is then restored. Two things are measured: the held-out questions of the set, and statements of
facts that the base model continues. Settings of a way are chosen on one half of the questions and
statements and scored on the other.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from imprint.lab.chapters.asked import (
    Item,
    of_rows,
    plain,
    read_items,
    read_rows,
    score,
    split,
    take,
)
from imprint.lab.chapters.chapter import Agreement, Material
from imprint.lab.chapters.contrast import NOTHING, Contrast, contrast, draw, listed
from imprint.lab.chapters.data import HELD_SHARE, LONGEST, main_model
from imprint.lab.chapters.part import Part, stance_of
from imprint.lab.chapters.trials import Start, Trial, Trials
from imprint.report import Section

WAYS = ("full", "lora", "attention_frozen", "ffn_only", "l2_to_base", "top_k")
NAMES = {
    "full": "plain fine-tuning",
    "restored": "restoration",
    "lora": "LoRA",
    "attention_frozen": "attention frozen",
    "ffn_only": "feed-forward only",
    "l2_to_base": "L2 to base",
    "top_k": "top-k masked update",
}
# settings tried of each way where there is time; without it the first alone. A few per cent of a
# small model, by size of change under Adam, are embeddings of unused words: nothing is learnt.
TRIED: dict[str, tuple[dict[str, float], ...]] = {
    "full": ({},),
    "lora": ({"lr": 3e-3}, {"lr": 1e-3}, {"lr": 1e-2}),
    "attention_frozen": ({},),
    "ffn_only": ({},),
    "l2_to_base": ({"l2": 1e-2}, {"l2": 1e-3}, {"l2": 1e-1}),
    "top_k": ({"top_k": 0.2}, {"top_k": 0.05}, {"top_k": 0.5}),
}
ROWS = 960
STATEMENTS = 2  # of each fact
PROBES = ("task_dev", "task_test", "kept_dev", "kept_test")


@dataclass(frozen=True)
class Candidate:
    """A way with its setting, and where its scores lie."""

    way: str
    setting: str
    seed: int
    trial: Trial
    suffix: str = ""

    def scores(self, probe: str) -> pl.DataFrame:
        """Read the scores of a set of items."""
        return self.trial.scores(f"{probe}{self.suffix}")

    def worth(self) -> float:
        """Weigh task and knowledge alike, on development items."""
        means = [self.scores(name)["probability"].mean() for name in ("task_dev", "kept_dev")]
        return sum(float(m) for m in means if isinstance(m, float)) / 2


def part(trials: Trials) -> Part:
    """Write this part of the chapter."""
    material = trials.material
    row = main_model(material, "pretrained")
    sets = _sets(material)
    if row is None or sets is None or not material.pretraining:
        lacks = "a base model, SFT rows, and facts that these rows do not teach"
        return Part(missing=[f"Holding back is not tried: it takes {lacks}."])
    material.report("claims: ways of holding back")
    candidates = _candidates(trials, trials.start(row), trials.items("methods-items", sets))
    chosen = _chosen(candidates)
    base = next(one for one in candidates if one.way == "base")
    return _told(chosen, base, material)


def build_restored(
    base: str, tuned: Path, probes: Mapping[str, Path], ratios: Sequence[float],
    device: str | None, out: Path,
) -> None:  # fmt: skip
    """Restore at each ratio and score: ``PROBE-RATIO.parquet``."""
    from imprint.restoration.calls import restore

    folder = out / "restored"
    made = restore(base, tuned, folder, top=tuple(ratios))
    for ratio, path in zip(ratios, made, strict=True):
        for name, file in probes.items():
            found = score(path, read_items(file), device=device)
            found.write_parquet(out / f"{name}-{ratio:g}.parquet")
    shutil.rmtree(folder, ignore_errors=True)


def statements(material: Material, taught: Sequence[Item] = ()) -> list[list[Item]]:
    """Give facts as statements that end before the answer, so many of each relation.

    Args:
        material: with the facts.
        taught: rows; facts whose subject and answer one of them names together are left out.

    Returns:
        The statements of each fact, which differ by template alone.
    """
    from imprint.formats.facts import own_templates, read_facts, read_templates

    if material.facts is None:
        return []
    found = read_facts(material.facts)
    templates = dict(found.templates) or own_templates()
    if material.templates is not None:
        templates = read_templates(material.templates)
    rows_taught = [_spaced(f"{item.asked} {item.answer}") for item in taught]
    items: list[list[Item]] = []
    for relation, rows in found.facts.group_by("relation", maintain_order=True):
        name = str(relation[0])
        if name not in templates:
            continue
        drawn = rows.sample(fraction=1, shuffle=True, seed=material.seed)
        new = [
            (subject, answers[0])
            for subject, answers in drawn.select("subject", "answers").iter_rows()
            if subject and answers and not _named_together(subject, answers[0], rows_taught)
        ]
        for subject, answer in new[: 4 * material.budget.facts]:
            told = templates[name].prompts(subject)[:STATEMENTS]
            items.append([plain(text, answer, name) for text in told])
    return items


def _named_together(subject: str, answer: str, rows: Sequence[str]) -> bool:
    one, other = _spaced(subject), _spaced(answer)
    return any(one in row and other in row for row in rows)


def _spaced(text: str) -> str:
    """Put single spaces around all words, so that whole words are found in it."""
    words = re.sub(r"\W+", " ", text.lower()).strip()
    return f" {words} "


def _halves(facts: Sequence[list[Item]], seed: int) -> tuple[list[Item], list[Item]]:
    """Part facts into two halves; the statements of a fact stay together."""
    order = take(range(len(facts)), None, seed)
    half = len(facts) // 2
    first = set(order[:half])
    dev = [item for at, fact in enumerate(facts) if at in first for item in fact]
    return dev, [item for at, fact in enumerate(facts) if at not in first for item in fact]


def _sets(material: Material) -> dict[str, list[Item]] | None:
    given = next(iter(material.sft_sets.values()), None) or material.sft
    if given is None:
        return None
    train, held = split(of_rows(read_rows(given), longest=LONGEST), HELD_SHARE, material.seed)
    task_dev, task_test = split(take(held, 400, material.seed), 0.5, material.seed)
    rows = take(train, ROWS, material.seed)
    kept_dev, kept_test = _halves(statements(material, rows), material.seed)
    if not (rows and task_dev and task_test and kept_dev and kept_test):
        return None
    return {"rows": rows, "task_dev": task_dev, "task_test": task_test,
            "kept_dev": kept_dev, "kept_test": kept_test}  # fmt: skip


def _candidates(trials: Trials, start: Start, unit: Any) -> list[Candidate]:
    probes = [(unit, name) for name in PROBES]
    seeds, found = trials.material.budget.seeds, []
    many = seeds > 1
    for way in WAYS:
        for place, settings in enumerate(TRIED[way] if many else TRIED[way][:1]):
            for seed in range(seeds):
                labels = {"arm": way, "setting": place, "seed": seed}
                trial = trials.sft(
                    labels,
                    start,
                    (unit, "rows"),
                    probes,
                    keep=way == "full",
                    method=way,
                    **settings,
                )
                found.append(Candidate(way, _named(settings), seed, trial))
    trials.run([one.trial for one in found])
    plain_ones = [one for one in found if one.way == "full"]
    restored = [_restored(trials, start, one, unit) for one in plain_ones]
    base = trials.probe("base", start, probes)
    trials.run([base, *(trial for trial, _ in restored)])
    for trial, seed in restored:
        ratios = trials.material.budget.ratios
        found += [Candidate("restored", f"{r:.0%}", seed, trial, f"-{r:g}") for r in ratios]
    return [*found, Candidate("base", "", 0, base)]


def _restored(trials: Trials, start: Start, full: Candidate, unit: Any) -> tuple[Trial, int]:
    material = trials.material
    ratios = material.budget.ratios
    files = {name: unit.path / f"{name}.jsonl" for name in PROBES}
    build = partial(build_restored, start.model, full.trial.model, files, ratios, material.device)
    settings = {"ratios": ratios, "start": start.identity}
    work = material.ledger.work(
        f"{trials.word}-restored-{full.seed}",
        settings,
        [full.trial.work, unit],
        build,
        code=("imprint.restoration", "imprint.lab.chapters.asked"),
        weight=2.0,
    )
    return Trial({"arm": "restored", "seed": full.seed, "stage": "sft"}, work), full.seed


def _chosen(candidates: Sequence[Candidate]) -> dict[str, list[Candidate]]:
    """Choose the setting of each way on development items, over all seeds."""
    chosen: dict[str, list[Candidate]] = {}
    for way in NAMES:
        settings = list(dict.fromkeys(one.setting for one in candidates if one.way == way))
        groups = [[c for c in candidates if (c.way, c.setting) == (way, s)] for s in settings]
        if groups:
            chosen[way] = max(groups, key=lambda group: sum(c.worth() for c in group))
    return chosen


def _versus(
    chosen: Mapping[str, Sequence[Candidate]], way: str, other: str, probe: str
) -> Contrast:
    ours, theirs = chosen.get(way, []), chosen.get(other, [])
    pairs = zip(ours, theirs, strict=False)
    return contrast([(a.scores(probe), b.scores(probe)) for a, b in pairs]) if ours else NOTHING


def _told(chosen: Mapping[str, Sequence[Candidate]], base: Candidate, material: Material) -> Part:
    rows = [_row(chosen, way, base) for way in chosen]
    frame = pl.DataFrame(rows, infer_schema_length=None)
    task, kept = (_versus(chosen, "restored", "lora", f"{name}_test") for name in ("task", "kept"))
    found = Part(
        answer=f"restoration less LoRA on the tuned task is {task.words}",
        said=f"Holding back, at equal data and steps: restoration less LoRA is {task.words} on the "
        f"tuned task and {kept.words} on facts that were not taught.",
        states=[task.state, kept.state],
        tables={"claims_methods": frame},
        agreement=_agreements(chosen),
    )
    section = Section(
        "Holding back: equal data, equal steps",
        "Probability of the right answer on held-out questions of the tuned task, and of facts "
        "in statements, which fine-tuning did not teach; both on items that chose no setting.",
    )
    parts = [_shown(frame, "task", "tuned task"), _shown(frame, "kept", "facts not taught")]
    draw(section, pl.concat(parts), "Each way less plain fine-tuning.")
    listed(
        section,
        frame,
        "Each way with the setting chosen on development items; less_plain is the difference to "
        "plain fine-tuning.",
    )
    many = "three" if material.budget.seeds > 1 else "one"
    section.text(
        f"Restoration was chosen among {len(material.budget.ratios)} shares, LoRA, L2 and top-k "
        f"among {many} setting each; shares cost no training."
    )
    found.sections = [section]
    return found


def _shown(frame: pl.DataFrame, name: str, group: str) -> pl.DataFrame:
    numbers = {"less_plain": "estimate", "low": "low", "high": "high"}
    return frame.select(
        pl.col("way").alias("label"),
        pl.lit(group).alias("group"),
        *(pl.col(f"{name}_{ours}").cast(pl.Float64).alias(to) for ours, to in numbers.items()),
        pl.col(f"{name}_state").cast(pl.String).alias("state"),
    )


def _row(chosen: Mapping[str, Sequence[Candidate]], way: str, base: Candidate) -> dict[str, Any]:
    row: dict[str, Any] = {"way": NAMES[way], "setting": chosen[way][0].setting}
    for name in ("task", "kept"):
        probe = f"{name}_test"
        means = [one.scores(probe)["probability"].mean() for one in chosen[way]]
        gap = _versus(chosen, way, "full", probe) if way != "full" else NOTHING
        row |= {
            f"{name}": sum(float(m) for m in means if isinstance(m, float)) / len(means),
            f"{name}_base": base.scores(probe)["probability"].mean(),
            f"{name}_less_plain": gap.estimate if gap.trainings else None,
            f"{name}_low": gap.low if gap.trainings else None,
            f"{name}_high": gap.high if gap.trainings else None,
            f"{name}_state": gap.state if gap.trainings else None,
        }
    return row


def _agreements(chosen: Mapping[str, Sequence[Candidate]]) -> list[Agreement]:
    told = {"lora": "LoRA", "full": "plain fine-tuning"}
    paper = {
        "lora": "62.21 in and 57.10 out of domain against 57.82 and 51.52 of LoRA; LoRA on mixed "
        "data, restoration on one level, both best on the test sets (arXiv 2509.16596).",
        "full": "58.80 to 62.21 in and 54.04 to 57.10 out of domain at a share of 20 % (arXiv "
        "2509.16596, LLaMA-3-8B, single runs, share chosen on the test sets).",
    }
    found = []
    for other in ("full", "lora"):
        task = _versus(chosen, "restored", other, "task_test")
        found.append(
            Agreement(
                f"Restoration answers the tuned task better than {told[other]}.",
                paper[other],
                task.words,
                stance_of(task.state),
            )
        )
    return found


def _named(settings: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in settings.items())
