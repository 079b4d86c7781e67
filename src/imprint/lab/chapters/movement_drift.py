"""How far next-token distributions moved: by stage, by the size of the SFT set, by its level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from imprint.drift import drift
from imprint.errors import DataError
from imprint.formats.facts import read_facts
from imprint.lab.chapters.asking import Question, ask, some, taught
from imprint.lab.chapters.chapter import Agreement, Material
from imprint.lab.chapters.contrast import Contrast, contrast
from imprint.lab.chapters.part import Part, interval, stance, stance_of, state
from imprint.lab.chapters.units import Frames, checkpoint, tables, training
from imprint.lab.ledger import Work
from imprint.lab.sft import SftSettings
from imprint.mastery import MasteryConfig, mastery
from imprint.models.tokenizer import tokenizer_of
from imprint.report import Section
from imprint.report.figures import curve, forest
from imprint.stats import bonett_wright_interval, permutation_p, spearman

CODE = ("imprint.drift", "imprint.models", "imprint.lab.chapters.movement_drift")
BATCH, RATE, LONGEST = 8, 1e-3, 128  # batch of arXiv 2509.16596; a rate for small models
FEWEST = 8  # facts of a level that are worth a training
EPOCH, STEPS, LEVEL = "one epoch", "equal steps", "one level, equal steps"
QUESTIONS = 240
Pair = tuple[dict[str, Any], dict[str, Any]]
Plans = dict[str, tuple[list[Question], dict[str, Any]]]  # name → what is taught, and labels


@dataclass(frozen=True)
class Trained:
    """Models that the chapter trained from one base on facts.

    Attributes:
        base: its folder.
        models: name → folder.
        about: a row per model: ``model``, ``arm``, ``size``, ``level``, ``steps``, ``seed``.
        taught: the questions of the largest set, for what fine-tuning taught.
        held_out: questions about facts that no set holds.
        mastered: folder of the base's mastery run, where there is one.
    """

    base: str
    models: dict[str, str]
    about: pl.DataFrame
    taught: list[Question]
    held_out: list[Question]
    mastered: Path | None = None
    missing: list[str] = field(default_factory=list)

    @property
    def largest(self) -> str:
        """The model of the largest set, trained for one epoch, of the first training."""
        own = self.about.filter((pl.col("arm") == EPOCH) & (pl.col("seed") == 0)).sort("size")
        return self.models[own["model"][-1]]


def by_stage(material: Material, pairs: Sequence[Pair]) -> Part:
    """Measure the drift of tuned checkpoints from the base of each, beside a shuffled change."""
    if material.texts is None:
        return Part(missing=["Drift on plain texts needs texts (--texts)."])
    rows = [_pair_row(material, *pair) for pair in pairs]
    frame = pl.concat(rows, how="diagonal_relaxed")
    first = frame.row(0, named=True)
    found = Part(tables={"movement_stages": frame})
    found.answer = (
        f"From {_named(pairs[0][0])} to {first['stage']}, next-token predictions moved by "
        f"{interval(first['kl'], first['low'], first['high'])} nats per token on "
        f"{first['texts']} texts."
    )
    found.said = _shuffled(first)
    found.states.append(state(first["excess_low"], first["excess_high"]))
    found.sections.append(_stage_section(frame))
    return found


def train_sets(material: Material, base: str) -> Trained | Part:
    """Train the base on facts: sets of several sizes, and sets of one mastery level each."""
    if material.facts is None:
        return Part(missing=["Drift against size and level needs facts (--facts)."])
    facts = read_facts(material.facts).facts.filter(pl.col("question").is_not_null())
    kept = facts.filter(pl.col("split") == "train")
    learnt = questions_of(kept if len(kept) else facts[::2])
    rest = facts.filter(pl.col("split") == "test") if len(kept) else facts[1::2]
    tokenizer = tokenizer_of(base)
    plans: Plans = _sizes(material, learnt)
    run = _mastered(material, base)
    missing = [] if run else ["Levels need templates of the facts' relations (--templates)."]
    if run:
        plans |= _levels(material, run, learnt, missing)
    plans = _repeated(plans, material.budget.seeds)
    works = {
        name: _work(material, base, name, taught(questions, tokenizer), about)
        for name, (questions, about) in plans.items()
    }
    units = material.ledger.run(list(works.values()))
    about = pl.DataFrame([{"model": name, **one} for name, (_, one) in plans.items()])
    largest = max(plans.values(), key=lambda plan: len(plan[0]))[0]
    held = some(questions_of(rest), QUESTIONS, material.seed)
    models = dict(zip(works, map(checkpoint, units), strict=True))
    return Trained(base, models, about, largest, held, run, missing)


def by_set(material: Material, trained: Trained) -> Part:
    """Measure how far each of the trained models moved, and what it knows of facts held out."""
    frames = _measured(material, trained)
    summary, texts = frames["summary"], frames["texts"]
    summary = trained.about.join(summary, on="model", how="left", maintain_order="left")
    found = Part(missing=trained.missing)
    found.tables = {"movement_sets": summary}
    if "facts" in frames:
        found.tables["movement_first_token"] = frames["facts"]
    _by_size(found, summary, texts)
    _by_level(found, summary, texts)
    _against_accuracy(found, summary)
    found.sections.append(_set_section(summary, found.tables.get("movement_first_token")))
    return found


def _repeated(plans: Plans, seeds: int) -> Plans:
    """Train each set once per seed; trainings differ in the order of their batches."""
    if seeds == 1:
        return {name: (asked, {**about, "seed": 0}) for name, (asked, about) in plans.items()}
    return {
        f"{name}, training {seed + 1}": (asked, {**about, "seed": seed})
        for name, (asked, about) in plans.items()
        for seed in range(seeds)
    }


def questions_of(facts: pl.DataFrame) -> list[Question]:
    """Turn rows of facts with questions into questions, their relation as the group."""
    return [
        Question(row["fact"], row["relation"], row["question"], row["answers"][0])
        for row in facts.iter_rows(named=True)
        if row["answers"]
    ]


def _pair_row(material: Material, base: dict[str, Any], tuned: dict[str, Any]) -> pl.DataFrame:
    assert material.texts is not None  # noqa: S101 (the caller looked)
    before, after = str(base["model"]), str(tuned["model"])
    config = {**_config(material), "null": 1}
    measure = partial(_drift_of_pair, before, after, material.texts, config)
    parts = (_safe(tuned.get(key)) for key in ("scale", "unit", "stage"))
    name = f"movement-drift-{'-'.join(parts)}"
    frames, _ = tables(
        material, name, config, measure, models=(before, after), files=(material.texts,), code=CODE
    )
    labels = [
        pl.lit(None if tuned.get(key) is None else str(tuned[key])).alias(key)
        for key in ("unit", "scale", "stage")
    ]
    return frames["pair"].select(*labels, pl.all())


def _config(material: Material) -> dict[str, Any]:
    budget = material.budget
    own = {"limit": budget.texts, "resamples": budget.resamples, "seed": material.seed}
    return {**own, "device": material.device, "quiet": True}


def _drift_of_pair(
    base: str, tuned: str, texts: Path, config: Mapping[str, Any], _: Path
) -> Frames:
    result = drift(base, tuned, texts=texts, **_limited(texts, config))
    own = result.tables["summary"].filter(pl.col("measure") == "kl").row(0, named=True)
    same = result.tables["summary"].filter(pl.col("measure") == "top1_same").row(0, named=True)
    null = result.tables["null"].row(0, named=True)
    row = {
        "kl": own["mean"],
        **{name: own[name] for name in ("low", "high", "tokens", "texts")},
        "same_top1": same["mean"],
        "null": null["kl_mean"],
        "null_low": null["kl_low"],
        "null_high": null["kl_high"],
        **{name: null[name] for name in ("excess", "excess_low", "excess_high")},
    }
    return {"pair": pl.DataFrame([row], infer_schema_length=None)}


def _limited(texts: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Share the texts that may be read out among the domains of the file."""
    from imprint.drift.texts import read_samples

    domains = len({sample.domain for sample in read_samples(texts)})
    return {**config, "limit": max(1, round(config["limit"] / max(domains, 1)))}


