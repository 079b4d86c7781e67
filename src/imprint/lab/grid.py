"""The grid as units: world, tokens, pretraining, SFT, RL, evaluation, transfer."""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl

from imprint.errors import ConfigError
from imprint.lab import steps
from imprint.lab.config import Scale, StudyConfig
from imprint.lab.identity import identity
from imprint.lab.ledger import Ledger, Work
from imprint.lab.mixtures import Listed

WORLD_SOURCES = ("web_raw", "web_filtered", "web_scored", "code", "curated")
STAGES = ("sft", "rl")
SPEED = 1.2e11  # multiply-adds of training per second and thread, for the time left
PLAIN = frozenset(string.ascii_letters + string.digits + "._-")
Labels = dict[str, Any]


@dataclass(frozen=True)
class Planned:
    """A checkpoint of the study.

    Attributes:
        labels: its row in the models table, without ``model``.
        model: its folder, or a reference.
        work: the unit that makes it; none where it was given.
    """

    labels: Labels
    model: str
    work: Work | None = None

    @property
    def row(self) -> Labels:
        """Its row in the models table."""
        return {"model": self.model, **self.labels}

    @property
    def name(self) -> str:
        """For units: scale, unit, replicate."""
        parts = [self.labels.get(key) for key in ("scale", "unit", "replicate")]
        return _plain("-".join(str(part) for part in parts if part is not None))


