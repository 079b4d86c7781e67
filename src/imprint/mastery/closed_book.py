"""Greedy closed-book evaluation of tuned models on the facts of a mastery run.

Levels belong to the base model of that run. Greedy decoding, at most 16 new tokens, the prompt of
the SFT sets, the matching of the run (arXiv 2509.16596, section 4).
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from imprint.errors import ConfigError, DataError
from imprint.findings import Finding
from imprint.formats.facts import accepted
from imprint.mastery.asking import strangers
from imprint.mastery.config import MasteryConfig
from imprint.mastery.levels import LEVELS, rate_interval
from imprint.mastery.matching import RULES, Matcher
from imprint.mastery.models import Answering, Named, with_length
from imprint.mastery.splits import TRAIN
from imprint.mastery.study import read_names
from imprint.models.sampling import ROWS_CPU
from imprint.progress import progress
from imprint.report import Shown, State, Verdict, publish
from imprint.runs import Run
from imprint.stats import paired_difference

NEW_TOKENS = 16
BLOCK = 128  # facts in a unit of the ledger
READ = ("fact", "relation", "answers", "question", "split", "level")
ANSWERS: dict[str, Any] = {
    "model": pl.String,
    "fact": pl.String,
    "text": pl.String,
    **dict.fromkeys(RULES, pl.Boolean),
    "null": pl.Boolean,
}


@dataclass(repr=False, frozen=True)
class ClosedBookResult(Shown):
    """What tuned models answer without help.

    Attributes:
        tables: ``answers`` (model, fact, text, the rules), ``levels`` (per model, split, level),
            ``relations`` (per model, split, relation), ``accuracy`` (per model and split: macro
            over levels, and plain), ``spread`` (over models).
        headline: the answer in a sentence.
        verdicts: the answers beside their null.
        data: the content of ``result.json``.
        findings: what was noticed.
        notes: for the method section of the report.
    """

    pages: ClassVar[str] = "imprint.mastery.closed_book_report"

    tables: dict[str, pl.DataFrame]
    headline: str
    verdicts: list[Verdict]
    data: dict[str, Any]
    findings: list[Finding]
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Inputs:
    """What an evaluation works on."""

    models: list[Named]
    config: MasteryConfig
    run: Path
    facts: pl.DataFrame
    findings: list[Finding]

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that changes what the numbers mean."""
        return {
            "mastery": with_length(self.config, NEW_TOKENS).settings(),
            "models": [model.settings() for model in self.models],
            "names": [model.name for model in self.models],
        }


def closed_book(
    models: Sequence[str | Path],
    run: str | Path,
    config: MasteryConfig | None = None,
    *,
    out: str | Path | None = None,
    quiet: bool = True,
) -> ClosedBookResult:
    """Ask tuned models the questions of a mastery run.

    Args:
        models: e.g. one recipe with several seeds.
        run: the folder of the base model's mastery run.
        config: matching, synonyms, prompt, splits, limit.
        out: run folder; without it none is written.
        quiet: show no progress.

    Raises:
        CheckpointError: a model cannot be loaded.
        ConfigError: a setting makes no sense.
        DataError: the run cannot be read, or has no questions to ask.
    """
    named = [Named(str(model)) for model in models]
    inputs = open_inputs(named, Path(run), config or MasteryConfig())
    opened = open_run(inputs, Path(out)) if out is not None else None
    return perform(inputs, opened, quiet=quiet)


def open_inputs(models: Sequence[Named], run: Path, config: MasteryConfig) -> Inputs:
    """Read the facts of the run: its test splits, or all facts where there are none."""
    config.check()
    if not models:
        raise ConfigError("no model is named")
    if len({model.name for model in models}) < len(models):
        raise ConfigError("a model is named twice")
    facts, findings = _read(run), []
    wanted = config.split or [s for s in facts["split"].drop_nulls().unique() if s != TRAIN]
    if len(wanted):
        facts = facts.filter(pl.col("split").is_in(list(wanted)))
    asked = facts.filter(pl.col("question").is_not_null())
    if len(asked) < len(facts):
        detail = f"{len(facts) - len(asked):,} facts have no question and are not asked"
        findings.append(Finding("no_question", detail, count=len(facts) - len(asked)))
    if not len(asked):
        raise DataError("has no facts with questions in these splits", where=str(run))
    return Inputs(list(models), config, run, _with_names(asked, config), findings)


