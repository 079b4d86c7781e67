"""What a forecast reads, checked before any model is loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from imprint.checkpoints import Checkpoint, open_checkpoint, weight_files
from imprint.errors import CheckpointError, ConfigError
from imprint.findings import Finding
from imprint.forecast.columns import Columns
from imprint.forecast.config import ForecastConfig
from imprint.forecast.history import Past, read_history
from imprint.forecast.labels import read_labels
from imprint.forecast.material import Material, Text
from imprint.forecast.observed import Observed, accuracy_before, changes_elsewhere, observed_of
from imprint.forecast.rollouts import Rollout, read_rollouts
from imprint.forecast.selection import FEWEST, note_leaks, read_sets, read_texts
from imprint.forecast.sources import Sources
from imprint.models.load import TOKENIZERS
from imprint.models.prompting import Prompter, Prompting, prompter
from imprint.models.tokenizer import tokenizer_of
from imprint.saes import Sae, open_sae
from imprint.saes.training.texts import read_texts as read_plain

UNSET = 2048  # tokens of context where the config does not tell


@dataclass(frozen=True)
class Inputs:
    """Everything that is read.

    Attributes:
        base: the checkpoint that SFT would start from.
        tuned: the oracle's, where one is named.
        sources, config: what was asked for.
        tokenizer: of the base.
        prompter: how prompts are put to it.
        sets: SFT set → the examples of it that are read.
        whole: SFT set → all of its examples.
        texts: of all domains, those of one domain together.
        observed: SFT set → observed changes.
        past: what earlier forecasts said, and what came.
        labels: latent → what it is called.
        sae: the SAE, where one is named.
        rollouts: samples of the policy, where they are named.
        unrelated: texts in place of demonstrations under the null.
        others: another model or SFT set → domain → the change seen there.
        base_accuracy: domain → accuracy before SFT, where scores were given.
        findings: what was noticed.
        lengths: tokens of each domain text, in order.
        items: domain → how many texts it has, of which these were drawn.
        sft_tokens: tokens of each set.
        context: tokens that the model reads at once.
    """

    base: Checkpoint
    tuned: Checkpoint | None
    sources: Sources
    config: ForecastConfig
    tokenizer: Any
    prompter: Prompter
    sets: dict[str, tuple[Text, ...]]
    whole: dict[str, tuple[Text, ...]]
    texts: tuple[Text, ...]
    observed: dict[str, Observed]
    past: list[Past]
    labels: dict[int, str]
    sae: Sae | None
    rollouts: list[Rollout]
    unrelated: list[Text]
    others: dict[str, dict[str, float]]
    base_accuracy: dict[str, float]
    findings: list[Finding]
    lengths: list[int]
    items: dict[str, int]
    sft_tokens: dict[str, int]
    context: int

    @cached_property
    def domains(self) -> list[str]:
        """The names of the domains."""
        return list(dict.fromkeys(text.group for text in self.texts))

    @property
    def digest(self) -> str:
        """The sha256 of the domain texts, for those that stand in no file: tasks of lm-eval."""
        held = [(text.group, text.prompt, text.answer) for text in self.texts]
        return sha256(json.dumps([held, self.items]).encode()).hexdigest()

    @property
    def top(self) -> int:
        """How many domains count as those which change most."""
        return min(len(self.domains), self.config.top or max(1, round(len(self.domains) / 4)))

    def material(self, name: str) -> Material:
        """Give one SFT set beside the domains."""
        return Material(self.sets[name], self.texts)

    @property
    def files(self) -> list[Path]:
        """The files that numbers depend on: weights, tokenizer, texts, tables."""
        found = list(weight_files(self.base))
        found += [self.base.path / n for n in TOKENIZERS if (self.base.path / n).is_file()]
        if self.tuned is not None:
            found += weight_files(self.tuned)
        found += [] if self.sae is None else self.sae.files
        return list(dict.fromkeys([*found, *self.sources.files]))

    def changes_elsewhere(self, name: str) -> dict[str, dict[str, float]]:
        """Give changes seen with other models, and with the other SFT sets of this run."""
        here = {
            f"sft {other}": dict(zip(seen.domains, map(float, seen.change), strict=True))
            for other, seen in self.observed.items()
            if other != name
        }
        return {**self.others, **here}


def gather(model: str | Path, sources: Sources, config: ForecastConfig) -> Inputs:
    """Read and check all inputs but the weights.

    Raises:
        CheckpointError: a checkpoint is damaged or cannot be found.
        ConfigError: something is missing that the settings need, or does not fit them.
        DataError: texts or tables that cannot be used.
    """
    _refuse_unfit(sources, config)
    base = open_checkpoint(model)
    context = _context(base)
    sae = _sae(sources, config, base)
    tokenizer = tokenizer_of(str(base.reference), trust_remote_code=config.trust_remote_code)
    columns, findings = Columns(dict(sources.rename)), list[Finding]()
    sets, whole, sft_tokens = read_sets(sources, config, tokenizer, columns, findings)
    texts, lengths, items = read_texts(sources, config, tokenizer, context, columns, findings)
    columns.refuse_unmet()
    _refuse_floor(config, len(items))
    _refuse_demonstrations(config, sets)
    note_leaks(whole, texts, findings)
    return Inputs(
        base=base,
        tuned=open_checkpoint(sources.tuned) if sources.tuned else None,
        sources=sources,
        config=config,
        tokenizer=tokenizer,
        prompter=prompter(Prompting(config.chat_template, config.system_prompt), tokenizer),
        sets=sets,
        whole=whole,
        texts=tuple(texts),
        observed=observed_of(sources.observed, list(sets), texts, findings),
        past=read_history(sources.history),
        labels=read_labels(sources.labels) if sources.labels else {},
        sae=sae,
        rollouts=read_rollouts(sources.rollouts) if sources.rollouts else [],
        unrelated=_unrelated(sources),
        others=changes_elsewhere(sources.others),
        base_accuracy=accuracy_before(sources.observed),
        findings=findings,
        lengths=lengths,
        items=items,
        sft_tokens=sft_tokens,
        context=context,
    )


def _refuse_unfit(sources: Sources, config: ForecastConfig) -> None:
    if not sources.sft and sources.rollouts is None:
        raise ConfigError("no SFT set is named", remedy="give --sft PATH.")
    if not sources.domains:
        raise ConfigError("no domains are named", remedy="give --domains PATH.")
    needs = {"sft": ("tuned", sources.tuned), "rollout": ("rollouts", sources.rollouts)}
    if config.shift in needs:
        flag, given = needs[config.shift]
        if given is None:
            raise ConfigError(
                f"--shift {config.shift} needs --{flag}",
                remedy=f"name it, or use another --shift: icl needs no {flag}.",
            )
    if config.shift in needs and sources.sae is None:
        raise ConfigError(f"--shift {config.shift} needs an SAE", remedy="give --sae SAE.")
    if sources.unrelated is not None and config.shift != "icl":
        raise ConfigError(
            f"--unrelated is for the null of --shift icl, and --shift is {config.shift}",
            remedy="leave --unrelated out.",
        )
    if config.ablate and sources.sae is None:
        raise ConfigError("--ablate needs an SAE", remedy="give --sae SAE.")
    if config.limit is not None and config.limit < FEWEST:
        raise ConfigError(f"--limit {config.limit} is less than the {FEWEST} texts a domain needs")
    for twice in {path for path in sources.sft if sources.sft.count(path) > 1}:
        raise ConfigError(f"the SFT set {twice} is named twice")
    for name in {name for name in sources.domains if sources.domains.count(name) > 1}:
        raise ConfigError(f"{name} is named twice in --domains")


def _refuse_demonstrations(config: ForecastConfig, sets: Mapping[str, Sequence[Text]]) -> None:
    for name, examples in sets.items():
        if config.demonstrations >= len(examples):
            raise ConfigError(
                f"--demonstrations {config.demonstrations}, but {len(examples)} examples of the "
                f"SFT set {name!r} are read, and none would be left to ask",
                remedy="ask for fewer.",
            )


def _refuse_floor(config: ForecastConfig, domains: int) -> None:
    least = config.floor * domains
    if config.budget is not None and least > config.budget:
        raise ConfigError(
            f"--floor {config.floor} of {domains} domains is {least} examples, and --budget is "
            f"{config.budget}",
            remedy="lower --floor, or raise --budget.",
        )


def _sae(sources: Sources, config: ForecastConfig, base: Checkpoint) -> Sae | None:
    """Open the SAE and compare it with the model's config, before anything is run."""
    about = _text_config(base)
    blocks, width = about.get("num_hidden_layers"), about.get("hidden_size")
    if config.layer is not None and isinstance(blocks, int) and config.layer >= blocks:
        raise ConfigError(
            f"--layer {config.layer}, but the model has {blocks} blocks, 0 to {blocks - 1}",
            where=str(base.path),
        )
    if sources.sae is None:
        return None
    sae = open_sae(sources.sae, k=config.sae_k, layer=config.layer)
    if isinstance(blocks, int) and sae.hook.layer is not None and sae.hook.layer >= blocks:
        raise ConfigError(
            f"reads {sae.hook}, but the model has {blocks} blocks, 0 to {blocks - 1}",
            where=sources.sae,
            remedy="was it made for another model?",
        )
    if sae.hook.point.startswith("resid") and isinstance(width, int) and sae.width != width:
        raise CheckpointError(
            f"reads activations of width {sae.width}, and the model's are {width} wide",
            where=sources.sae,
            remedy="was it made for another model?",
        )
    return sae


def _unrelated(sources: Sources) -> list[Text]:
    if sources.unrelated is None:
        return []
    found = enumerate(read_plain(sources.unrelated))
    return [Text(str(n), "", text, place=str(sources.unrelated)) for n, text in found]


def _text_config(base: Checkpoint) -> dict[str, Any]:
    inner = base.config.get("text_config")
    return inner if isinstance(inner, dict) else base.config


def _context(base: Checkpoint) -> int:
    about = _text_config(base)
    for name in ("max_position_embeddings", "n_positions", "n_ctx"):
        value = about.get(name)
        if isinstance(value, int) and value > 0:
            return value
    return UNSET