@dataclass
class Grid:
    """All units of a study up to the chapters; nothing is built yet.

    Args:
        config: the study.
        ledger: where units lie.
    """

    config: StudyConfig
    ledger: Ledger
    given: list[Planned] = field(default_factory=list)

    @cached_property
    def works(self) -> list[Work]:
        """Every unit once, those that others need first."""
        found: dict[str, Work] = {}
        for work in (*self.materials, *self._trained, *self.evaluations, *self._last):
            found.setdefault(work.key, work)
        return list(found.values())

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
    def materials(self) -> list[Work]:
        """World, tokenizer and token files."""
        found = [self.world] if self.world else []
        return [*found, self.tokenizer, *self.tokens.values()] if self.config.trains else found

    @cached_property
    def corpora(self) -> dict[str, Path | str]:
        """Source → corpus, those that mixtures take from."""
        used = {s for _, m in self._mixtures for s, share in m.shares.items() if share > 0}
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
        return self.ledger.work("tokenizer", settings, self._of_world, build, code=code, weight=3)

    @cached_property
    def tokens(self) -> dict[str, Work]:
        """Source → its tokens."""
        return {name: self._encoded(name, source) for name, source in self.corpora.items()}

    @cached_property
    def pretrained(self) -> list[Planned]:
        """Base checkpoints, given or to be trained."""
        return [*self._of_stage("pretrained"), *self._pretrained]

    @cached_property
    def tuned(self) -> list[Planned]:
        """Checkpoints after SFT."""
        found = self._of_stage("sft")
        there = {_key_of(one) for one in found}
        return [*found, *(self._sft(p) for p in self._pretrained if _key_of(p) not in there)]

    @cached_property
    def reinforced(self) -> list[Planned]:
        """Checkpoints after RL, of some mixtures."""
        found = self._of_stage("rl")
        there = {_key_of(one) for one in found}
        wanted = [one for one in self.tuned if one.work is not None and self._to_reinforce(one)]
        return [*found, *(self._rl(one) for one in wanted if _key_of(one) not in there)]

    @cached_property
    def checkpoints(self) -> list[Planned]:
        """All of them, of every stage; further stages of a given table last."""
        others = [p for p in self.given if p.labels["stage"] not in ("pretrained", *STAGES)]
        return [*self.pretrained, *self.tuned, *self.reinforced, *others]

    @cached_property
    def models(self) -> pl.DataFrame:
        """The models table."""
        rows = [one.row for one in self.checkpoints]
        return pl.DataFrame(rows, infer_schema_length=None)

    @cached_property
    def benchmarks(self) -> list[Path]:
        """Files of questions; those of the world are known once it is built."""
        if self.config.benchmarks:
            return [Path(name) for name in self.config.benchmarks]
        return sorted((self.world.path / "benchmarks").glob("*.jsonl")) if self.world else []

    @property
    def categories(self) -> dict[str, tuple[str, ...]]:
        """Category → benchmarks, as the settings or the world have them."""
        if self.config.categories or self.config.benchmarks or not self.world:
            return self.config.categories
        from imprint.lab.world.benchmarks import CATEGORIES

        return CATEGORIES

    @cached_property
    def evaluations(self) -> list[Work]:
        """Scores of checkpoints, those of a scale and stage in two units."""
        if not (self.config.benchmarks or self.world):
            return []
        groups: dict[tuple[str, str], list[Planned]] = {}
        for one in self.checkpoints:
            key = str(one.labels.get("scale") or "given"), str(one.labels["stage"])
            groups.setdefault(key, []).append(one)
        return [
            self._evaluation(f"evaluate-{_plain(scale)}-{_plain(stage)}-{k}", part)
            for (scale, stage), members in groups.items()
            for k, part in enumerate(shared_out(members, 2))
        ]

    @cached_property
    def transfer(self) -> Work | None:
        """The analysis of all items."""
        if not self.evaluations:
            return None
        settings = {
            "stages": [s for s in STAGES if any(c.labels["stage"] == s for c in self.checkpoints)],
            "factors": [f"{self.config.mixtures.slot}_source", "proportion"],
            "share": "code_share",
            "categories": self.categories,
            "resamples": self.config.resamples,
            "seed": self.config.seed,
        }
        items = [work.path / "items.parquet" for work in self.evaluations]
        build = partial(steps.build_transfer, settings, items)
        code = ("imprint.transfer", "imprint.stats", "imprint.lab.relating")
        return self.ledger.work("transfer", settings, self.evaluations, build, code=code, weight=20)

    def pretraining_settings(self) -> dict[str, dict[str, Any]]:
        """Scale → shape, optimiser, engine and mixtures, for chapters that train further models."""
        config = self.config
        return {
            name: {
                "shape": self._shape_settings(scale),
                "optimiser": self._optimiser(scale),
                "engine": config.engine,
                "dtype": config.dtype,
                "device": config.device,
                "mixtures": {m.name: m.shares for m in config.mixtures.crossed()},
            }
            for name, scale in (config.scales.items() if config.trains else ())
        }

    @property
    def reporting(self) -> tuple[str, ...]:
        """Trackers of trainings, beside the TensorBoard events that every one leaves."""
        names = (name.strip() for name in self.config.report_to.split(","))
        return tuple(dict.fromkeys(name for name in names if name not in ("", "tensorboard")))

    @property
    def parameters(self) -> dict[str, int]:
        """Scale → parameters of its models."""
        return {name: self._shape(scale).parameters for name, scale in self.config.scales.items()}

    @cached_property
    def _mixtures(self) -> list[tuple[str, Listed]]:
        crossed = self.config.mixtures.crossed
        return [
            (name, mixture)
            for name, scale in self.config.scales.items()
            for mixture in crossed(scale.steps_between)
        ]

    @property
    def _of_world(self) -> list[Work]:
        return [self.world] if self.world else []

    @property
    def _trained(self) -> list[Work]:
        return [one.work for one in self.checkpoints if one.work is not None]

    @property
    def _last(self) -> list[Work]:
        return [self.transfer] if self.transfer else []

    def _of_stage(self, stage: str) -> list[Planned]:
        return [one for one in self.given if one.labels["stage"] == stage]

    def _encoded(self, name: str, source: Path | str) -> Work:
        column = self.config.text_column
        settings = {"source": identity(source), "column": column}
        needs = [*self._of_world, self.tokenizer]
        build = partial(steps.build_tokens, source, self.tokenizer.path, column)
        code = ("imprint.lab.corpora", "imprint.lab.encoding")
        name = f"tokens-{_plain(name)}"
        return self.ledger.work(name, settings, needs, build, code=code, weight=3)

    @cached_property
    def _pretrained(self) -> list[Planned]:
        if not self.config.trains:
            return []
        there = {_key_of(one) for one in self._of_stage("pretrained")}
        found = [
            run for name, scale in self.config.scales.items() for run in self._runs(name, scale)
        ]
        return [run for run in found if _key_of(run) not in there]

    def _runs(self, name: str, scale: Scale) -> Iterator[Planned]:
        parameters = self._shape(scale).parameters
        for replicate in range(scale.seeds):
            for mixture in self.config.mixtures.crossed(scale.steps_between):
                labels: Labels = {
                    "unit": mixture.name,
                    "scale": name,
                    "stage": "pretrained",
                    "replicate": str(replicate),
                    "parameters": parameters,
                    "training_tokens": scale.tokens,
                    **mixture.labels,
                }
                yield self._run(labels, scale, mixture.shares, self.config.seed + 1000 * replicate)

    def _run(self, labels: Labels, scale: Scale, shares: dict[str, float], seed: int) -> Planned:
        used = sorted(source for source, share in shares.items() if share > 0)
        tokens = [self.tokens[source] for source in used]
        settings = {
            "shares": {source: shares[source] for source in used},
            "seed": seed,
            "shape": self._shape_settings(scale),
            "optimiser": self._optimiser(scale),
            "engine": self.config.engine,
            "device": self.config.device,
            "dtype": self.config.dtype,
            "processes": self.config.processes,
        }
        sources = {source: work.path for source, work in zip(used, tokens, strict=True)}
        name = f"pretrain-{Planned(labels, '').name}"
        tokenizer = self.tokenizer.path / "tokenizer"
        work = self.ledger.work(
            name,
            settings,
            [self.tokenizer, *tokens],
            partial(steps.build_pretraining, settings, sources, tokenizer),
            code=("imprint.lab.pretraining", "imprint.lab.launching"),
            weight=2 + 6 * self._shape(scale).parameters * scale.tokens / SPEED,
            resumable=True,
        )
        return Planned(labels, str(work.path / steps.MODEL), work)

    def _shape_settings(self, scale: Scale) -> dict[str, Any]:
        names = ("layers", "width", "heads", "ffn", "context")
        return {**{n: getattr(scale, n) for n in names}, "vocabulary": self.config.vocabulary}

    def _shape(self, scale: Scale) -> Any:
        from imprint.lab.pretraining.shape import Shape

        return Shape(**self._shape_settings(scale))

    def _optimiser(self, scale: Scale) -> dict[str, Any]:
        own = {name: getattr(scale, name) for name in ("lr", "matrix_lr", "batch", "tokens")}
        return {**asdict(self.config.optimiser), **own}

    def _sft(self, base: Planned) -> Planned:
        config, choice = self.config, self.config.sft
        training = {
            "steps": choice.steps,
            "batch": choice.batch,
            "lr": choice.lr,
            "max_length": choice.max_length,
            "seed": config.seed + int(base.labels.get("replicate") or 0),
        }
        settings = {"training": training, "rows": choice.rows}
        data, identity = self._data(choice.data, "sft.jsonl")
        work = self.ledger.work(
            f"sft-{base.name}",
            {**settings, "data": identity},
            [*self._of_world, *self._needs(base)],
            partial(steps.build_sft, settings, base.model, data, self.reporting),
            code=("imprint.lab.sft", "imprint.lab.methods"),
            weight=2 + self._cost(base, choice.steps * choice.batch * choice.max_length),
        )
        return Planned({**base.labels, "stage": "sft"}, str(work.path / steps.MODEL), work)

    def _rl(self, base: Planned) -> Planned:
        config, choice = self.config, self.config.rl
        kept = ("steps", "prompts_per_step", "group", "lr", "temperature", "max_new_tokens", "kl")
        training = {name: getattr(choice, name) for name in kept}
        training["seed"] = config.seed + int(base.labels.get("replicate") or 0)
        settings = {"training": training, "reward": choice.reward}
        data, identity = self._data(choice.data, "rl.jsonl")
        work = self.ledger.work(
            f"rl-{base.name}",
            {**settings, "data": identity},
            [*self._of_world, *self._needs(base)],
            partial(steps.build_rl, settings, base.model, data, self.reporting),
            code=("imprint.lab.rl",),
            weight=3 + 0.5 * choice.steps,
        )
        return Planned({**base.labels, "stage": "rl"}, str(work.path / steps.MODEL), work)

    def _to_reinforce(self, one: Planned) -> bool:
        choice = self.config.rl
        scales = choice.scales or tuple(self.config.scales)[:1]
        if one.labels["scale"] not in scales or one.labels["replicate"] != "0":
            return False
        names = [m.name for m in self.config.mixtures.crossed()]
        wanted = min(choice.units, len(names))
        return one.labels["unit"] in {names[k * len(names) // wanted] for k in range(wanted)}

    def _data(self, given: str | None, name: str) -> tuple[Path, Any]:
        if given is None and self.world is None:
            raise ConfigError(
                f"{name.removesuffix('.jsonl')}.data names no file, and without the built-in world "
                "there is none",
                remedy="write the path of JSON lines.",
            )
        path = Path(given) if given else self.world.path / name  # type: ignore[union-attr]
        return path, identity(path)

    def _needs(self, one: Planned) -> list[Work]:
        return [one.work] if one.work else []

    def _cost(self, one: Planned, tokens: float) -> float:
        return 6 * float(one.labels.get("parameters") or 1e6) * tokens / SPEED

    def _evaluation(self, name: str, members: Sequence[Planned]) -> Work:
        config = self.config
        settings = {
            "limit": config.limit,
            "chat_template": config.chat_template,
            "seed": config.seed,
            "device": config.device,
        }
        needs = {one.work.key: one.work for one in members if one.work}
        given = [identity(one.model) for one in members if one.work is None]
        told = {**settings, "models": [one.labels for one in members], "given": given}
        told["benchmarks"] = [identity(path) for path in config.benchmarks]
        folder = self.world.path / "benchmarks" if self.world and not config.benchmarks else None
        rows = [one.row for one in members]
        return self.ledger.work(
            name,
            told,
            [*self._of_world, *needs.values()],
            partial(steps.build_evaluation, settings, config.benchmarks, folder, rows),
            code=("imprint.evaluation", "imprint.models"),
            weight=1 + 0.01 * (config.limit or 300) * len(members),
        )


def shared_out(members: Sequence[Any], parts: int) -> list[list[Any]]:
    """Share out in order, as evenly as it goes, without empty parts.

    >>> shared_out([1, 2, 3, 4, 5], 2)
    [[1, 2, 3], [4, 5]]
    """
    count = min(parts, len(members))
    edges = [-(-len(members) * k // count) for k in range(count + 1)] if count else [0]
    return [list(members[a:b]) for a, b in pairwise(edges)]


def given_checkpoints(config: StudyConfig) -> list[Planned]:
    """Take the checkpoints that exist: a pair, or the rows of a models table."""
    from imprint.formats.models_table import load_models, located

    found: list[Planned] = []
    if config.base and config.tuned:
        for model, stage in ((config.base, "pretrained"), (config.tuned, "sft")):
            found.append(Planned({"unit": "given", "stage": stage}, model))
    if config.models:
        table = Path(config.models)
        for row in load_models(table).to_dicts():
            labels = {name: value for name, value in row.items() if name != "model"}
            found.append(Planned(labels, located(str(row["model"]), table)))
    return found


def _key_of(one: Planned) -> tuple[Any, ...]:
    labels = one.labels
    return labels["unit"], labels.get("scale"), labels.get("replicate") or "0"


def _plain(text: str) -> str:
    """Give a short name for a folder; the unit's key tells apart what looks the same here."""
    return "".join(letter if letter in PLAIN else "_" for letter in text[:80])
