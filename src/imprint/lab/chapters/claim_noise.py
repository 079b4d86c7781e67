"""Wrong labels and flipped rewards, by the size of the set: what SFT and RL bear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from imprint.lab.chapters.asked import of_rows, read_rows, split, take
from imprint.lab.chapters.chapter import Agreement
from imprint.lab.chapters.contrast import NOTHING, Contrast, combined, contrast, draw, listed
from imprint.lab.chapters.data import HELD, HELD_SHARE, LONGEST, main_model
from imprint.lab.chapters.part import Part, stance_of
from imprint.lab.chapters.trials import Start, Trial, Trials
from imprint.report import Section
from imprint.report.figures import curve

NOISE = 0.3  # share of wrong labels, or of flipped rewards
MORE = (0.1, 0.5)  # further shares where there is time
Cells = dict[tuple[float, int, int], Trial]  # noise, size, seed
STAGES = {"sft": ("pretrained", "labels"), "rl": ("sft", "rewards")}


def part(trials: Trials) -> Part:
    """Write this part of the chapter."""
    found = [_stage(trials, stage) for stage in STAGES]
    cells = {stage: one for stage, one in zip(STAGES, found, strict=True) if one}
    if not cells:
        return Part(missing=["Noise is not tried: it takes checkpoints and rows to train on."])
    frame = pl.concat([_table(stage, one) for stage, one in cells.items()])
    harms = {stage: harm(one) for stage, one in cells.items()}
    said = [
        f"{NOISE:.0%} wrong {STAGES[stage][1]} change {stage.upper()} by {gap.words}."
        for stage, gap in harms.items()
    ]
    return Part(
        said=" ".join(said),
        states=[gap.state for gap in harms.values()],
        sections=[_section(frame)],
        tables={"claims_noise": frame},
        agreement=_agreements(cells),
    )


def harm(cells: Cells, size: int | None = None, noise: float = NOISE) -> Contrast:
    """Noisy less clean training, at one size or over all."""
    keys = [(n, s, seed) for n, s, seed in cells if n == noise and size in (None, s)]
    pairs = [(cells[key].scores(), cells[0.0, key[1], key[2]].scores()) for key in keys]
    return contrast(pairs) if pairs else NOTHING


def _stage(trials: Trials, stage: str) -> Cells:
    material = trials.material
    row = main_model(material, STAGES[stage][0])
    path = material.sft if stage == "sft" else material.rl
    if row is None or path is None or not material.pretraining:
        return {}
    material.report(f"claims: noise in {stage.upper()}")
    train, held = split(of_rows(read_rows(path), longest=LONGEST), HELD_SHARE, material.seed)
    sizes = _sizes(trials, stage, len(train))
    drawn = take(train, None, material.seed)
    sets = {f"rows-{size}": drawn[:size] for size in sizes}
    unit = trials.items(f"noise-{stage}-items", {**sets, "held": take(held, HELD, material.seed)})
    start = trials.start(row) if stage == "sft" else trials.ready(row)
    return _trained(trials, stage, start, unit, sizes)


def _sizes(trials: Trials, stage: str, there: int) -> list[int]:
    budget = trials.material.budget
    if stage == "sft":
        wanted = sorted({budget.sizes[0], budget.sizes[-1]})
    else:
        pairs = budget.rl_runs // 4
        wanted = [2 * budget.prompts] if pairs < 2 else [budget.prompts // 2, 2 * budget.prompts]
    return sorted({min(size, there) for size in wanted if size})


def _trained(trials: Trials, stage: str, start: Start, unit: Any, sizes: Sequence[int]) -> Cells:
    budget = trials.material.budget
    train = trials.sft if stage == "sft" else trials.rl
    seeds = budget.seeds if stage == "sft" else max(1, min(budget.seeds, budget.rl_runs // 8))
    shares = (0.0, NOISE, *(MORE if stage == "sft" and budget.seeds > 1 else ()))
    cells = {
        (noise, size, seed): train(
            {"arm": f"{stage} noise {noise:g}", "size": size, "seed": seed},
            start,
            (unit, f"rows-{size}"),
            [(unit, "held")],
            noise=noise,
        )
        for noise in shares
        for size in sizes
        for seed in range(seeds)
    }
    trials.run(list(cells.values()))
    return cells


def _table(stage: str, cells: Cells) -> pl.DataFrame:
    rows = []
    for size in sorted({size for _, size, _ in cells}):
        for noise in sorted({noise for noise, _, _ in cells}):
            same = [t for (n, s, _), t in cells.items() if (n, s) == (noise, size)]
            means = pl.concat([t.scores() for t in same]).select(
                pl.col("probability", "greedy").cast(pl.Float64).mean()
            )
            gap = harm(cells, size, noise) if noise else NOTHING
            rows.append(
                {
                    "stage": stage,
                    "size": size,
                    "noise": noise,
                    **means.to_dicts()[0],
                    "less_clean": gap.estimate,
                    "low": gap.low,
                    "high": gap.high,
                    "trainings": len(same),
                    "state": gap.state if noise else None,
                }
            )
    floats = ("less_clean", "low", "high")
    types = {"state": pl.String()}
    return pl.DataFrame(rows, schema_overrides=types).with_columns(pl.col(floats).fill_nan(None))


def _section(frame: pl.DataFrame) -> Section:
    section = Section(
        "Noise by size",
        "Probability of the right answer on held-out questions after training on rows of which a "
        "share has the answer of another row (SFT), or with a share of rewards turned over (RL).",
    )
    named = pl.format("{} rows, {}% wrong", "size", (100 * pl.col("noise")).round().cast(pl.Int64))
    shown = frame.filter(pl.col("noise") > 0).select(
        named.alias("label"),
        pl.col("stage").str.to_uppercase().alias("group"),
        pl.col("less_clean").alias("estimate"),
        "low",
        "high",
        "state",
    )
    draw(section, shown, "Noisy less clean training of the same size.")
    _by_size(section, frame)
    listed(section, frame, "less_clean is the difference to the clean training of the same size.")
    return section


def _by_size(section: Section, frame: pl.DataFrame) -> None:
    """Draw the probability against the size of the set, a line for each share of noise."""
    for stage, wrong in (("sft", "labels"), ("rl", "rewards")):
        own = frame.filter(pl.col("stage") == stage)
        if own["size"].n_unique() < 2:
            continue
        share = (100 * pl.col("noise")).round().cast(pl.Int64)
        drawn = own.select(x="size", y="probability", series=pl.format("{}% wrong", share))
        chart = curve(drawn, x_title=f"Rows of {stage.upper()}", y_title="Probability", log_x=True)
        section.figure(chart, f"Probability of the right answer by size and wrong {wrong}.")


def _agreements(cells: Mapping[str, Cells]) -> list[Agreement]:
    found = []
    if "sft" in cells:
        sizes = sorted({size for _, size, _ in cells["sft"]})
        gap = NOTHING
        if len(sizes) > 1:
            gap = combined(harm(cells["sft"], sizes[0]), harm(cells["sft"], sizes[-1]))
        found.append(
            Agreement(
                "A small set bears what is wrong in it better than a large one.",
                "In theory, for a linear model, a small clean set is best under interference "
                "(arXiv 2603.01293); exact for some of its range only, and its interference is one "
                "of scale, not of wrong labels.",
                f"harm at {sizes[0]} rows less harm at {sizes[-1]}: {gap.words}",
                stance_of(gap.state),
            )
        )
    return found
