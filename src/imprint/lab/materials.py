"""What models are trained on, as units: the world, a tokenizer, corpora in tokens."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from imprint.errors import ConfigError
from imprint.lab import steps
from imprint.lab.checkpoint import plain
from imprint.lab.config import StudyConfig
from imprint.lab.identity import identity
from imprint.lab.ledger import Ledger
from imprint.lab.unit import Work

WORLD_SOURCES = ("web_raw", "web_filtered", "web_scored", "code", "curated")


@dataclass
class Materials:
    """The units that come before any training; nothing is built yet.

    Args:
        config: the study.
        ledger: where units lie.
    """

    config: StudyConfig
    ledger: Ledger

    @cached_property
    def world(self) -> Work | None:
        """The built-in world, where anything is read from it."""
        if not self.config.uses_world:
            return None
        choice = asdict(self.config.world)
        choice["seed"] = self.config.seed if choice["seed"] is None else choice["seed"]
        settings = {name: value for name, value in choice.items() if value is not None}
        build = partial(steps.build_world, settings)
        code = ("imprint.lab.world",)
        return self.ledger.work("world", settings, [], build, code=code, weight=12)

    @cached_property
    def works(self) -> list[Work]:
        """World, tokenizer and token files."""
        found = [self.world] if self.world else []
        return [*found, self.tokenizer, *self.tokens.values()] if self.config.trains else found

    @cached_property
    def corpora(self) -> dict[str, Path | str]:
        """Source → corpus, those that mixtures take from."""
        used = self._sources
        if self.world:
            folder = self.world.path / "corpora"
            return {name: folder / f"{name}.jsonl" for name in WORLD_SOURCES if name in used}
        return {name: source for name, source in self.config.corpora.items() if name in used}

    @cached_property
    def tokenizer(self) -> Work:
        """The tokenizer of all models."""
        config, corpora = self.config, list(self.corpora.values())
        settings = {
            "vocabulary": config.vocabulary,
            "given": identity(config.tokenizer),
            "corpora": [identity(source) for source in corpora],
            "column": config.text_column,
        }
        build = partial(
            steps.build_tokenizer, corpora, config.tokenizer, config.vocabulary, config.text_column
        )
        code = ("imprint.lab.tokenizer",)
        return self.ledger.work("tokenizer", settings, self.of_world, build, code=code, weight=3)

    @cached_property
    def tokens(self) -> dict[str, Work]:
        """Source → its tokens."""
        return {name: self._encoded(name, source) for name, source in self.corpora.items()}

    @property
    def of_world(self) -> list[Work]:
        """The world as the needs of a unit."""
        return [self.world] if self.world else []

    def rows(self, given: str | None, name: str) -> tuple[Path, Any]:
        """Find a file of rows: the one given or the world's of that name, and its identity."""
        if given is None and self.world is None:
            raise ConfigError(
                f"{name.removesuffix('.jsonl')}.data names no file, and without the built-in world "
                "there is none",
                remedy="write the path of JSON lines.",
            )
        path = Path(given) if given else self.world.path / name  # type: ignore[union-attr]
        return path, identity(path)

    @property
    def _sources(self) -> set[str]:
        found: set[str] = set()
        for name in self.config.scales:
            for mixture in self.config.mixtures_of(name):
                found |= {source for source, share in mixture.shares.items() if share > 0}
        return found

    def _encoded(self, name: str, source: Path | str) -> Work:
        column = self.config.text_column
        settings = {"source": identity(source), "column": column}
        needs = [*self.of_world, self.tokenizer]
        build = partial(steps.build_tokens, source, self.tokenizer.path, column)
        code = ("imprint.lab.corpora", "imprint.lab.encoding")
        name = f"tokens-{plain(name)}"
        return self.ledger.work(name, settings, needs, build, code=code, weight=3)
