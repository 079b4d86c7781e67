"""Supervised fine-tuning with TRL, lean enough for models that train in seconds."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from imprint.errors import ConfigError, require
from imprint.lab.encoding import Encoded, encode, sft_rows
from imprint.lab.methods import (
    Anchor,
    Name,
    check_method,
    choose_parameters,
    hold,
    largest_changes,
    with_lora,
)
from imprint.lab.noise import wrong_labels
from imprint.lab.trainers import (
    Dtype,
    Schedule,
    begun,
    check_settings,
    common_arguments,
    data_identity,
    finish,
    finished,
    loss_curve,
    open_model,
    quiet,
)


@dataclass(frozen=True, slots=True)
class SftSettings:
    """How to fine-tune.

    Attributes:
        method: what may change, see ``imprint.lab.methods``.
        steps: optimiser steps; with ``None`` as many as ``epochs`` takes.
        epochs: passes over the rows, where no steps are given.
        batch: rows per step on each device.
        lr, schedule, weight_decay: of AdamW.
        warmup: share of the steps in which the learning rate rises.
        max_length: tokens kept of a row, from its beginning.
        noise: share of rows that get the answer of another row.
        lora_rank, lora_alpha: of ``lora``.
        l2: λ of ``l2_to_base``.
        top_k: share of the parameters that ``top_k`` lets move.
        seed: of the order of rows, the noise and adapters.
        dtype: ``fp32``, or ``bf16`` for bfloat16 arithmetic on float32 weights; ``auto`` takes it
            where the machine has it.
        device: ``cpu``, ``cuda``; by default a GPU where there is one.
        report_to: trackers of transformers (``tensorboard``, ``wandb``, ``trackio``).
        metrics: let TRL measure entropy and token accuracy at every step, which costs time.
        save_every: steps between TRL's own checkpoints, from which a killed training goes on.
    """

    method: Name = "full"
    steps: int | None = None
    epochs: float = 1.0
    batch: int = 16
    lr: float = 1e-3
    schedule: Schedule = "cosine"
    warmup: float = 0.05
    weight_decay: float = 0.0
    max_length: int = 256
    noise: float = 0.0
    lora_rank: int = 8
    lora_alpha: float = 16.0
    l2: float = 1e-2
    top_k: float = 0.05
    seed: int = 0
    dtype: Dtype = "auto"
    device: str | None = None
    report_to: tuple[str, ...] = ()
    metrics: bool = False
    save_every: int | None = None

    def __post_init__(self) -> None:
        check_method(self.method)
        check_settings(asdict(self))
        if self.method == "top_k" and self.weight_decay:
            raise ConfigError(
                "weight decay moves parameters that top_k holds", remedy="weight_decay=0."
            )
        if not 0 < self.top_k <= 1 or self.l2 < 0 or self.lora_rank < 1:
            raise ConfigError(
                f"top_k is {self.top_k:g}, l2 {self.l2:g}, lora_rank {self.lora_rank}",
                remedy="0 < top_k ≤ 1, l2 ≥ 0, lora_rank ≥ 1.",
            )


def sft(
    base: str | Path,
    rows: Sequence[Mapping[str, Any]] | str | Path,
    out: str | Path,
    settings: SftSettings | None = None,
    callbacks: Sequence[Any] = (),
) -> dict[str, Any]:
    """Fine-tune a model on an SFT set; write a checkpoint in Hugging Face layout.

    Only what the assistant says (of ``messages``) or the completion is learnt. The loss is the mean
    over the tokens of a batch, as TRL has it. The same seed on the same machine, with the same
    number of threads, gives the same weights. A training that was killed goes on from its last
    checkpoint (``save_every``) or begins anew; one that is there already is not repeated.

    Args:
        base: the model, as ``imprint.models.load`` takes it.
        rows: ``messages``, ``prompt`` and ``completion``, or ``text``; a list or a JSONL file.
        out: folder of the checkpoint, with ``metrics.json``.
        settings: how.
        callbacks: of transformers; with ``top_k`` they see the second training.

    Returns:
        What ``metrics.json`` holds: ``losses`` (a curve), ``seconds``, ``steps``, ``rows``,
        ``tokens`` and ``learnt_tokens`` (of the set), ``seen_tokens`` (in training), ``cut`` and
        ``dropped`` rows, ``changed_labels``, ``trained_parameters``, ``parameters``, ``settings``.

    Raises:
        ConfigError: ``out`` holds something else.
        DataError: rows that cannot be learnt from.
        CheckpointError: the model cannot be loaded.
        DependencyError: a package of ``imprint[lab]`` is not installed.
    """
    how, folder = settings or SftSettings(), Path(out)
    known = {"base": str(base), "data": data_identity(rows), **asdict(how)}
    done = finished(folder, known)
    if done is not None:
        return done
    right = sft_rows(rows)
    labelled, changed = wrong_labels(right, how.noise, how.seed)
    with quiet() as start:
        work, resume = begun(folder, known)
        model, tokenizer = open_model(base, device=how.device)
        encoded = encode(tokenizer, labelled, min(how.max_length, _context(model)))
        training = _Training(model, tokenizer, encoded, how, work)
        told = training.run(callbacks, resume)
        metrics = {
            **told,
            "rows": len(right),
            "tokens": encoded.tokens,
            "learnt_tokens": encoded.learnt,
            "cut": encoded.cut,
            "dropped": encoded.dropped,
            "changed_labels": len(changed),
            "seconds": round(time.perf_counter() - start, 3),
            "settings": known,
        }
        return finish(folder, training.model, tokenizer, metrics)


@dataclass
class _Training:
    """One model being trained on one set."""

    model: Any
    tokenizer: Any
    encoded: Encoded
    how: SftSettings
    work: Path

    def run(self, callbacks: Sequence[Any], resume: str | None) -> dict[str, Any]:
        how = self.how
        parameters = self.model.num_parameters()
        if how.method == "lora":
            self.model = with_lora(
                self.model, rank=how.lora_rank, alpha=how.lora_alpha, seed=how.seed
            )
        trained = choose_parameters(self.model, how.method)
        release = self._hold_all_but_largest() if how.method == "top_k" else None
        anchor = Anchor(self.model, how.l2) if how.method == "l2_to_base" else None
        trainer = self._trainer(how, anchor, callbacks)
        trainer.train(resume_from_checkpoint=resume)
        if release is not None:
            release()
            trained = max(1, round(how.top_k * trained))
        self.model = self.model.merge_and_unload() if how.method == "lora" else self.model
        for weight in self.model.parameters():
            weight.requires_grad_(True)
        return {
            "losses": loss_curve(trainer.state.log_history),
            "steps": trainer.state.global_step,
            "seen_tokens": trainer.seen,
            "trained_parameters": trained,
            "parameters": parameters,
        }

    def _hold_all_but_largest(self) -> Any:
        """Train once, mark what moves most, go back to the base, and let only that move."""
        before = {name: weight.detach().clone() for name, weight in self.model.named_parameters()}
        first = replace(self.how, save_every=None, report_to=())
        self._trainer(first, None, ()).train()
        masks = largest_changes(before, self.model, self.how.top_k)
        with require("torch", "lab").no_grad():
            for name, weight in self.model.named_parameters():
                weight.copy_(before[name])
        self.model.zero_grad(set_to_none=True)
        return hold(self.model, masks)

    def _trainer(self, how: SftSettings, anchor: Anchor | None, callbacks: Sequence[Any]) -> Any:
        trl, datasets = require("trl", "lab"), require("datasets", "lab")
        arguments = trl.SFTConfig(
            **common_arguments(asdict(how), self.work, _steps(how, len(self.encoded.rows))),
            per_device_train_batch_size=how.batch,
            max_length=None,
            dataset_kwargs={"skip_prepare_dataset": True},
            remove_unused_columns=False,
        )
        trainer = _class(trl, lean=not how.metrics)(
            model=self.model,
            args=arguments,
            train_dataset=datasets.Dataset.from_list(self.encoded.rows),
            processing_class=self.tokenizer,
            callbacks=list(callbacks),
        )
        trainer.anchor = anchor
        trainer.remove_callback(require("transformers", "lab").PrinterCallback)
        return trainer


def _class(trl: Any, *, lean: bool) -> Any:
    """Give TRL's trainer, without its metrics of every step where it is to be lean."""
    plain = require("transformers", "lab").Trainer.compute_loss

    class Trainer(trl.SFTTrainer):  # type: ignore[misc]
        anchor: Anchor | None = None
        seen: int = 0

        def compute_loss(self, model: Any, inputs: Any, *rest: Any, **more: Any) -> Any:
            self.seen += int(inputs["attention_mask"].sum())
            compute = plain if lean else trl.SFTTrainer.compute_loss
            loss = compute(self, model, inputs, *rest, **more)
            return loss if self.anchor is None else loss + self.anchor(model)

    return Trainer


def _steps(how: SftSettings, rows: int) -> int:
    return how.steps or max(1, round(how.epochs * -(-rows // how.batch)))


def _context(model: Any) -> int:
    told = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return int(told) if told else 1 << 30