def open_run(inputs: Inputs, out: Path) -> Run:
    """Open the run folder."""
    files = [_table(inputs.run), *(path for model in inputs.models for path in model.files)]
    return Run(out, "closed-book", inputs.settings, files, seed=inputs.config.seed)


def describe(inputs: Inputs, out: Path) -> str:
    """Say what an evaluation would do."""
    total = len(inputs.facts) * len(inputs.models)
    lines = [
        f"{len(inputs.facts):,} questions to {len(inputs.models)} models: {total:,} greedy answers "
        f"of at most {NEW_TOKENS} tokens.",
        *(line for model in inputs.models for line in model.describe(128, ROWS_CPU)),
        f"would write {out}",
    ]
    return "\n".join(lines)


def perform(inputs: Inputs, run: Run | None, *, quiet: bool = True) -> ClosedBookResult:
    """Ask everything and put the result together."""
    with progress(len(inputs.facts) * len(inputs.models), "questions", quiet=quiet) as bar:
        parts = []
        for number, model in enumerate(inputs.models):
            answering = Answering(model, inputs.config, quiet=quiet)
            for begin in range(0, len(inputs.facts), BLOCK):
                facts = inputs.facts[begin : begin + BLOCK]
                parts.append(_unit(run, f"model-{number}-{begin:07d}", answering, facts, inputs))
                bar.advance(len(facts))
    answers = pl.concat(parts).join(inputs.facts.drop("names", "strange"), on="fact")
    prompting = inputs.config.prompting
    answers = answers.with_columns(
        chat_template=pl.lit(prompting.chat_template),
        system_prompt=pl.lit(prompting.system_prompt, dtype=pl.String),
    )
    made = {"answers": answers, **accuracies(answers, inputs.config.match)}
    said = _headline(made["spread"])
    judged = verdicts(answers, inputs.config.match)
    data = {
        "job": "closed-book",
        "format": 1,
        "imprint": importlib.metadata.version("imprint"),
        "headline": said,
        "verdicts": [{"text": v.text, "state": v.state, "detail": v.detail} for v in judged],
        "mastery": str(inputs.run),
        "accuracy": made["accuracy"].to_dicts(),
        "spread": made["spread"].to_dicts(),
        "levels": made["levels"].to_dicts(),
        "settings": inputs.settings,
        "findings": [
            {"level": f.level, "check": f.check, "detail": f.detail} for f in inputs.findings
        ],
    }
    result = ClosedBookResult(made, said, judged, data, inputs.findings)
    if run is not None:
        publish(run, result)
    return result


def accuracies(answers: pl.DataFrame, match: str) -> dict[str, pl.DataFrame]:
    """Give the tables of accuracy.

    ``macro`` is the mean over the five levels (the paper's Acc_test), null where a level has no
    facts; ``macro_present`` the mean over the levels that have some; ``accuracy`` the plain mean
    over facts, with its Wilson interval.
    """
    scored = answers.with_columns(right=pl.col(match).cast(pl.Float64))
    levels = _rates(scored, ["model", "split", "level"])
    whole = _rates(scored, ["model", "split"])
    macro = levels.group_by("model", "split", maintain_order=True).agg(
        pl.when(pl.len() == LEVELS).then(pl.col("accuracy").mean()).alias("macro"),
        pl.col("accuracy").mean().alias("macro_present"),
        pl.len().alias("levels"),
    )
    accuracy = whole.join(macro, on=["model", "split"], nulls_equal=True, maintain_order="left")
    spread = accuracy.group_by("split", maintain_order=True).agg(
        pl.len().alias("models"),
        *(pl.col(n).mean() for n in ("accuracy", "macro", "macro_present")),
        *(pl.col(n).std().alias(f"{n}_sd") for n in ("accuracy", "macro", "macro_present")),
    )
    return {
        "levels": levels,
        "relations": _rates(scored, ["model", "split", "relation"]),
        "accuracy": accuracy,
        "spread": spread,
    }


