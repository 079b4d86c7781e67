"""A mastery run: facts in blocks, each a unit of the ledger, then tables, sets and report."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from imprint.errors import ConfigError, DataError
from imprint.findings import Finding
from imprint.formats.facts import (
    FLAGS,
    Synonyms,
    Templates,
    flag,
    paper_synonyms,
    read_facts,
    read_synonyms,
    read_templates,
)
from imprint.mastery import tables
from imprint.mastery.asking import Asked, ask
from imprint.mastery.config import MasteryConfig
from imprint.mastery.models import Answering, Named
from imprint.mastery.result import MasteryResult, data_of
from imprint.mastery.scoring import BLOCK, score_block
from imprint.mastery.splits import write_splits
from imprint.mastery.stopping import most_saved
from imprint.mastery.verdicts import headline, verdicts
from imprint.models.inverse_cdf import key
from imprint.models.sampling import ROWS_CPU
from imprint.progress import progress
from imprint.report import publish
from imprint.runs import Run

BUDGET = 100_000  # samples beyond which the command line wants --yes


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a run works on, read and checked; no model is loaded.

    Attributes:
        model: what answers.
        config: the settings.
        facts: the facts to score, flags added.
        asked: how each is asked for.
        findings: what was noticed on the way.
        files: what was read.
    """

    model: Named
    config: MasteryConfig
    facts: pl.DataFrame
    asked: list[Asked]
    findings: list[Finding]
    files: list[Path]

    @property
    def samples(self) -> int:
        """Samples of a full run."""
        if self.config.likelihood == "only":
            return 0
        return self.config.samples * self.prompts

    @property
    def prompts(self) -> int:
        """Prompts of all facts."""
        return sum(len(asked.prompts) for asked in self.asked)

    @property
    def blocks(self) -> list[list[Asked]]:
        """Facts that are sampled together: neighbours that are asked in one way."""
        found: list[list[Asked]] = []
        for asked in self.asked:
            if found and len(found[-1]) < BLOCK and found[-1][0].kind == asked.kind:
                found[-1].append(asked)
            else:
                found.append([asked])
        return found

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Everything that changes what the numbers mean."""
        return {"mastery": self.config.settings(), **self.model.settings()}


def mastery(
    model: str | Path,
    facts: str | Path,
    config: MasteryConfig | None = None,
    *,
    out: str | Path | None = None,
    quiet: bool = True,
) -> MasteryResult:
    """Score how well a model knows facts.

    Args:
        model: ``PATH_OR_REPO[@REVISION][+ADAPTER[@REVISION]]``.
        facts: EntityQuestions, LRE relations, ParaRel, or JSON lines of facts.
        config: everything else.
        out: run folder; without it none is written, and a killed run begins anew.
        quiet: show no progress.

    Raises:
        CheckpointError: the model cannot be loaded.
        ConfigError: a setting makes no sense.
        DataError: facts or templates that cannot be used.
        DependencyError: torch or transformers is not installed.
    """
    inputs = open_inputs(Named(str(model)), Path(facts), config or MasteryConfig())
    run = open_run(inputs, Path(out)) if out is not None else None
    return perform(inputs, run, quiet=quiet)


def open_inputs(model: Named, facts: Path, config: MasteryConfig) -> Inputs:
    """Read facts, templates and synonyms, and prepare every prompt."""
    config.check()
    found = read_facts(facts, config.split, config.map)
    kept, noticed = flag(found.facts)
    findings = [*found.findings, *noticed]
    for leak in config.drop:
        before, kept = len(kept), kept.filter(~pl.col(FLAGS[leak]))
        detail = f"{before - len(kept):,} facts are dropped: {leak}"
        findings.append(Finding("dropped", detail, "info", count=before - len(kept)))
    kept = _limited(kept, config)
    if not len(kept):
        raise DataError("no facts are left to score", where=str(facts))
    templates, files = _templates(found.templates, config)
    synonyms, more = read_names(config)
    asked = ask(kept, templates, synonyms, config)
    unlike = sum(one.kind == "few-shot" for one in asked)
    if unlike and config.asking == "auto":
        detail = f"{unlike:,} facts have no templates and are asked by few-shot prompts"
        findings.append(Finding("few_shot", detail, "info", count=unlike))
    return Inputs(model, config, kept, asked, findings, [facts, *files, *more])


def open_run(inputs: Inputs, out: Path) -> Run:
    """Open the run folder; its fingerprint covers model, facts, settings and versions."""
    files = [*inputs.files, *inputs.model.files]
    return Run(out, "mastery", inputs.settings, files, seed=inputs.config.seed)


def describe(inputs: Inputs, out: Path) -> str:
    """Say what a run would do."""
    config, total = inputs.config, inputs.samples
    spared = sum(most_saved(len(a.prompts) * config.samples) for a in inputs.asked)
    kinds = {
        kind: sum(a.kind == kind for a in inputs.asked) for kind in ("own", "templates", "few-shot")
    }
    told = ", ".join(f"{count:,} by {kind}" for kind, count in kinds.items() if count)
    lines = [f"{len(inputs.facts):,} facts ({told}), {inputs.prompts:,} prompts."]
    if total:
        tokens = total * config.max_new_tokens
        exact = f"; exact stopping can save {spared:,} of them" if config.stop == "exact" else ""
        lines.append(
            f"{total:,} samples of {config.max_new_tokens} tokens, {tokens:,} in all{exact}."
        )
    lines += inputs.model.describe(_longest(inputs), config.batch_size or ROWS_CPU)
    return "\n".join([*lines, f"would write {out}"])


def _longest(inputs: Inputs) -> int:
    """Estimate the tokens of the longest prompt with its continuation: four characters make one."""
    shots = 1 + inputs.config.prompting.num_fewshot
    characters = (
        len(prompt) * (shots if asked.kind == "few-shot" else 1)
        for asked in inputs.asked
        for prompt in asked.prompts
    )
    return max(characters) // 4 + inputs.config.max_new_tokens


def perform(
    inputs: Inputs, run: Run | None, *, answering: Answering | None = None, quiet: bool = True
) -> MasteryResult:
    """Score all facts and put the result together."""
    at_work = answering or Answering(inputs.model, inputs.config, quiet=quiet)
    templates, samples, cut = _scored(inputs, run, at_work, quiet=quiet)
    found = tables.mastery_table(inputs.facts, inputs.asked, templates, inputs.config)
    shots = pl.when(pl.col("asking") == "few-shot").then(inputs.config.prompting.num_fewshot)
    found = found.with_columns(
        *(pl.lit(value, dtype=pl.String).alias(name) for name, value in _labels(inputs).items()),
        shots.otherwise(0).alias("num_fewshot"),
    )
    made = {
        "mastery": found,
        "templates": templates,
        "relations": tables.relation_table(found),
        "levels": tables.level_table(found),
        "template_success": tables.template_table(templates, found),
    }
    findings, files = [*inputs.findings, *_cut(cut)], {}
    if inputs.config.likelihood == "only":
        findings.append(Finding("lower_bound", LOWER, "info"))
    if samples is not None:
        made["samples"] = samples
    if inputs.config.sizes:
        sets = write_splits(found, inputs.config)
        made["splits"], files = sets.sets, sets.files
        findings += sets.findings
    judged, said = verdicts(found), headline(found)
    about = {"model": at_work.record(), "settings": inputs.settings}
    data = data_of(made, said, judged, findings, about)
    result = MasteryResult(made, said, judged, data, findings, files)
    if run is not None:
        publish(run, result, result.files)
    return result


LOWER = "scores count only answers that follow at once, at temperature 1: less than samples give"


def seconds(inputs: Inputs, answering: Answering) -> float:
    """Estimate the time of a full run from a few samples of the first fact."""
    few = replace(inputs.config, samples=2, stop="none", slick=False, keep_samples=False)
    block = inputs.blocks[0][:1]
    source = answering.source(few)
    begun = time.perf_counter()
    score_block(block, source, None, answering.prompter, few)
    return (time.perf_counter() - begun) / (2 * len(block[0].prompts)) * inputs.samples


def _labels(inputs: Inputs) -> dict[str, Any]:
    """Give the columns that say what answered, and how it was asked."""
    prompting = inputs.config.prompting
    return {
        "model": inputs.model.name,
        "chat_template": prompting.chat_template,
        "system_prompt": prompting.system_prompt,
    }


def _scored(
    inputs: Inputs, run: Run | None, answering: Answering, *, quiet: bool
) -> tuple[pl.DataFrame, pl.DataFrame | None, int]:
    found: list[dict[str, pl.DataFrame]] = []
    with progress(len(inputs.asked), "facts", quiet=quiet) as bar:
        for number, block in enumerate(inputs.blocks):
            found.append(_unit(run, number, block, answering, inputs.config))
            bar.advance(len(block))
    templates = pl.concat([one["templates"] for one in found])
    kept = pl.concat([one["samples"] for one in found]) if inputs.config.keep_samples else None
    cut = int(sum(one["cut"]["cut"].sum() for one in found))
    return templates, kept, cut


def _unit(
    run: Run | None, number: int, block: list[Asked], answering: Answering, config: MasteryConfig
) -> dict[str, pl.DataFrame]:
    def compute() -> dict[str, pl.DataFrame]:
        before = answering.cut
        source = None if config.likelihood == "only" else answering.source(config)
        engine = None if config.likelihood == "no" else answering.engine
        scored = score_block(block, source, engine, answering.prompter, config)
        return {**scored, "cut": pl.DataFrame({"cut": [answering.cut - before]})}

    return run.unit(f"block-{number:06d}", compute) if run else compute()


def _limited(facts: pl.DataFrame, config: MasteryConfig) -> pl.DataFrame:
    """Draw so many facts of each relation and split, in their order."""
    if config.limit is None:
        return facts
    numbered = facts.with_row_index("row")
    kept: list[int] = []
    for names, group in numbered.group_by("relation", "split", maintain_order=True):
        random = np.random.default_rng(key(config.seed, *map(str, names), "limit"))
        kept += group["row"].to_numpy()[random.permutation(len(group))[: config.limit]].tolist()
    return facts[sorted(kept)]


def _templates(
    come: Mapping[str, Templates], config: MasteryConfig
) -> tuple[dict[str, Templates], list[Path]]:
    from imprint.formats.facts import own_templates

    if config.templates is None:
        return {**own_templates(), **come}, []
    path = Path(config.templates)
    return {**come, **read_templates(path)}, [path]


def read_names(config: MasteryConfig) -> tuple[Synonyms, list[Path]]:
    """Read the table of other names that the settings choose, and say which files it is from."""
    if config.synonyms in ("paper", "none"):
        return (paper_synonyms() if config.synonyms == "paper" else {}), []
    path = Path(config.synonyms)
    if not path.is_file():
        raise ConfigError(
            f"--synonyms {config.synonyms!r} is no file", remedy="write paper, none or a JSON file."
        )
    return read_synonyms(path), [path]


def _cut(count: int) -> Iterator[Finding]:
    if count:
        detail = f"{count:,} prompts were too long for the model and lost their beginning"
        yield Finding("cut_prompts", detail, count=count)
