"""Follow drift, knowledge and calibration during anyone's training with transformers' Trainer."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from imprint.errors import ConfigError, require
from imprint.integrations.trl.following import Following, smallest_gain
from imprint.integrations.trl.measuring import Base, adapter_off, measure
from imprint.integrations.trl.probes import Encoded, Rows, encode, read_probes
from imprint.integrations.trl.told import write_run
from imprint.models.load import Loaded
from imprint.progress import note
from imprint.runs import write_atomic

transformers = require("transformers", "models")
LINES = "imprint_callback.jsonl"
BASE = "imprint_callback_base.npz"
START = "imprint_callback_start.json"
RUN = "imprint_callback"
CONTEXT = 256  # tokens of a text or prompt at most


class ImprintCallback(transformers.TrainerCallback):  # type: ignore[misc, name-defined]
    """Measures a model before training, every so many steps, and at the end.

    A plain ``TrainerCallback``: give it to TRL's trainers, transformers' ``Trainer`` or any tool on
    top of it. Nothing of training changes: the model is asked without gradients, no random number
    is drawn. There is no second model: the base's log-probabilities of the texts are computed once
    before the first step; a model with a PEFT adapter is its own base with the adapter off. All
    processes take part in all forward passes; the first writes.

    Values go to the trainer's history and trackers under ``imprint/…``, to
    ``imprint_callback.jsonl`` and at the end to the run folder ``imprint_callback`` (report,
    tables, summary), both in ``out``.

    Args:
        texts: whose tokens tell drift from the base: a file as `imprint drift` reads it, or a list.
        facts: file or folder of facts as `imprint mastery` reads them: probability of the known
            answer, share answered greedily, and levels these make of 210 samples on average.
        templates: file of templates for the facts.
        choices: one or more files of questions as `imprint evaluate` reads them: accuracy,
            confidence (softmax over options), and expected calibration error beside its null.
        domains: JSON lines, or rows, of ``domain`` and ``prompt`` and ``answer`` or ``text``: loss
            per domain and its change since the start.
        every: steps between measurements.
        max_items: texts, facts, questions, and rows of each domain at most.
        prompts: that ask for each fact at most, evenly over its templates.
        max_tokens: of a text or prompt at most.
        memory: bytes kept of the base; above it only its likeliest tokens are.
        patience: measurements that the warning looks back over.
        gain: the rise of accuracy that would be worth its drift.
        stop: end the training at the warning.
        seed: of what is drawn where there is more than ``max_items``.
        out: folder; by default the trainer's ``output_dir``.
        tokenizer: where the trainer is given none.
        quiet: say nothing on stderr.

    Attributes:
        rows: what was measured, a row per measurement.
        warnings: what was warned of.

    Raises:
        ConfigError: nothing to follow, or settings that make no sense.
        DataError: an input that cannot be used.
    """

    def __init__(
        self,
        *,
        texts: Sequence[str] | str | Path | None = None,
        facts: str | Path | None = None,
        templates: str | Path | None = None,
        choices: str | Path | Sequence[str | Path] | None = None,
        domains: Rows | None = None,
        every: int = 100,
        max_items: int = 200,
        prompts: int = 5,
        max_tokens: int = CONTEXT,
        memory: int = 256 << 20,
        patience: int = 2,
        gain: float = 0.05,
        stop: bool = False,
        seed: int = 0,
        out: str | Path | None = None,
        tokenizer: Any = None,
        quiet: bool = False,
    ):
        numbers = {"every": every, "max_items": max_items, "patience": patience, "prompts": prompts}
        for name, value in {**numbers, "max_tokens": max_tokens, "gain": gain}.items():
            if not value > 0:
                raise ConfigError(f"{name} is {value}", remedy="above 0.")
        self.probes = read_probes(
            texts, facts, templates, choices, domains, max_items=max_items, seed=seed
        )
        self.settings = {**numbers, "max_tokens": max_tokens, "gain": gain, "stop": stop}
        self.settings |= {"memory": memory, "seed": seed}
        self.every, self.prompts, self.max_tokens = every, prompts, max_tokens
        self.memory, self.stop = memory, stop
        self.following = Following(patience, gain)
        self.out = Path(out or "")
        self._placed = out is not None
        self.tokenizer, self.quiet = tokenizer, quiet
        self.rows: list[dict[str, Any]] = []
        self.warnings: list[str] = []
        self._encoded = Encoded([], [], [], {})
        self._base: Base | None = None
        self._trackers: list[Any] = []
        self._spent = 0.0
        self._begun = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Encode the probes, compute the base, and measure once."""
        self._begun, model = time.perf_counter(), more["model"]
        tokenizer = self.tokenizer or more.get("processing_class")
        tokenizer = getattr(tokenizer, "tokenizer", tokenizer)
        if tokenizer is None:
            raise ConfigError(
                "the trainer has no tokenizer", remedy="give one: ImprintCallback(tokenizer=…)."
            )
        self.out = self.out if self._placed else Path(args.output_dir)
        self._encoded = encode(
            self.probes, Loaded(model, tokenizer, self.out), self.max_tokens, self.prompts
        )
        self._trackers = _trackers(args) if state.is_world_process_zero else []
        if self._encoded.texts:
            self._base = self._before(model, state)
        self._recall(state)
        self._warn_of_few(state)
        self.rows = [row for row in self.rows if row["step"] < state.global_step]
        self._measure(args, state, control, model)

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Measure where it is time."""
        if state.global_step % self.every == 0:
            self._measure(args, state, control, more["model"])

    def on_train_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Measure the end, write the run folder, and tell what it all cost."""
        if not self.rows or self.rows[-1]["step"] != state.global_step:
            self._measure(args, state, control, more["model"])
        if state.is_world_process_zero:
            write_run(
                self.out / RUN, self.rows, self.warnings, self.settings, self.share, self._inexact
            )
            steps = f"{len(self.rows)} measurements, {self._spent:.1f} s"
            note(f"imprint: {steps}, {100 * self.share:.1f} % of the time", quiet=self.quiet)

    @property
    def share(self) -> float:
        """The share of the time since training began that measuring took."""
        return self._spent / max(time.perf_counter() - self._begun, 1e-9)

    @property
    def _inexact(self) -> bool:
        return self._base is not None and not self._base.whole

    def _before(self, model: Any, state: Any) -> Base:
        """Give the base: the model with its adapter off, as it is now, or as it was kept."""
        begun, off, path = time.perf_counter(), adapter_off(model), self.out / BASE
        if off is not None:
            return Base(off)
        if state.global_step:
            found = Base.load(path, self._encoded.fingerprint, len(self._encoded.texts))
        else:
            found = Base.of(model, self._encoded.texts, self.memory)
            if state.is_world_process_zero:
                found.save(path, self._encoded.fingerprint)
        self._spent += time.perf_counter() - begun
        return found

    def _recall(self, state: Any) -> None:
        """Take in what was measured before a resumed training stopped."""
        lines, start = self.out / LINES, self.out / START
        if not state.global_step or not lines.is_file():
            return
        rows = [json.loads(line) for line in lines.read_text().splitlines()]
        self.rows = [row for row in rows if row["step"] <= state.global_step]
        if start.is_file():
            self.following.begin(json.loads(start.read_text()))

    def _warn_of_few(self, state: Any) -> None:
        counts = [len(self.probes.facts), len(self.probes.questions)]
        smallest, gain = smallest_gain(counts), self.following.gain
        if any(counts) and self.probes.texts and smallest >= gain and state.is_world_process_zero:
            note(
                f"imprint: with {min(c for c in counts if c)} items a gain below "
                f"{100 * smallest:.0f} points cannot be told from none, so there will be no "
                "warning; give more items or a larger gain",
                quiet=self.quiet,
            )

    def _measure(self, args: Any, state: Any, control: Any, model: Any) -> None:
        begun = time.perf_counter()
        golds = [one.golds for one in self.probes.questions]
        measured = measure(model, self._encoded, golds, self._base)
        values = self.following.add(state.global_step, measured)
        warned = _first(self.following.warning())
        self._spent += time.perf_counter() - begun
        values["share_of_time"] = self.share
        self.rows.append(values)
        if warned:
            self.warnings.append(warned)
            control.should_training_stop = control.should_training_stop or self.stop
        if state.is_world_process_zero:
            if not state.global_step:
                start = {name: list(values) for name, values in measured.domains.items()}
                write_atomic(self.out / START, json.dumps(start))
            self._tell(args, state, control, values, warned)

    def _tell(
        self, args: Any, state: Any, control: Any, values: Mapping[str, Any], warned: str | None
    ) -> None:
        text = "".join(json.dumps(row, allow_nan=False, default=str) + "\n" for row in self.rows)
        write_atomic(self.out / LINES, text)
        logs = {f"imprint/{name}": value for name, value in values.items() if name != "step"}
        state.log_history.append({**logs, "step": state.global_step})
        for tracker in self._trackers:
            tracker.on_log(args, state, control, logs=dict(logs))
        if warned:
            note(f"imprint: {warned}", quiet=self.quiet)

    def table(self) -> pl.DataFrame:
        """Give a row per measurement."""
        return pl.DataFrame(self.rows, infer_schema_length=None)


def _trackers(args: Any) -> list[Any]:
    """Open the trackers that the trainer reports to: a callback cannot reach the trainer's own.

    They write to the same run, and TensorBoard reads all files of a folder as one.
    """
    integrations = require("transformers.integrations", "models")
    told = [one for one in args.report_to or [] if one not in ("none", "all")]
    return [made() for made in integrations.get_reporting_integration_callbacks(told)]


def _first(warning: str | None) -> str | None:
    """Give the first process's word to all, so that all stop or none."""
    torch = require("torch", "models")
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return warning
    held = [warning]
    torch.distributed.broadcast_object_list(held, src=0)
    return held[0]
