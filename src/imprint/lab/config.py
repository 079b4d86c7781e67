"""The study's one YAML: what is trained on what, how it is asked, and what is analysed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args

from imprint.configuration import Settings, build, load_yaml
from imprint.errors import ConfigError, nearest
from imprint.lab.chapters.chapter import Budget
from imprint.lab.mixtures import Listed, Mixtures
from imprint.lab.pool import Executor

Preset = Literal["smoke", "default", "standard", "gpu"]
PRESETS: tuple[Preset, ...] = get_args(Preset)
CHAPTERS = ("rankings", "knowledge", "movement", "foresight", "data", "claims")
WHOLE = ("corpora", "scales", "mixtures")  # replaced by the user's as a whole, never merged
APART = ("workers", "executor", "threads", "out", "quiet", "report_to", "prune")  # no number


@dataclass(frozen=True, slots=True)
class WorldChoice:
    """The built-in world.

    Attributes:
        size: ``small`` or ``standard``.
        documents: per corpus; by default what the size says.
        seed: of the world; by default the study's.
    """

    size: Literal["small", "standard"] = "small"
    documents: int | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Scale:
    """One model size and what it is trained on.

    Attributes:
        layers, width, heads, ffn, context: the shape (see ``pretraining.Shape``).
        tokens: of each pretraining run.
        batch: sequences per step.
        lr: peak learning rate of AdamW.
        matrix_lr: peak learning rate of Muon, which steps the layers' matrices.
        seeds: pretraining runs of each mixture.
        steps_between: proportions trained between two neighbours of ``mixtures.proportions``; 0
            takes those alone.
    """

    layers: int = 4
    width: int = 64
    heads: int = 4
    ffn: int = 192
    context: int = 128
    tokens: int = 600_000
    batch: int = 8
    lr: float = 8e-3
    matrix_lr: float = 0.04
    seeds: int = 1
    steps_between: int = 0


@dataclass(frozen=True, slots=True)
class OptimiserChoice:
    """How every scale is optimised.

    Attributes:
        method: ``muon`` (AdamW beside it for all but matrices) or ``adamw``.
        warmup: share of the steps.
        schedule: ``cosine``.
        weight_decay, betas, clip: as usual.
    """

    method: Literal["muon", "adamw"] = "muon"
    warmup: float = 0.05
    schedule: str = "cosine"
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float = 1.0


@dataclass(frozen=True, slots=True)
class SftChoice:
    """Supervised fine-tuning of every checkpoint.

    Attributes:
        data: rows of ``messages``; by default the world's.
        steps, batch, lr, max_length: of the training.
        rows: taken of the data, by the seed; all by default.
    """

    data: str | None = None
    steps: int = 80
    batch: int = 16
    lr: float = 1e-3
    max_length: int = 96
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class RlChoice:
    """Reinforcement after SFT, of some mixtures.

    Attributes:
        data: rows of ``prompt`` and ``answer``; by default the world's.
        reward: ``exact``, or ``package.module:function``.
        scales: that are reinforced; by default the first.
        units: mixtures at most, evenly over the list; none where 0.
        steps, prompts_per_step, group, lr, temperature, max_new_tokens, kl: of the training.
    """

    data: str | None = None
    reward: str = "exact"
    scales: tuple[str, ...] = ()
    units: int = 6
    steps: int = 10
    prompts_per_step: int = 8
    group: int = 4
    lr: float = 2e-4
    temperature: float = 1.0
    max_new_tokens: int = 8
    kl: float = 0.0


@dataclass(frozen=True, slots=True)
class StudyConfig:
    """A study.

    Attributes:
        preset: where settings that are not given come from.
        world: the built-in world, where no corpora are given.
        corpora: source → JSONL, Parquet or text file, folder, or ``hf:…``.
        text_column: of the corpora.
        tokenizer: a folder or reference; one is trained by default.
        vocabulary: of the trained one.
        scales: name → shape and budget, the smallest first.
        optimiser, mixtures, sft, rl: how models come to be.
        models: a models table; what it names is not trained. Without ``scales`` in the user's own
            file nothing is.
        base, tuned: one pair of checkpoints, in place of everything trained.
        benchmarks: files of questions; by default the world's.
        categories: category → benchmarks.
        limit: items of each benchmark; all by default.
        chat_template: as of ``imprint evaluate``.
        facts, templates, texts, domains, sft_sets, sae: what chapters read beside.
        steps_between: proportions trained between two neighbours at the smallest scale, where it
            gives none of its own: 3 makes 27 mixtures of nine.
        analyses: chapters to write.
        resamples: of the transfer analysis.
        budget: how much chapters may work.
        dtype: that pretraining multiplies in; ``auto`` is bfloat16 where that is faster.
        engine: of pretraining, ``batched`` on processors, ``transformers`` on GPUs; ``auto`` goes
            by the device.
        processes: that share each batch of a pretraining run, as under ``accelerate launch``;
            on GPUs one each. More than one trains with ``transformers``.
        device: where models compute.
        workers: units at a time; one per processor by default.
        threads: of each worker.
        executor: ``processes`` or ``ray``.
        report_to: ``wandb``, ``trackio``, beside TensorBoard; several by commas.
        prune: remove finished units in the study's folder that this study does not use.
        seed: of everything.
        quiet: no progress.
    """

    preset: Preset = "default"
    world: WorldChoice = WorldChoice()
    corpora: dict[str, str] = field(default_factory=dict)
    text_column: str = "text"
    tokenizer: str | None = None
    vocabulary: int = 1024
    scales: dict[str, Scale] = field(default_factory=dict)
    optimiser: OptimiserChoice = OptimiserChoice()
    mixtures: Mixtures = field(default_factory=Mixtures)
    sft: SftChoice = SftChoice()
    rl: RlChoice = RlChoice()
    models: str | None = None
    base: str | None = None
    tuned: str | None = None
    benchmarks: tuple[str, ...] = ()
    categories: dict[str, tuple[str, ...]] = field(default_factory=dict)
    limit: int | None = None
    chat_template: tuple[str, ...] = ("none",)
    facts: str | None = None
    templates: str | None = None
    texts: str | None = None
    domains: str | None = None
    sft_sets: dict[str, str] = field(default_factory=dict)
    sae: str | None = None
    steps_between: int = 0
    analyses: tuple[str, ...] = CHAPTERS
    resamples: int = 2000
    budget: Budget = field(default_factory=Budget)
    dtype: Literal["auto", "bf16", "fp32"] = "auto"
    engine: Literal["auto", "batched", "transformers"] = "auto"
    processes: int = 1
    device: str | None = None
    workers: int | None = None
    threads: int | None = None
    executor: Executor = "processes"
    report_to: str = ""
    prune: bool = False
    seed: int = 0
    quiet: bool = False

    @property
    def trains(self) -> bool:
        """Whether a grid is trained; a given pair of checkpoints takes its place."""
        return self.base is None and bool(self.scales)

    def mixtures_of(self, scale: str) -> list[Listed]:
        """Give all mixtures of a scale; the smallest takes the study's ``steps_between``."""
        own = self.scales[scale].steps_between
        smallest = scale == next(iter(self.scales))
        return self.mixtures.crossed(own or (self.steps_between if smallest else 0))

    @property
    def uses_world(self) -> bool:
        """Whether anything is read from the built-in world."""
        return self.trains and not self.corpora

    def settings(self) -> dict[str, Any]:
        """Give what changes the numbers."""
        return {name: value for name, value in asdict(self).items() if name not in APART}

    def check(self) -> None:
        """Refuse settings that do not make sense, before anything is built.

        Raises:
            ConfigError: such a setting, by its key.
            DataError: a file that is named is absent.
        """
        from imprint.lab.checking import check

        check(self)


