"""Chapter 2: what does the base model know, and which SFT data helps?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from imprint.lab.chapters.chapter import (
    Agreement,
    Budget,
    Chapter,
    Material,
    Stance,
    lacking,
    measured,
)
from imprint.lab.identity import identity
from imprint.lab.ledger import Unit
from imprint.report import Section, State
from imprint.report.figures import bars, curve

NUMBER, TITLE = 2, "What does the base model know, and which SFT data helps?"
SHARE = 0.05  # of facts that every level should hold
PROMPT = "{question}"  # the world's questions end by themselves
TOKENS = 6  # names are two tokens
BINS = 5
MIXED = "mixed"
CODE = ("imprint.mastery", "imprint.models", "imprint.formats.facts")


def run(material: Material) -> Chapter:
    """Write the chapter: levels of base models, then SFT sets by level and by size."""
    bases = largest_of_each(material)
    lacks = [] if material.facts else ["Facts are missing (--facts)."]
    lacks += [] if bases else ["A base checkpoint is missing."]
    if lacks:
        return lacking(NUMBER, TITLE, lacks)
    with measured() as cost:
        chapter = _written(material, bases)
    chapter.seconds, chapter.peak_bytes = cost["seconds"], int(cost["peak_bytes"])
    return chapter


def largest_of_each(material: Material) -> list[dict[str, Any]]:
    """Take one base checkpoint of each scale, the same mixture where there is one; largest last."""
    rows = material.models("pretrained")
    units = [row["unit"] for row in rows]
    middle = sorted(set(units))[len(set(units)) // 2] if units else None
    found: dict[Any, dict[str, Any]] = {}
    for row in rows:
        scale = row.get("scale")
        if scale not in found or (row["unit"] == middle != found[scale]["unit"]):
            found[scale] = row
    return list(found.values())


def _written(material: Material, bases: Sequence[dict[str, Any]]) -> Chapter:
    runs = {_name(row): _mastery(material, row) for row in bases}
    tables = _known(runs, material.facts)
    base, unit = bases[-1], runs[_name(bases[-1])]
    answers = _tuned(material, base, unit) if material.pretraining else None
    trains = "SFT sets could not be drawn from these facts."
    spared = "SFT by level and size trains models, which a study of given checkpoints does not."
    missing = [] if answers is not None else [trains if material.pretraining else spared]
    if answers is not None:
        tables |= {"knowledge_answers": answers, "knowledge_sft": accuracies(answers)}
    chapter = Chapter(NUMBER, TITLE, "", tables=tables, missing=missing)
    _judge(chapter, _name(base))
    chapter.sections = [_section(chapter)]
    return chapter


def _name(row: dict[str, Any]) -> str:
    return str(row.get("scale") or row["unit"])


def _mastery(material: Material, row: dict[str, Any]) -> Unit:
    budget = material.budget
    settings = {
        "limit": budget.facts,
        "samples": budget.samples,
        "max_new_tokens": TOKENS,
        "sizes": [0, *budget.sizes],
        "set_seeds": budget.seeds,
        "sft_prompt": PROMPT,
        "seed": material.seed,
        "device": material.device,
        "templates": str(material.templates) if material.templates else None,
    }
    material.report(f"knowledge: mastery of {_name(row)}")
    read = {"model": row["model"], "facts": material.facts, "templates": material.templates}
    keyed = settings | {name: identity(path) for name, path in read.items()}
    build = partial(_build_mastery, settings, str(row["model"]), str(material.facts))
    return material.ledger.unit(
        f"knowledge-mastery-{_plain(_name(row))}", keyed, [], build, code=CODE
    )


def _build_mastery(settings: dict[str, Any], model: str, facts: str, out: Path) -> None:
    from imprint.configuration import build
    from imprint.mastery import MasteryConfig, mastery

    mastery(model, facts, build(MasteryConfig, settings), out=out / "run")


def _known(runs: dict[str, Unit], facts: Path | None) -> dict[str, pl.DataFrame]:
    frames = []
    for name, unit in runs.items():
        frame = pl.read_parquet(unit.path / "run" / "tables" / "mastery.parquet")
        frames.append(frame.select(pl.lit(name).alias("scale"), *_COLUMNS))
    mastery = pl.concat(frames)
    tables = {"knowledge_mastery": mastery, "knowledge_levels": level_shares(mastery)}
    frequencies = _frequencies(facts)
    if frequencies is not None:
        tables["knowledge_frequency"] = by_frequency(mastery.join(frequencies, on="fact"))
    return tables


_COLUMNS = ("fact", "relation", "split", "hits", "total", "score", "level")


def level_shares(mastery: pl.DataFrame) -> pl.DataFrame:
    """Give the share of facts at each level, by scale, with Wilson intervals."""
    from imprint.mastery.levels import LEVELS, rate_interval

    rows = []
    for (scale,), group in mastery.group_by("scale", maintain_order=True):
        for level in range(LEVELS):
            rows.append((scale, level, int((group["level"] == level).sum()), len(group)))
    found = pl.DataFrame(rows, schema=["scale", "level", "facts", "of"], orient="row")
    low, high = rate_interval(found["facts"].to_numpy(), found["of"].to_numpy())
    return found.with_columns(
        share=pl.col("facts") / pl.col("of"), low=pl.Series(low), high=pl.Series(high)
    )


def _frequencies(facts: Path | None) -> pl.DataFrame | None:
    from imprint.tables import load_frame

    if facts is None or not facts.is_file() or facts.suffix == ".json":  # LRE tells none
        return None
    frame = load_frame(facts)
    if not {"fact", "frequency"} <= set(frame.columns):
        return None
    return frame.select("fact", pl.col("frequency").cast(pl.Float64))


def by_frequency(mastery: pl.DataFrame) -> pl.DataFrame:
    """Give the mean score by scale and fifth of the facts by frequency, with normal intervals."""
    rank = (pl.col("frequency").rank("ordinal").over("scale") - 1) * BINS // pl.len().over("scale")
    found = (
        mastery.with_columns(fifth=rank.cast(pl.Int64) + 1)
        .group_by("scale", "fifth", maintain_order=True)
        .agg(
            pl.len().alias("facts"),
            pl.col("frequency").mean(),
            pl.col("score").mean(),
            (pl.col("score").std() / pl.len().sqrt()).alias("se"),
        )
        .sort("scale", "fifth", maintain_order=True)
    )
    return found.with_columns(
        low=pl.col("score") - 1.96 * pl.col("se"), high=pl.col("score") + 1.96 * pl.col("se")
    )


def _tuned(material: Material, base: dict[str, Any], unit: Unit) -> pl.DataFrame | None:
    """Train on each set, ask every model, and give one row per model and fact."""
    sets = chosen_sets(unit.path / "run", material.budget)
    if not sets:
        return None
    models: dict[str, Unit] = {}
    for number, one in enumerate(sets):
        material.report(f"knowledge: SFT {number + 1} of {len(sets)} ({one['file']})")
        models[one["file"]] = _sft(material, base, unit, one)
    paths = {str(made.path / "model"): file for file, made in models.items()}
    settings = {"sft_prompt": PROMPT, "seed": material.seed, "device": material.device}
    build = partial(_build_closed_book, settings, list(paths), unit.path / "run")
    needs = [unit, *models.values()]
    asked = material.ledger.unit("knowledge-answers", settings, needs, build, code=CODE)
    answers = pl.read_parquet(asked.path / "answers.parquet")
    about = pl.DataFrame([_about(model, one) for model, one in _by_model(paths, sets)])
    return answers.join(about, on="model", maintain_order="left").drop("model")


def chosen_sets(run: Path, budget: Budget) -> list[dict[str, Any]]:
    """Choose SFT sets of a mastery run: every size of mixed levels, every level at one size."""
    table = run / "tables" / "splits.parquet"
    if not table.is_file():
        return []
    rows = pl.read_parquet(table).filter(pl.col("role") == "sft", pl.col("facts") > 0)
    rows = rows.unique("file", keep="first", maintain_order=True)
    middle = sorted(budget.sizes)[len(budget.sizes) // 2]
    wanted = ((pl.col("level") == MIXED) & (pl.col("asked") > 0)) | (
        (pl.col("level") != MIXED) & (pl.col("asked") == middle)
    )
    kept = rows.filter(wanted).select("file", "level", "asked", "facts", "seed")
    # where facts run short a larger set is the same as a smaller one
    return kept.unique(["level", "facts", "seed"], keep="first", maintain_order=True).to_dicts()


def _by_model(
    paths: dict[str, str], sets: Sequence[dict[str, Any]]
) -> list[tuple[str, dict[str, Any]]]:
    known = {one["file"]: one for one in sets}
    return [(model, known[file]) for model, file in paths.items()]


def _about(model: str, one: dict[str, Any]) -> dict[str, Any]:
    return {
        "model": model,
        "level_trained": one["level"],
        "asked": one["asked"],
        "trained": one["facts"],
        "seed": one["seed"],
    }


def _sft(material: Material, base: dict[str, Any], unit: Unit, one: dict[str, Any]) -> Unit:
    training = {"epochs": 4.0, "batch": 8, "max_length": 64, "seed": material.seed + one["seed"]}
    settings = {"training": training, "file": one["file"], "base": identity(base["model"])}
    name = f"knowledge-sft-{_plain(one['level'])}-{one['asked']}-{one['seed']}"
    data = unit.path / "run" / "tables" / one["file"]
    build = partial(_build_sft, training, str(base["model"]), data)
    code = ("imprint.lab.sft", "imprint.lab.methods")
    return material.ledger.unit(name, settings, [unit], build, code=code)


def _build_sft(training: dict[str, Any], base: str, data: Path, out: Path) -> None:
    from imprint.lab.sft import SftSettings, sft

    sft(base, data, out / "model", SftSettings(**training))


def _build_closed_book(settings: dict[str, Any], models: list[str], run: Path, out: Path) -> None:
    from imprint.configuration import build
    from imprint.mastery import MasteryConfig, closed_book

    found = closed_book(models, run, build(MasteryConfig, settings))
    found.tables["answers"].write_parquet(out / "answers.parquet")


def accuracies(answers: pl.DataFrame) -> pl.DataFrame:
    """Give accuracy by set and split: over facts, and the mean over levels that have facts."""
    by = ["level_trained", "asked", "trained", "split"]
    rows = answers.with_columns(right=pl.col("substring").cast(pl.Float64))
    levels = rows.group_by(*by, "level", maintain_order=True).agg(pl.col("right").mean())
    macro = levels.group_by(by, maintain_order=True).agg(
        pl.col("right").mean().alias("macro"), pl.len().alias("levels")
    )
    plain = rows.group_by(by, maintain_order=True).agg(
        pl.len().alias("answers"),
        pl.col("right").mean().alias("accuracy"),
        (pl.col("right").std() / pl.len().sqrt()).alias("se"),
    )
    found = plain.join(macro, on=by, maintain_order="left", nulls_equal=True)
    spread = 1.96 * pl.col("se")
    return found.with_columns(low=pl.col("accuracy") - spread, high=pl.col("accuracy") + spread)


def compared(answers: pl.DataFrame, one: pl.Expr, other: pl.Expr) -> Any:
    """Pair two kinds of models by fact; a difference of mean correctness with its interval."""
    from imprint.stats import paired_difference

    def means(which: pl.Expr, name: str) -> pl.DataFrame:
        kept = answers.filter(which).group_by("fact", maintain_order=True)
        return kept.agg(pl.col("substring").cast(pl.Float64).mean().alias(name))

    both = means(one, "one").join(means(other, "other"), on="fact", maintain_order="left")
    if len(both) < 2:
        return None
    return paired_difference(both["one"].to_numpy(), both["other"].to_numpy())


def _judge(chapter: Chapter, scale: str) -> None:
    levels = chapter.tables["knowledge_levels"].filter(pl.col("scale") == scale)
    shares = levels["share"].to_list()
    spread = all(share >= SHARE for share in shares)
    told = ", ".join(f"{level}: {share:.0%}" for level, share in enumerate(shares))
    words = [
        f"Levels of facts at {scale} are {told}; "
        + ("all five hold 5% or more." if spread else "not all five hold 5%.")
    ]
    answers = chapter.tables.get("knowledge_answers")
    if answers is not None:
        words += _told(chapter, answers)
    chapter.verdict = " ".join(words)
    states = [one.stance for one in chapter.agreement]
    chapter.decided = sum(stance != "cannot tell" for stance in states)
    chapter.undecided = len(states) - chapter.decided
    if chapter.decided:
        agrees = all(stance != "disagrees" for stance in states)
        whole: State = "holds" if agrees else "does_not_hold"
        chapter.state = "undetermined" if chapter.undecided and agrees else whole


def _told(chapter: Chapter, answers: pl.DataFrame) -> list[str]:
    mixed = pl.col("level_trained") == MIXED
    sizes = sorted(answers.filter(mixed)["trained"].unique().to_list())
    words = []
    if len(sizes) > 1:
        few, many = sizes[min(1, len(sizes) - 2)], sizes[-1]
        gap = compared(
            answers, mixed & (pl.col("trained") == few), mixed & (pl.col("trained") == many)
        )
        words += _pair(
            chapter,
            gap,
            f"SFT on {few} facts rather than {many}",
            "Beyond about 240 SFT samples accuracy falls",
            "same level, D0: 54.33 at 240, 45.47 at 1,920 (2509.16596)",
        )
    low, middle = (pl.col("level_trained") == level for level in ("0", "2"))
    gap = compared(answers, middle, low)
    words += _pair(
        chapter,
        gap,
        f"SFT on {_count(answers, '2')} facts of level 2 rather than {_count(answers, '0')} of "
        "level 0",
        "Facts of middle mastery train better than unknown ones",
        "57.53 (D2) against 45.47 (D0) at 1,920 samples (2509.16596)",
    )
    return words


def _count(answers: pl.DataFrame, level: str) -> str:
    """Say how many facts of a level were trained on; levels have unequally many."""
    found = answers.filter(pl.col("level_trained") == level)["trained"]
    return f"{found[0]:,}" if len(found) else "no"


def _pair(chapter: Chapter, gap: Any, what: str, claim: str, paper: str) -> list[str]:
    if gap is None or not np.isfinite(gap.low):
        chapter.agreement.append(Agreement(claim, paper, "no such sets", "cannot tell"))
        return []
    lab = f"{100 * gap.mean:+.1f} points [{100 * gap.low:+.1f}, {100 * gap.high:+.1f}]"
    stance: Stance = "agrees" if gap.low > 0 else "disagrees" if gap.high < 0 else "cannot tell"
    chapter.agreement.append(Agreement(claim, paper, f"{lab} over {gap.n:,} facts", stance))
    return [f"{what}: {lab}."]


def _section(chapter: Chapter) -> Section:
    section = Section(
        f"{NUMBER}. {TITLE}",
        "Levels by sampling every statement template; then SFT on sets of one level or of all, "
        "asked closed-book on facts that were not trained on.",
        anchor="knowledge",
    )
    levels, frequency = (chapter.tables.get(f"knowledge_{n}") for n in ("levels", "frequency"))
    if levels is not None:
        label = pl.concat_str([pl.col("scale"), pl.lit(" level "), pl.col("level").cast(pl.String)])
        drawn = levels.select(label.alias("label"), "low", "high", value="share", group="scale")
        section.figure(bars(drawn, title="Share of facts"), "Facts at each level, by scale.")
    if frequency is not None:
        drawn = frequency.select(x="frequency", y="score", low="low", high="high", series="scale")
        chart = curve(drawn, x_title="Mentions", y_title="Mastery score", log_x=True)
        section.figure(chart, "Mastery against a fact's frequency, by fifths of the facts.")
        section.table(frequency, "Mastery by fifth of the facts by frequency, and scale.")
    if "knowledge_sft" in chapter.tables:
        table = chapter.tables["knowledge_sft"]
        drawn = table.filter(pl.col("level_trained") == MIXED).select(
            x="trained", y="macro", series="split"
        )
        if len(drawn):
            chart = curve(drawn, x_title="SFT facts", y_title="Macro accuracy", log_x=True)
            section.figure(chart, "Accuracy, mean over levels, against the size of the SFT set.")
        section.table(table, "Accuracy by SFT set and split, in and out of domain.")
    return section


def _plain(text: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in text)
