"""Whether putting a part of the change back helps: chosen on development data, judged on test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from imprint.formats.facts import read_facts
from imprint.lab.chapters.asking import Question, ask, of_rows, scores, some
from imprint.lab.chapters.chapter import Agreement, Material, Stance
from imprint.lab.chapters.movement_sets import Trained, questions_of
from imprint.lab.chapters.part import Part, interval, stance, stance_of
from imprint.lab.chapters.units import Frames, tables
from imprint.models import Loaded, text_scores
from imprint.report import Section, State
from imprint.report.figures import curve, forest
from imprint.restoration.restore_config import RestoreConfig
from imprint.restoration.sweep import SweepConfig, sweep
from imprint.stats import paired_difference

CODE = (
    *("imprint.restoration", "imprint.lab.chapters.asking", "imprint.models"),
    "imprint.lab.chapters.movement_restoration",
)
RETAINED = 120  # items of what fine-tuning taught
ITEMS = 240  # items to choose and to judge on
AGAINST = {
    "tuned": "the tuned model",
    "interpolate": "interpolation",
    "random": "random weights",
    "interpolate_best": "interpolation at its own best",
    "random_best": "random weights at their own best share",
}
SPLITS = {"test": "test", "retain": "taught", "dev": "development"}
JUDGED = (
    "in one trained model, putting back a share of the weights chosen on development data helps on "
    "test data, beyond interpolation and random weights at that share and at their own best, and "
    "costs little of what was taught"
)


@dataclass(frozen=True)
class Items:
    """What restorations are scored on: answers to questions, or plain texts.

    Attributes:
        splits: ``dev``, ``test`` and ``retain`` → questions, or texts.
    """

    splits: dict[str, list[Question] | list[str]]

    def __call__(self, model: Any, tokenizer: Any, split: str) -> list[float]:
        """Give the mean log-probability per token of each answer or text, nats."""
        own, loaded = self.splits[split], Loaded(model, tokenizer, Path())
        texts = [one for one in own if isinstance(one, str)]
        if texts:
            return [float(score) for score in text_scores(loaded, texts)]
        asked = [one for one in own if isinstance(one, Question)]
        return list(scores(loaded, asked)["logprob"].to_list())

    @property
    def test(self) -> list[Question]:
        """The questions of the test split; none where it holds texts."""
        return [one for one in self.splits["test"] if isinstance(one, Question)]

    @property
    def told(self) -> dict[str, list[Any]]:
        """Everything that it depends on."""
        return {
            split: [one if isinstance(one, str) else [one.prompt, one.answer] for one in own]
            for split, own in self.splits.items()
        }


def restoration(material: Material, trained: Trained | None, base: str, tuned: str) -> Part:
    """Choose on development data how much of the change to put back; judge it once on test data.

    Args:
        material: what there is to score on.
        trained: models that the chapter trained; their largest takes the place of ``tuned``.
        base, tuned: the pair of checkpoints.
    """
    if trained is not None:
        base, tuned = trained.base, trained.largest
    items = _items(material, trained)
    if isinstance(items, str):
        return Part(missing=[items])
    budget = material.budget
    settings = {"ratios": budget.ratios, "seed": material.seed, "items": items.told}
    frames, _ = tables(
        material,
        "movement-restoration",
        settings,
        partial(_restore, base, tuned, items, budget.ratios, material.seed, material.device),
        models=(base, tuned),
        code=CODE,
    )
    found = Part(tables={f"movement_restoration_{name}": f for name, f in frames.items()})
    _judge(found, frames, questions=bool(items.test))
    found.sections.append(_restoration_section(frames, trained is not None))
    return found


def _items(material: Material, trained: Trained | None) -> Items | str:
    seed = material.seed
    if trained is not None:
        if len(trained.held_out) < 8:
            return "A restoration needs questions about facts held out."
        held = trained.held_out
        learnt = some(trained.taught, RETAINED, seed)
        return Items({"dev": held[::2], "test": held[1::2], "retain": learnt})
    if material.sft is None:
        return "A restoration needs the SFT set, on which nothing may be lost (--sft)."
    learnt = some(of_rows(material.sft, "skill"), RETAINED, seed)
    if material.facts is not None and (asked := _facts(material)):
        held = some(asked, ITEMS, seed)
        return Items({"dev": held[::2], "test": held[1::2], "retain": learnt})
    if material.texts is None:
        return "A restoration needs facts with questions, or texts, to be chosen on (--facts)."
    texts = _texts(material.texts, material.budget.texts, seed)
    if len(texts) < 8:
        return (
            f"A restoration needs eight texts to be chosen and judged on; there are {len(texts)}."
        )
    return Items({"dev": texts[::2], "test": texts[1::2], "retain": [_whole(q) for q in learnt]})


def _facts(material: Material) -> list[Question]:
    assert material.facts is not None  # noqa: S101 (the caller looked)
    facts = read_facts(material.facts).facts.filter(pl.col("question").is_not_null())
    test = facts.filter(pl.col("split") == "test")
    found = questions_of(test if len(test) else facts)
    return found if len(found) >= 8 else []


def _texts(path: Path, limit: int, seed: int) -> list[str]:
    from imprint.drift.texts import read_samples

    found = list(dict.fromkeys(sample.text for sample in read_samples(path)))
    kept = np.random.default_rng(seed).permutation(len(found))[:limit]
    return [found[at] for at in sorted(kept)]


def _whole(question: Question) -> str:
    return f"{question.prompt} {question.answer}"


def _restore(
    base: str,
    tuned: str,
    items: Items,
    ratios: Sequence[float],
    seed: int,
    device: str | None,
    folder: Path,
) -> Frames:
    config = SweepConfig(
        restore=RestoreConfig(top=tuple(ratios), seed=seed, workers=1), device=device
    )
    result = sweep(base, tuned, items, config, target=folder / "restored")
    frames = {"sweep": result.tables["sweep"], "comparisons": result.tables["comparisons"]}
    frames["verdict"] = pl.DataFrame({"state": [result.state], "headline": [result.headline]})
    if items.test:
        named = {"base": base, "tuned": tuned}
        if result.chosen is not None:
            named["restored"] = str(folder / "restored")
        answers = ask(list(named.values()), items.test, device)
        called = pl.col("model").replace_strict(dict(enumerate(named)), return_dtype=pl.String)
        frames["answers"] = answers.with_columns(called)
    return frames


def _judge(found: Part, frames: Frames, *, questions: bool) -> None:
    verdict = frames["verdict"].row(0, named=True)
    compared = frames["comparisons"].filter(split="test")
    state: State = verdict["state"]
    found.states.append(state)
    found.judged = JUDGED
    if not len(compared):
        found.said = "On development data the tuned model itself scored best: nothing is put back."
        lab, found_stance = found.said, stance_of("does_not_hold")
        found.agreement.append(_repairs(lab, found_stance))
        return
    share = _chosen_share(frames)
    told = "; ".join(
        f"against {AGAINST.get(row['against'], row['against'])} "
        f"{interval(row['mean'], row['low'], row['high'], '+.3g')}"
        for row in compared.iter_rows(named=True)
    )
    helps = {"holds": "helps", "does_not_hold": "does not help", "undetermined": "may or may not"}
    unit = "per answer token" if questions else "per token"
    found.said = (
        f"Restoration: putting back {share:.0%} of the weights {helps[state]}"
        f"{' help' if state == 'undetermined' else ''} on test data, by nats {unit} {told}."
    )
    kept = frames["comparisons"].filter(split="retain")
    for row in kept.iter_rows(named=True):
        lost = interval(row["mean"], row["low"], row["high"], "+.3g")
        found.said += (
            f" On what was taught: {lost} nats (a loss of up to {row['margin']:.3g} is allowed)."
        )
    own = compared.filter(against="tuned").row(0, named=True)
    accuracy = _accuracy(frames)
    lab = f"{share:.0%} put back in one trained model; test, nats: {told}.{accuracy}"
    found.agreement.append(_repairs(lab, stance(own["low"], own["high"])))
    controls = compared.filter(pl.col("against") != "tuned")
    worst = controls.sort("low").row(0, named=True) if len(controls) else None
    if worst is not None:
        found.agreement.append(
            Agreement(
                "It is the weights with the largest relative change that are to be put back.",
                "Restoration is compared with no control (arXiv 2509.16596).",
                f"Against {AGAINST.get(worst['against'], worst['against'])}, the stronger rival: "
                f"{interval(worst['mean'], worst['low'], worst['high'], '+.3g')} nats.",
                stance(worst["low"], worst["high"]),
            )
        )


def _repairs(lab: str, found: Stance) -> Agreement:
    return Agreement(
        "Putting back a fifth of the weights repairs facts held out.",
        "Best model 58.80 → 62.21 at 20 %; at 60 % accuracy falls to about 1 (arXiv 2509.16596, "
        "table 4; the share was chosen on the test set).",
        lab,
        found,
    )


def _chosen_share(frames: Frames) -> float:
    key = frames["comparisons"]["chosen"].drop_nulls()
    rows = (
        frames["sweep"].filter(pl.col("point") == key[0]) if len(key) else frames["sweep"].head(0)
    )
    return float(rows["top"][0]) if len(rows) else 0.0


def _accuracy(frames: Frames) -> str:
    answers = frames.get("answers")
    if answers is None or "restored" not in set(answers["model"]):
        return ""
    by = {
        name: answers.filter(model=name).sort("item")["correct"].cast(pl.Float64).to_numpy()
        for name in ("tuned", "restored")
    }
    gap = paired_difference(by["restored"], by["tuned"])
    return (
        f" Accuracy {by['tuned'].mean():.1%} → {by['restored'].mean():.1%}, difference "
        f"{interval(gap.mean, gap.low, gap.high, '+.3f')}."
    )


def _restoration_section(frames: Frames, trained: bool) -> Section:
    subject = "the model of the largest set of facts" if trained else "the tuned model"
    section = Section(
        "Putting a part back",
        f"Shares of the weights of {subject} are returned to the base, those with the largest "
        "relative change first. The share is chosen on development items; test items are scored "
        "once, beside interpolation of the same norm and random weights, and beside either where "
        "it scores best on development items.",
    )
    dev = frames["sweep"].filter(split="dev")
    roles = {"method": "restoration", "interpolate": "interpolation", "random": "random weights"}
    means = dev.group_by("role", "top", maintain_order=True).agg(pl.col("score").mean())
    whole = dict(
        means.filter(pl.col("role").is_in(["tuned", "base"])).select("role", "score").rows()
    )
    drawn = means.filter(pl.col("role").is_in(list(roles))).select(
        x="top", y="score", series=pl.col("role").replace(roles)
    )
    if len(drawn):
        chart = curve(
            drawn,
            x_title="Share of the weights put back",
            y_title="Mean log-probability on development items, nats",
            reference=whole.get("tuned"),
        )
        section.figure(chart, _sweep_caption(whole), wide=True)
    compared = frames["comparisons"]
    if len(compared):
        drawn = compared.select(
            label=pl.format(
                "{}: less {}", pl.col("split").replace(SPLITS), pl.col("against").replace(AGAINST)
            ),
            estimate="mean", low="low", high="high", state="state",
        )  # fmt: skip
        ends = [float(drawn[c].min() or 0) for c in ("low",)] + [float(drawn["high"].max() or 0)]  # type: ignore[arg-type]
        reach = 1.1 * max(map(abs, ends)) or 1.0
        section.figure(
            forest(drawn, title="Difference, nats per token", domain=(-reach, reach)),
            "The chosen share less its rivals on the same items, with 95 % intervals.",
            wide=True,
        )
    section.table(frames["sweep"], "All points")
    return section


def _sweep_caption(whole: Mapping[str, float]) -> str:
    base = f"; the base reaches {interval(whole['base'], None, None)}" if "base" in whole else ""
    return (
        f"The dashed line is the tuned model with nothing put back{base}. Random weights are the "
        "mean of several draws."
    )