def _rates(scored: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    found = scored.group_by(by, maintain_order=True).agg(
        pl.len().alias("facts"),
        pl.col("right").sum().cast(pl.Int64),
        pl.col("right").mean().alias("accuracy"),
        pl.col("null").cast(pl.Float64).mean(),
    )
    low, high = rate_interval(found["right"].to_numpy(), found["facts"].to_numpy())
    found = found.with_columns(low=pl.Series(low), high=pl.Series(high))
    return found.sort(by, nulls_last=True, maintain_order=True) if "level" in by else found


def _unit(
    run: Run | None, name: str, answering: Answering, facts: pl.DataFrame, inputs: Inputs
) -> pl.DataFrame:
    def compute() -> dict[str, pl.DataFrame]:
        return {"answers": _ask(answering, facts, inputs.config)}

    return (run.unit(name, compute) if run else compute())["answers"]


def _ask(answering: Answering, facts: pl.DataFrame, config: MasteryConfig) -> pl.DataFrame:
    source = answering.source(with_length(config, NEW_TOKENS), greedy=True)
    rows = facts.rows(named=True)
    asked = [config.sft_prompt.replace("{question}", row["question"]) for row in rows]
    if answering.prompter.template is not None:
        asked = [answering.prompter.context(row["question"]) for row in rows]
    names = [(row["fact"],) for row in rows]
    texts = source.open(asked, names, stop=None).greedy()
    found = []
    for row, text in zip(rows, texts, strict=True):
        hits, strange = Matcher(row["names"]).hits(text), row["strange"]
        null = Matcher(strange).hits(text)[config.matched] if strange else None
        found.append((answering.named.name, row["fact"], text, *hits, null))
    return pl.DataFrame(found, schema=ANSWERS, orient="row")


def _with_names(facts: pl.DataFrame, config: MasteryConfig) -> pl.DataFrame:
    """Add what counts as the answer, and the names of another fact's answer for the null."""
    synonyms, _ = read_names(config)
    rows = facts.rows(named=True)
    names = [tuple(accepted(row["answers"], synonyms)) for row in rows]
    others = [list(o) if o else None for o in strangers(rows, names, config.seed)]
    return facts.with_columns(
        names=pl.Series([list(n) for n in names], dtype=pl.List(pl.String)),
        strange=pl.Series(others, dtype=pl.List(pl.String)),
    )


def verdicts(answers: pl.DataFrame, match: str) -> list[Verdict]:
    """Judge the answers beside their null, over facts."""
    text = "The models give the answer more often than they name another fact's answer."
    kept = answers.filter(pl.col("null").is_not_null()).group_by("fact", maintain_order=True)
    means = kept.agg(pl.col(match, "null").cast(pl.Float64).mean())
    if len(means) < 2:
        return [Verdict(text, "undetermined", "Fewer than two facts have another answer beside.")]
    ours, null = means[match].to_numpy(), means["null"].to_numpy()
    gap = paired_difference(ours, null)
    detail = (
        f"{ours.mean():.4f} against {null.mean():.4f}; difference {gap.mean:+.4f} "
        f"[{gap.low:+.4f}, {gap.high:+.4f}] over {gap.n:,} facts."
    )
    state: State = "holds" if gap.low > 0 else "does_not_hold" if gap.high < 0 else "undetermined"
    return [Verdict(text, state, detail + (MORE if state == "undetermined" else ""))]


MORE = " More facts would decide it."


def _headline(spread: pl.DataFrame) -> str:
    told = []
    for row in spread.rows(named=True):
        deviation = f" (SD {row['accuracy_sd']:.3f})" if row["accuracy_sd"] is not None else ""
        macro = f", {row['macro']:.3f} over levels" if row["macro"] is not None else ""
        told.append(f"{row['split'] or 'facts'}: {row['accuracy']:.3f}{deviation}{macro}")
    return f"Closed-book accuracy of {spread['models'][0]} models: {'; '.join(told)}."


def _table(run: Path) -> Path:
    path = run / "tables" / "mastery.parquet"
    try:
        job = json.loads((run / "manifest.json").read_text(encoding="utf-8")).get("job")
    except (OSError, ValueError, AttributeError) as failed:
        raise DataError("is no finished run of `imprint mastery`", where=str(run)) from failed
    if job != "mastery" or not path.is_file():
        raise DataError(f"is a run of {job!r}, not of `imprint mastery`", where=str(run))
    return path


def _read(run: Path) -> pl.DataFrame:
    path = _table(run)
    try:
        return pl.read_parquet(path, columns=list(READ))
    except (OSError, pl.exceptions.PolarsError) as failed:
        raise DataError(f"cannot be read: {failed}", where=str(path)) from failed
