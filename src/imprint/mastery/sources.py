"""Where samples come from: a model in this process, or any engine that generates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from imprint.models import Engine, Generated
from imprint.models.inverse_cdf import key
from imprint.models.sampling import Row, Sampler

Settled = Callable[[int, str], bool]
Want = tuple[int, int]  # prompt, sample


class Session(Protocol):
    """Samples of some prompts, drawn in pieces."""

    def draw(self, wanted: Sequence[Want], settled: Settled | None = None) -> list[str]:
        """Give the wanted samples; ``settled`` as ``Sampler.draw`` has it."""

    def greedy(self) -> list[str]:
        """Give the most likely continuation of each prompt."""


class Source(Protocol):
    """Opens sessions."""

    def open(self, prompts: Sequence[str], names: Sequence[Any], *, stop: str | None) -> Session:
        """Begin with prompts.

        Args:
            prompts: to be continued.
            names: what tells each apart from all others of the run; random numbers depend on it.
            stop: a text that ends a sample.
        """


@dataclass(frozen=True)
class InProcess:
    """Samples from a model in this process."""

    sampler: Sampler
    seed: int

    def open(self, prompts: Sequence[str], names: Sequence[Any], *, stop: str | None) -> Session:
        """As ``Source.open``; the prompts are read at once."""
        self.sampler.stop = (stop,) if stop else ()
        return _Local(self.sampler, self.seed, self.sampler.read(prompts), names)


@dataclass(frozen=True)
class _Local:
    sampler: Sampler
    seed: int
    read: Any
    names: Sequence[Any]

    def draw(self, wanted: Sequence[Want], settled: Settled | None = None) -> list[str]:
        rows = [Row(p, s, key(self.seed, *self.names[p], s)) for p, s in wanted]
        return [found.text for found in self.sampler.draw(self.read, rows, settled)]

    def greedy(self) -> list[str]:
        rows = [Row(prompt, 0, 0) for prompt in range(len(self.names))]
        drawn = replace(self.sampler, temperature=0.0).draw(self.read, rows)
        return [found.text for found in drawn]


@dataclass(frozen=True)
class FromEngine:
    """Samples from an engine; each request's seed is that of its prompts."""

    engine: Engine
    temperature: float
    max_new_tokens: int
    seed: int

    def open(self, prompts: Sequence[str], names: Sequence[Any], *, stop: str | None) -> Session:
        """As ``Source.open``."""
        return _Remote(self, list(prompts), list(names), (stop,) if stop else ())


@dataclass(frozen=True)
class _Remote:
    source: FromEngine
    prompts: list[str]
    names: list[Any]
    stop: tuple[str, ...]

    def draw(self, wanted: Sequence[Want], settled: Settled | None = None) -> list[str]:
        by_samples: dict[tuple[int, ...], list[int]] = {}
        for prompt in dict.fromkeys(p for p, _ in wanted):
            samples = tuple(sorted(s for p, s in wanted if p == prompt))
            by_samples.setdefault(samples, []).append(prompt)
        found: dict[Want, str] = {}
        for samples, prompts in by_samples.items():
            for one in self._generate(prompts, len(samples), self.source.temperature, samples[0]):
                found[prompts[one.prompt], samples[one.sample]] = one.text
        return [found[want] for want in wanted]

    def greedy(self) -> list[str]:
        return [one.text for one in self._generate(range(len(self.prompts)), 1, 0.0, -1)]

    def _generate(
        self, prompts: Sequence[int], count: int, temperature: float, first: int
    ) -> list[Generated]:
        named = [part for p in prompts for part in self.names[p]]
        return list(
            self.source.engine.generate(
                [self.prompts[p] for p in prompts],
                n=count,
                temperature=temperature,
                max_new_tokens=self.source.max_new_tokens,
                seed=key(self.source.seed, *named, first) & 0x7FFFFFFF,
                stop=self.stop,
            )
        )
