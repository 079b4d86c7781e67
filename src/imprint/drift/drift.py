"""How far fine-tuning moved a model's next-token distributions, and on what."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import polars as pl

from imprint.configuration import build
from imprint.drift.config import DriftConfig
from imprint.drift.facts import begins_near, with_facts
from imprint.drift.inputs import open_models
from imprint.drift.layers import choose, compare, states
from imprint.drift.material import Material, Sources, gather
from imprint.drift.measure import Measurement, from_frame, to_frame
from imprint.drift.memory import Memory
from imprint.drift.null import shuffle_change
from imprint.drift.on_policy import PROMPTS, draw, estimates, pieces_of
from imprint.drift.result import DriftResult, Found, assemble
from imprint.errors import DataError, require
from imprint.findings import Finding
from imprint.models import Loaded, LocalEngine
from imprint.models.batching import Batcher
from imprint.models.hidden import Head
from imprint.progress import Bar, progress
from imprint.report import publish
from imprint.runs import Run

COMPUTING = ("torch", "transformers")


def drift(
    base: str | Path,
    tuned: str | Path | Sequence[str | Path] = (),
    config: DriftConfig | None = None,
    *,
    models: str | Path | None = None,
    texts: str | Path | None = None,
    mastery: str | Path | None = None,
    on_policy: str | Path | None = None,
    scores: str | Path | None = None,
    out: str | Path | None = None,
    **settings: Any,
) -> DriftResult:
    """Compare the next-token distributions of tuned models with those of their base.

    Args:
        base: ``PATH_OR_REPO[@REVISION][+ADAPTER[@REVISION]]``.
        tuned: one or several such names; the output folder of a Trainer stands for its checkpoints
            in the order of their steps. May be left out where ``models`` names them.
        config: which positions, what beside, how many draws.
        models: a models table; its names, labels and numbers travel into tables and report.
        texts: a ``.txt``, ``.jsonl``, ``.parquet`` or ``.csv`` (:func:`texts.read_samples`).
        mastery: folder of a mastery run; its facts give the first-token measure.
        on_policy: prompts that the tuned model completes.
        scores: a ``scores`` table; accuracy change is joined to drift.
        out: run folder to write; without it nothing is kept.
        settings: fields of `DriftConfig`, as ``layers=True``.

    Raises:
        CheckpointError: a checkpoint is damaged or cannot be held by transformers.
        ConfigError: a setting makes no sense, or ``out`` holds something else.
        DataError: texts that cannot be used, or tokenizers that differ.
        DependencyError: torch or transformers is not installed.
    """
    checked = build(DriftConfig, settings)
    given = {name: getattr(checked, name) for name in settings}
    config = replace(config, **given) if config else checked
    named = [tuned] if isinstance(tuned, (str, Path)) else list(tuned)
    paths = {"texts": texts, "mastery": mastery, "on_policy": on_policy, "scores": scores}
    sources = Sources(**{name: None if p is None else Path(p) for name, p in paths.items()})  # type: ignore[arg-type]
    material = gather(open_models(base, named, Path(models) if models else None), sources, config)
    if out is not None:
        run = open_run(material, Path(out))
        result = perform(material, run)
        publish(run, result)
        return result
    with tempfile.TemporaryDirectory() as folder:
        return perform(material, open_run(material, Path(folder) / "run"))


def open_run(material: Material, out: Path) -> Run:
    """Open the run folder whose fingerprint covers models, texts, settings and versions."""
    models, config = material.models, material.config
    settings = {
        **config.settings,
        "base": str(models.base.reference),
        "tuned": [str(checkpoint.reference) for checkpoint in models.tuned],
        "prompts": [prompter.columns for prompter in material.prompters],
        **({"labels": models.labels} if any(models.labels) else {}),
        "rename": material.sources.rename,
        "computed_by": {n: str(require(n, "models").__version__) for n in COMPUTING},
    }
    return Run(out, "drift", settings, material.files, seed=config.seed)


def describe(material: Material, out: Path) -> str:
    """Say what a run would do."""
    models, config = material.models, material.config
    sizes = [c.parameters for c in (models.base, *models.tuned)]
    lines = [
        f"{models.base.reference}: {sizes[0]:,} parameters",
        f"compared with {', '.join(models.names)}",
        f"{len(material.samples):,} texts, {len(material.facts):,} facts: {material.positions:,} "
        f"positions under {1 + len(models.tuned)} models",
    ]
    if material.asked:
        count = len(material.asked) * config.samples * len(models.tuned)
        lines.append(f"{count:,} completions of at most {config.max_new_tokens} tokens to draw")
    width = models.base.config.get("hidden_size")
    if isinstance(width, int) and Memory(models, config).base_on_disk:
        size = material.positions * width * (4 if config.dtype == "fp32" else 2)
        lines.append(f"hidden states on disk: about {size / 2**20:,.0f} MiB (twice that in fp32)")
    lines += [f"{finding.check}: {finding.detail}" for finding in material.findings]
    return "\n".join([*lines, f"would write {out}"])


def perform(material: Material, run: Run) -> DriftResult:
    """Run the models over everything, one after the other, and put the result together.

    Every chunk that is finished is kept in the run; the same command resumes there.
    """
    tuned = len(material.models.tuned)
    total = material.positions * (tuned + material.config.null)
    with progress(total or None, "drift (positions)", quiet=material.config.quiet) as bar:
        work = _Work(material, run, bar)
        work.prepare()
        found = [work.found(number) for number in range(tuned)]
        nulls = [work.null(number) for number in range(material.config.null)]
    return assemble(material, found, nulls, [*material.findings, *work.findings])


class _Work:
    """The measurements of one run, in an order that loads each model as seldom as may be."""

    def __init__(self, material: Material, run: Run, bar: Bar):
        self.material, self.run, self.bar = material, run, bar
        self.config = material.config
        self.memory = Memory(material.models, material.config)
        self.batcher = Batcher(quiet=self.config.quiet)
        self.findings: list[Finding] = []
        self.texts = Measurement(self.memory, run, "texts", material.pieces, bar=bar)
        self.facts = Measurement(
            self.memory, run, "facts", material.fact_pieces, first=True, bar=bar
        )
        pieces = material.pieces or material.fact_pieces
        self.chosen = choose(pieces, self.config.layer_positions, self.config.seed)
        self.drawn: list[pl.DataFrame] = []
        self.on_policy: list[Measurement] = []

    def prepare(self) -> None:
        """Draw completions, then do whatever needs the base's decoder."""
        for number in range(len(self.material.models.tuned) if self.material.asked else 0):
            drawn = self._draws(number)
            pieces = pieces_of(drawn, self.material.asked)
            self.drawn.append(drawn)
            self.on_policy.append(Measurement(self.memory, self.run, f"policy{number}", pieces))
        for measurement in (self.texts, self.facts, *self.on_policy):
            measurement.base_states()
        self._near()
        if self.config.layers and self.chosen.pieces:
            self._base_layers()

    def found(self, number: int) -> Found:
        """Measure one tuned model."""
        models, material = self.material.models, self.material
        self._compare_widths(number)
        self.bar.describe(f"drift of {models.names[number]}")
        policy = None
        if self.on_policy:
            rows = self.on_policy[number].rows(number)
            policy = estimates(rows, self.drawn[number])
        return Found(
            name=models.names[number],
            step=models.steps[number],
            labels=models.labels[number],
            tokens=self.texts.rows(number) if material.pieces else None,
            facts=self._facts(number) if material.fact_pieces else None,
            fact_tokens=self.facts.rows(number) if material.fact_pieces else None,
            on_policy=policy,
            layers=self._layers(number) if self.config.layers and self.chosen.pieces else None,
        )

    def null(self, draw_number: int) -> dict[str, Any]:
        """Measure the base with the last tuned model's changes shuffled."""
        models, seed = self.material.models, self.config.seed + draw_number
        self.bar.describe(f"random control {draw_number + 1}")

        @cache
        def moved() -> tuple[Loaded, Head, dict[str, Any]]:
            loaded, head = self.memory.fresh_base()
            about = shuffle_change(loaded, models.base, models.tuned[-1], seed)
            return loaded, head, {"norm": about.norm, "reached": about.reached}

        about = self.run.unit(f"null-{draw_number}", lambda: {"about": pl.DataFrame([moved()[2]])})[
            "about"
        ]
        measured = self.texts if self.material.pieces else self.facts
        tokens = measured.against(f"null{draw_number}", lambda: moved()[:2])
        return {"draw": draw_number, **about.row(0, named=True), "tokens": tokens}

    def _compare_widths(self, number: int) -> None:
        """Say where the models give logits for different numbers of tokens."""
        models = self.material.models
        sides = models.base.config, models.tuned[number].config
        one, other = (c.get("text_config", c).get("vocab_size") for c in sides)
        if one != other:
            detail = (
                f"the base gives logits for {one} tokens, {models.names[number]} for {other}; both "
                "distributions are those over the tokens of the smaller"
            )
            self.findings.append(Finding("vocabulary_sizes", detail))

    def _draws(self, number: int) -> pl.DataFrame:
        found = []
        for start in range(0, len(self.material.asked), PROMPTS):
            part = self.run.unit(f"drawn-{number}-{start}", partial(self._draw, number, start))
            found.append(part["drawn"])
        return pl.concat(found)

    def _draw(self, number: int, first: int) -> dict[str, pl.DataFrame]:
        config = self.config
        prompts = [one.tuned for one in self.material.asked[first : first + PROMPTS]]
        loaded, _ = self.memory.tuned(number)
        kept = draw(
            loaded,
            prompts,
            samples=config.samples,
            length=config.max_new_tokens,
            seed=config.seed,
            first=first,
        )
        return {"drawn": kept}

    def _near(self) -> None:
        """Find the facts whose answer the base begins at once (arXiv 2509.16596, 3.2)."""
        facts, config = self.material.facts, self.config
        self.near = set(range(len(facts)))
        if not facts or not config.near or config.fact_prompts == "question":
            return
        frame = self.run.unit("near", lambda: {"near": self._greedy()})["near"]
        self.near = set(frame.filter("near")["sample"].to_list())
        if not self.near:
            raise DataError(
                f"the base begins no answer within {config.near} tokens of its greedy completion",
                where=str(self.material.sources.mastery),
                remedy="--near 0 keeps all facts.",
            )

    def _greedy(self) -> pl.DataFrame:
        facts, loaded = self.material.facts, self.memory.base()
        answers = [max(len(self._ids(a)) for a in fact.answers) for fact in facts]
        length = min(max(answers) + self.config.near, 32)
        asked = self.material.prompters[0]
        prompts = [
            asked.context(fact.sample(self.config.fact_prompts).prompt or "") for fact in facts
        ]
        found = LocalEngine(loaded).generate(prompts, max_new_tokens=length)
        texts = [one.text for one in found]
        near = [
            begins_near(text, fact.answers, self.material.tokenizer, self.config.near)
            for text, fact in zip(texts, facts, strict=True)
        ]
        return pl.DataFrame({"sample": range(len(facts)), "near": near, "completion": texts})

    def _ids(self, text: str) -> list[int]:
        return list(self.material.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _facts(self, number: int) -> pl.DataFrame:
        known = dict(enumerate(self.material.facts))
        rows = with_facts(self.facts.rows(number), known)
        near = pl.Series("near", [sample in self.near for sample in rows["sample"]], pl.Boolean)
        return rows.with_columns(near)

    def _base_layers(self) -> Any:
        def make() -> dict[str, pl.DataFrame]:
            found = states(self.memory.base(), self.chosen, tuned=False, batcher=self.batcher)
            return {"states": to_frame(list(found))}

        return from_frame(self.run.unit("layers-base", make)["states"])

    def _layers(self, number: int) -> pl.DataFrame:
        def make() -> dict[str, pl.DataFrame]:
            torch = require("torch", "models")
            before = torch.stack(self._base_layers())
            loaded, head = self.memory.tuned(number)
            after = states(loaded, self.chosen, tuned=True, batcher=self.batcher)
            heads = self.memory.base_head(), head
            config = self.config
            found = compare(
                before, after, self.chosen, heads, resamples=config.resamples, seed=config.seed
            )
            return {"layers": found}

        return self.run.unit(f"layers-{number}", make)["layers"]