def _sizes(material: Material, learnt: Sequence[Question]) -> Plans:
    plans = {}
    sizes = sorted({min(size, len(learnt)) for size in material.budget.sizes})
    for size in sizes:
        chosen = some(learnt, size, material.seed)
        for arm, steps in ((EPOCH, -(-size // BATCH)), (STEPS, material.budget.steps)):
            about = {"arm": arm, "size": size, "level": None, "steps": steps}
            plans[f"{size} facts, {arm}"] = chosen, about
    return plans


def _mastered(material: Material, base: str) -> Path | None:
    """Score the base's mastery of some facts; ``None`` without templates."""
    if material.templates is None or material.facts is None:
        return None
    there = set(read_facts(material.facts).facts["split"].drop_nulls())
    config = MasteryConfig(
        split=tuple(name for name in ("train", "test") if name in there),
        templates=str(material.templates),
        limit=2 * material.budget.facts,
        samples=material.budget.samples,
        max_new_tokens=8,
        seed=material.seed,
        device=material.device,
    )
    _, folder = tables(
        material,
        "movement-mastery",
        {**config.settings(), "templates": None},
        partial(_master, base, material.facts, config),
        models=(base,),
        files=(material.facts, material.templates),
        code=("imprint.mastery", "imprint.models"),
    )
    return folder / "run"


def _master(base: str, facts: Path, config: MasteryConfig, folder: Path) -> Frames:
    mastery(base, facts, config, out=folder / "run")
    return {}


def _levels(material: Material, run: Path, learnt: Sequence[Question], missing: list[str]) -> Plans:
    known = pl.read_parquet(run / "tables" / "mastery.parquet").select("fact", "level")
    level = dict(known.drop_nulls().iter_rows())
    by = {n: [q for q in learnt if level.get(q.name) == n] for n in range(5)}
    enough = {n: questions for n, questions in by.items() if len(questions) >= FEWEST}
    if len(enough) < len(by):
        few = ", ".join(f"level {n}: {len(by[n])}" for n in by if n not in enough)
        missing.append(f"Too few facts for an SFT set of their own ({FEWEST} are needed): {few}.")
    size = min(map(len, enough.values()), default=0)
    plans = {}
    for n, questions in enough.items():
        about = {"arm": LEVEL, "size": size, "level": n, "steps": material.budget.steps}
        plans[f"level {n}"] = some(questions, size, material.seed), about
    return plans


def _work(
    material: Material,
    base: str,
    name: str,
    rows: Sequence[Mapping[str, Any]],
    about: Mapping[str, Any],
) -> Work:
    settings = SftSettings(
        steps=about["steps"],
        batch=BATCH,
        lr=RATE,
        max_length=LONGEST,
        seed=material.seed + about["seed"],
        device=material.device,
    )
    return training(material, base, f"movement-{_safe(name)}", rows, settings)


def _measured(material: Material, trained: Trained) -> Frames:
    names, models = list(trained.models), list(trained.models.values())
    config = _config(material)
    measure = partial(_drift_of_sets, trained, material.texts, config)
    files = () if material.texts is None else (material.texts,)
    asked = [[q.name, q.prompt, q.answer] for q in trained.held_out]
    return tables(
        material,
        "movement-sets",
        {**config, "names": names, "asked": asked, "levels": trained.mastered is not None},
        measure,
        models=(trained.base, *models),
        files=files,
        code=(*CODE, "imprint.lab.chapters.asking"),
    )[0]


def _drift_of_sets(
    trained: Trained, texts: Path | None, config: Mapping[str, Any], _: Path
) -> Frames:
    names, models = list(trained.models), list(trained.models.values())
    limited = _limited(texts, config) if texts else {**config, "limit": None}
    sources: dict[str, Any] = {"texts": texts, "mastery": trained.mastered}
    try:
        result = drift(trained.base, models, **sources, **limited)
    except DataError:  # the base says no answer at the beginning of what it writes
        result = drift(trained.base, models, near=0, **sources, **limited)
    called = result.tables["summary"]["tuned"].unique(maintain_order=True).to_list()
    rename = pl.col("tuned").replace_strict(dict(zip(called, names, strict=True)))
    own = result.tables["summary"].filter(pl.col("measure") == "kl")
    summary = own.select(rename.alias("model"), "low", "high", "texts", kl="mean")
    answers = ask([trained.base, *models], trained.held_out, config["device"])
    known = answers.group_by("model", maintain_order=True).agg(
        accuracy=pl.col("correct").cast(pl.Float64).mean(), logprob=pl.col("logprob").mean()
    )
    known = known.with_columns(
        pl.col("model").replace_strict(dict(enumerate(["base", *names])), return_dtype=pl.String)
    )
    base = known.row(0, named=True)
    summary = summary.join(known, on="model", how="left", maintain_order="left").with_columns(
        base_accuracy=pl.lit(base["accuracy"]), base_logprob=pl.lit(base["logprob"])
    )
    frames = {
        "summary": summary,
        "texts": result.tables["texts"].select(rename.alias("model"), "text", "kl"),
    }
    if "levels" in result.tables:
        first = result.tables["levels"].filter(pl.col("measure") == "kl_tuned_base_top10")
        frames["facts"] = first.select(
            rename.alias("model"), "level", "low", "high", kl_top10="mean", facts="texts"
        )
    return frames


def _by_size(found: Part, summary: pl.DataFrame, texts: pl.DataFrame) -> None:
    sizes = summary.filter(pl.col("arm") == EPOCH)["size"].unique().sort().to_list()
    if len(sizes) < 2:
        found.missing.append("Drift against size needs facts for two sizes.")
        return
    many, few = pl.col("size") == sizes[-1], pl.col("size") == sizes[0]
    grown, same = (
        _contrast(summary.filter(pl.col("arm") == arm), many, few, texts) for arm in (EPOCH, STEPS)
    )
    found.said = (
        f"Size: drift after {sizes[-1]} SFT facts less drift after {sizes[0]} is {_nats(grown)} "
        f"with one epoch each, where the larger set takes more steps, and {_nats(same)} at equal "
        f"steps ({grown.each})."
    )
    found.states.append(grown.state)
    found.agreement.append(
        Agreement(
            "Drift grows with the number of SFT samples.",
            "From 240 to 1,920 samples KL rises, after a fall from 60 to 240 (arXiv 2509.16596, "
            "figures only; sheet mastery, section 7).",
            f"{sizes[-1]} less {sizes[0]} facts: {_nats(grown)} in one epoch, {_nats(same)} at "
            f"equal steps ({grown.each}).",
            stance_of(grown.state),
        )
    )


def _by_level(found: Part, summary: pl.DataFrame, texts: pl.DataFrame) -> None:
    arm = summary.filter(pl.col("arm") == LEVEL)
    low, high = (pl.col("level").is_in(levels) for levels in ((0, 1), (3, 4)))
    if arm.filter(low).is_empty() or arm.filter(high).is_empty():
        found.missing.append("Drift against level needs sets of little known and well known facts.")
        return
    gap = _contrast(arm, low, high, texts)
    found.said += (
        " Level: drift after sets of little known facts (levels 0 and 1) less that after as many "
        f"well known ones (3 and 4) is {_nats(gap)} ({gap.each})."
    )
    found.agreement.append(
        Agreement(
            "Little known facts (levels 0 and 1) move a model most.",
            "KL rises most for D0 and D1 (arXiv 2509.16596, figures only; sheet mastery, 7).",
            f"Levels 0–1 less levels 3–4, equal size and steps: {_nats(gap)} ({gap.each}).",
            stance_of(gap.state),
        )
    )


def _contrast(rows: pl.DataFrame, one: pl.Expr, other: pl.Expr, texts: pl.DataFrame) -> Contrast:
    """Compare the drift of models with that of others: on the same texts, training by training."""
    pairs = []
    for seed in rows["seed"].unique().sort():
        own = rows.filter(pl.col("seed") == seed)
        sides = (own.filter(side)["model"].to_list() for side in (one, other))
        pairs.append(tuple(_by_text(texts, names) for names in sides))
    return contrast([(a, b) for a, b in pairs])


def _by_text(texts: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Give the mean drift of models on each text, in the columns that a contrast reads."""
    own = texts.filter(pl.col("model").is_in(list(names))).group_by("text", maintain_order=True)
    return own.agg(probability=pl.col("kl").mean()).select(
        item=pl.col("text").cast(pl.String), domain=pl.lit(""), probability="probability"
    )


def _nats(found: Contrast) -> str:
    return f"{interval(found.estimate, found.low, found.high, '+.3g')} nats per token"


def _over_trainings(summary: pl.DataFrame) -> pl.DataFrame:
    """Average the trainings of each set."""
    by = summary.group_by("arm", "size", "level", maintain_order=True)
    return by.agg(pl.col("kl", "low", "high", "logprob", "accuracy").mean())


def _against_accuracy(found: Part, summary: pl.DataFrame) -> None:
    known = _over_trainings(summary).drop_nulls(["kl", "logprob"])
    if len(known) < 5:
        return
    x, y = (known[name].to_numpy().astype(np.float64)[:, None] for name in ("kl", "logprob"))
    rho = float(spearman(x, y)[0])
    low, high = (float(end[0]) for end in bonett_wright_interval(np.array([rho]), len(known)))
    p = float(permutation_p(x, y, seed=0, ranks=True).p[0])
    found.agreement.append(
        Agreement(
            "The further a model moved, the less it knows of facts held out.",
            "Higher KL goes with lower accuracy on test facts (arXiv 2509.16596, figures only; "
            "sheet mastery, section 7).",
            f"Spearman of KL and mean log-probability of held-out answers over {len(known)} "
            f"sets taught to one base {interval(rho, low, high, '+.2f')}, p = {p:.3f}.",
            stance(-high, -low),
        )
    )


def _stage_section(frame: pl.DataFrame) -> Section:
    section = Section(
        "How far each stage moved",
        "How differently base and tuned model continue the same texts: KL(base‖tuned), nats per "
        "token. At 0 they agree; 0.69 is a word that the base was sure of, now given one half. "
        "Beside it the base moved by the same changes, shuffled among the weights of each tensor.",
    )
    label = pl.concat_str("scale", "unit", "stage", separator=" ", ignore_nulls=True)
    parts = [
        frame.select(label=label, estimate="kl", low="low", high="high", group=pl.lit("tuned")),
        frame.select(
            label=label,
            estimate="null",
            low="null_low",
            high="null_high",
            group=pl.lit("the same change, shuffled"),
        ),
    ]
    drawn = pl.concat(parts)
    top = max(float(drawn["high"].fill_null(0).max() or 0), float(drawn["estimate"].max() or 0))  # type: ignore[arg-type]
    section.figure(
        forest(drawn, title="KL, nats per token", domain=(0.0, 1.05 * top or 1.0), zero=None),
        "With 95 % intervals over texts.",
        wide=True,
    )
    section.table(frame, "Drift of each pair")
    return section


def _set_section(summary: pl.DataFrame, first: pl.DataFrame | None) -> Section:
    section = Section(
        "Drift against size and level",
        "One base, fine-tuned on questions about facts. Sizes are trained for one epoch, where "
        "steps grow with the set, and for equal steps; levels are sets of equal size of facts "
        "that the base masters equally well.",
    )
    means = _over_trainings(summary)
    sizes = means.filter(pl.col("arm") != LEVEL)
    drawn = sizes.select(x="size", y="kl", low="low", high="high", series="arm")
    chart = curve(drawn, x_title="Facts in the SFT set", y_title="KL, nats per token", log_x=True)
    section.figure(chart, "Drift by size, with 95 % intervals over texts.", wide=True)
    levels = means.filter(pl.col("arm") == LEVEL)
    if len(levels) > 1:
        label = pl.format("level {}", "level")
        drawn = levels.select(label=label, estimate="kl", low="low", high="high")
        top = max(float(one) for one in drawn["high"].fill_null(0))
        chart = forest(
            drawn, title="KL, nats per token", domain=(0.0, 1.05 * top or 1.0), zero=None
        )
        section.figure(
            chart,
            "Drift by mastery level of the facts taught (0: never said right, 4: nearly always), "
            "with 95 % intervals over texts.",
            wide=True,
        )
    section.table(summary, "Trained sets, their drift, and answers about facts held out")
    if first is not None and (first["facts"].max() or 0) >= FEWEST:  # type: ignore[operator]
        section.table(first, "First token of facts by level, the published measure (tuned‖base)")
    return section


def _shuffled(row: Mapping[str, Any]) -> str:
    if row.get("null") is None:
        return ""
    told = interval(row["null"], row["null_low"], row["null_high"])
    return f"The same changes, shuffled among the weights of each tensor, move them by {told} nats."


def _named(row: Mapping[str, Any]) -> str:
    parts = [row.get("unit"), row.get("scale")]
    return " ".join(str(part) for part in parts if part is not None) or "the base"


def _safe(value: object) -> str:
    text = "none" if value is None else str(value)
    return "".join(c if c.isalnum() else "-" for c in text).strip("-") or "none"
