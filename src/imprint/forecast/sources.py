"""What the user names for a forecast."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Sources:
    """What the user named.

    Attributes:
        sft: files of SFT examples.
        domains: files of domain texts, or names of lm-eval tasks.
        sae: ``PATH_OR_REPO[@REVISION][:SUBPATH]``.
        observed: a table of changes, or two of scores.
        history: folders of past runs whose outcomes are known.
        tuned: the fine-tuned model, for the oracle.
        rollouts: samples of the policy with their rewards.
        labels: what latents are called.
        unrelated: texts that the null of ``icl`` shows in place of demonstrations.
        others: tables of changes that were seen with another model or SFT set.
        rename: our column name → the name in the files.
    """

    sft: tuple[Path, ...] = ()
    domains: tuple[str, ...] = ()
    sae: str | None = None
    observed: tuple[Path, ...] = ()
    history: tuple[Path, ...] = ()
    tuned: str | None = None
    rollouts: Path | None = None
    labels: Path | None = None
    unrelated: Path | None = None
    others: tuple[Path, ...] = ()
    rename: tuple[tuple[str, str], ...] = ()

    @property
    def files(self) -> list[Path]:
        """The files that numbers depend on."""
        named = [*self.sft, *(Path(name) for name in self.domains if Path(name).is_file())]
        runs = [run / "result.json" for run in self.history]
        beside = [p for p in (self.rollouts, self.labels, self.unrelated) if p is not None]
        return [*named, *self.observed, *self.others, *runs, *beside]