def load_config(
    path: Path | None = None,
    preset: str | None = None,
    given: Mapping[str, Any] | None = None,
    *,
    sft: str | None = None,
) -> StudyConfig:
    """Put a study's settings together: preset, then file, then what is given beside.

    Args:
        path: YAML with any keys of ``StudyConfig``.
        preset: wins over the file's ``preset``; ``default`` where neither names one.
        given: flags; they win.
        sft: rows to fine-tune on, short for ``sft.data``.

    Raises:
        ConfigError: an unknown key (with the nearest known one), a wrong type or value.
    """
    settings = load_yaml(path) if path else Settings()
    name = preset or settings.get("preset") or "default"
    if name not in PRESETS:
        raise ConfigError(f"no preset {name!r}: {nearest(str(name), PRESETS)}")
    flags = {key: value for key, value in (given or {}).items() if value is not None}
    if flags.get("models", settings.get("models")) and "scales" not in settings:
        settings["scales"] = {}
    for key, value in preset_settings(name).items():
        if key == "limit" and (flags.get("benchmarks") or settings.get("benchmarks")):
            continue  # few items are enough of the world's benchmarks, not of a user's
        own = settings.get(key)
        merge = isinstance(value, dict) and isinstance(own, dict) and key not in WHOLE
        settings[key] = {**value, **(own or {})} if merge else settings.get(key, value)
    settings.update({**flags, "preset": name})
    if sft is not None:
        settings["sft"] = {**settings.get("sft", {}), "data": sft}
    config = build(StudyConfig, settings)
    config = replace(config, **_located(config, path)) if path else config
    config.check()
    return config


def preset_settings(name: str) -> dict[str, Any]:
    """Read a preset that comes with imprint."""
    with_path = files("imprint.lab") / "presets" / f"{name}.yaml"
    return dict(load_yaml(Path(str(with_path))))


def _located(config: StudyConfig, path: Path) -> dict[str, Any]:
    """Take paths of a file as beside it, where nothing of that name is here."""

    def find(text: str | None) -> str | None:
        if text is None or Path(text).exists() or not (path.parent / text).exists():
            return text
        return str(path.parent / text)

    single = ("models", "base", "tuned", "facts", "templates", "texts", "domains", "sae")
    found: dict[str, Any] = {name: find(getattr(config, name)) for name in single}
    found["tokenizer"] = find(config.tokenizer)
    found["corpora"] = {name: find(value) for name, value in config.corpora.items()}
    found["sft_sets"] = {name: find(value) for name, value in config.sft_sets.items()}
    found["benchmarks"] = tuple(find(name) for name in config.benchmarks)
    found["sft"] = replace(config.sft, data=find(config.sft.data))
    found["rl"] = replace(config.rl, data=find(config.rl.data))
    return found
