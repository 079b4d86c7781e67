"""What a chapter of the study reads and gives."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from imprint.lab.ledger import Ledger
from imprint.lab.memory import peak_bytes, reset_peak
from imprint.progress import note
from imprint.report import Section, State, Verdict

if TYPE_CHECKING:
    import polars as pl

Stance = Literal["agrees", "disagrees", "cannot tell"]
Tables = dict[str, "pl.DataFrame"]


@dataclass(frozen=True, slots=True)
class Agreement:
    """One finding of a paper beside the lab's.

    Attributes:
        claim: what the paper says, in our words.
        paper: its figures, with where they stand.
        lab: what was measured here, with its interval.
        stance: whether they agree; ``cannot tell`` where the interval allows both.
    """

    claim: str
    paper: str
    lab: str
    stance: Stance


@dataclass(frozen=True, slots=True)
class Budget:
    """How much each chapter may work; set by the preset.

    Attributes:
        items: of each benchmark, ``None`` for all.
        facts: of each relation and split.
        samples: drawn per template (mastery) or prompt (rollouts).
        texts: that drift is measured on.
        sizes: of SFT sets.
        seeds: of every training that is repeated.
        steps: of an SFT in chapters.
        rl_steps: of an RL training.
        rl_runs: RL trainings in chapters at most.
        prompts: of rollouts.
        domain_items: of each domain.
        sae_tokens: that the SAE is trained on.
        ratios: of parameters put back by restoration.
        resamples: bootstrap draws.
        models: checkpoints that a chapter looks at, at most.
    """

    items: int | None = 60
    facts: int = 6
    samples: int = 4
    texts: int = 60
    sizes: tuple[int, ...] = (60, 240, 960)
    seeds: int = 1
    steps: int = 60
    rl_steps: int = 12
    rl_runs: int = 6
    prompts: int = 48
    domain_items: int = 24
    sae_tokens: int = 60_000
    ratios: tuple[float, ...] = (0.01, 0.05, 0.2, 0.5)
    resamples: int = 1000
    models: int = 4


@dataclass
class Material:
    """What there is; every part but the ledger may be missing.

    Attributes:
        ledger: where trainings and other long work of a chapter go.
        checkpoints: one row per model: ``model`` (its folder or reference), ``unit``, ``scale``,
            ``stage``, ``replicate``, ``parameters``, and columns of the mixture.
        items, scores: tables of the evaluation of all checkpoints.
        benchmarks: files of questions.
        categories: benchmark → category.
        facts, templates: own-row facts and their templates.
        texts: one or more texts by which drift is measured.
        sft: rows of ``messages``; ``sft_sets``: name → file, each teaching some domains.
        domains: rows of ``domain``, ``prompt``, ``answer``.
        rl: rows of ``id``, ``prompt``, ``answer``, ``skill``, ``level``.
        corpora: source → JSON lines of ``text``, ``register`` and ``domain``.
        tokens: source → folder of tokens; ``tokenizer``: its folder.
        sae: an SAE of the base model.
        transfer: result folder of the transfer analysis.
        pretraining: shape and optimiser by scale, as the study's settings give them, for chapters
            that pretrain further models.
        budget: how much to work.
        preset: its name, for the words of verdicts.
    """

    ledger: Ledger
    checkpoints: pl.DataFrame | None = None
    items: pl.DataFrame | None = None
    scores: pl.DataFrame | None = None
    benchmarks: tuple[Path, ...] = ()
    categories: Mapping[str, str] = field(default_factory=dict)
    facts: Path | None = None
    templates: Path | None = None
    texts: Path | None = None
    sft: Path | None = None
    sft_sets: Mapping[str, Path] = field(default_factory=dict)
    domains: Path | None = None
    rl: Path | None = None
    corpora: Mapping[str, Path] = field(default_factory=dict)
    tokens: Mapping[str, Path] = field(default_factory=dict)
    tokenizer: Path | None = None
    sae: str | None = None
    transfer: Path | None = None
    pretraining: Mapping[str, object] = field(default_factory=dict)
    budget: Budget = field(default_factory=Budget)
    preset: str = "default"
    seed: int = 0
    device: str | None = None
    quiet: bool = False

    def models(self, stage: str | None = None, scale: str | None = None) -> list[dict[str, Any]]:
        """List checkpoints as rows, those of a stage and scale, the largest scale last."""
        if self.checkpoints is None:
            return []
        rows = sorted(self.checkpoints.to_dicts(), key=lambda row: row.get("parameters") or 0)
        wanted = {"stage": stage, "scale": scale}
        return [r for r in rows if all(v is None or r.get(k) == v for k, v in wanted.items())]

    def pairs(self, stage: str = "sft") -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Join each checkpoint of a stage with the pretrained one that it comes from."""
        same = ("unit", "scale", "replicate")
        bases = {tuple(row.get(k) for k in same): row for row in self.models("pretrained")}
        tuned = [(tuple(row.get(k) for k in same), row) for row in self.models(stage)]
        return [(bases[key], row) for key, row in tuned if key in bases]

    def checkpoints_csv(self) -> str:
        """Give the models table that other commands read with ``--models``."""
        return "model,unit,stage\n" if self.checkpoints is None else self.checkpoints.write_csv()

    def report(self, text: str) -> None:
        """Say on stderr what is being worked on."""
        note(text, quiet=self.quiet)


@dataclass
class Chapter:
    """What one chapter found.

    Attributes:
        number, title: its place in the report.
        verdict: the answer in one sentence, with its interval.
        agreement: the papers' findings beside these.
        sections: for the report, in order.
        tables: name → frame; names begin with the chapter's own word.
        missing: what was not there, a sentence each.
        state: whether the chapter's claim holds; ``undetermined`` where it cannot be told.
        decided, undecided: how many claims were.
        seconds, peak_bytes: what it took.
        judged: the claim that ``state`` is about, a clause.
        details: what else was found, a sentence or two each.
    """

    number: int
    title: str
    verdict: str
    agreement: list[Agreement] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    tables: Tables = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    state: State = "undetermined"
    decided: int = 0
    undecided: int = 0
    seconds: float = 0.0
    peak_bytes: int = 0
    judged: str = ""
    details: list[str] = field(default_factory=list)

    @property
    def claim(self) -> Verdict:
        """The verdict for the first screen."""
        judged = f" Judged: {self.judged}." if self.judged else ""
        return Verdict(f"{self.number}. {self.title}", self.state, f"{self.verdict}{judged}")


@contextmanager
def measured() -> Iterator[dict[str, float]]:
    """Count the seconds and the peak memory of a block."""
    found: dict[str, float] = {}
    reset_peak()
    begun = time.perf_counter()
    yield found
    found.update(seconds=round(time.perf_counter() - begun, 2), peak_bytes=peak_bytes())


def lacking(number: int, title: str, missing: list[str]) -> Chapter:
    """Give a chapter that cannot be written, naming what it lacks."""
    verdict = f"Not written: {' '.join(missing)}"
    return Chapter(number, title, verdict, missing=missing)
