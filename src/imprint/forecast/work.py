"""The work of a forecast, in units that a run keeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from math import isfinite

import polars as pl

from imprint.errors import ConfigError, DataError
from imprint.findings import Finding
from imprint.forecast.inputs import Inputs
from imprint.forecast.judged import Found
from imprint.forecast.kept import findings_frame, findings_from, from_frame, to_frame
from imprint.forecast.latents import ablation, measure_fit, strongest
from imprint.forecast.material import Text
from imprint.forecast.predicted import Floats, Predicted
from imprint.forecast.predictors import PREDICTORS, Predictor
from imprint.forecast.replay import replies
from imprint.forecast.setting import Setting
from imprint.forecast.sts import Asked, dictionaries, sts
from imprint.models import Loaded, LocalEngine, load
from imprint.models.batching import Batcher
from imprint.progress import Bar
from imprint.runs import Run, Tables
from imprint.saes import Fit, Sae, gate


class Work:
    """Predictors of every SFT set; the model is loaded when the first unit needs it.

    Args:
        inputs: what was read.
        run: keeps finished units.
        bar: told of progress.
    """

    def __init__(self, inputs: Inputs, run: Run, bar: Bar):
        self.inputs, self.run, self.bar = inputs, run, bar
        self.config = inputs.config
        self.findings: list[Finding] = []
        self.rates: Floats | None = None  # share of tokens on which each latent fires, [L]

    @property
    def units(self) -> list[Predictor]:
        """The predictors that were asked for."""
        return [p for p in PREDICTORS if self._wanted(p.family)]

    @cached_property
    def loaded(self) -> Loaded:
        """The model."""
        self.bar.describe("loading the model")
        return load(
            str(self.inputs.base.reference),
            dtype=self.config.dtype,
            device=self.config.device,
            trust_remote_code=self.config.trust_remote_code,
        )

    @cached_property
    def tuned(self) -> Loaded:
        """The tuned model, for the oracle."""
        self.bar.describe("loading the tuned model")
        return load(
            str(self.inputs.sources.tuned),
            dtype=self.config.dtype,
            device=self.config.device,
            trust_remote_code=self.config.trust_remote_code,
        )

    @cached_property
    def batcher(self) -> Batcher:
        """Puts work together; it remembers where memory ran out."""
        batcher = Batcher.on(self.loaded.device)
        batcher.quiet = self.config.quiet
        return batcher

    @cached_property
    def sae(self) -> Sae:
        """The SAE on the model's device, the scale of its input decided.

        Raises:
            ConfigError: there is none.
        """
        if self.inputs.sae is None:
            raise ConfigError("this needs an SAE", remedy="give --sae SAE.")
        sae = self.inputs.sae.to(self.loaded.device)
        return self._measured(sae).sae if sae.undecided else sae

    def _measured(self, sae: Sae) -> Fit:
        return measure_fit(self.setting(next(iter(self.inputs.sets)), model=True), sae)

    def fit(self) -> pl.DataFrame | None:
        """Measure the fit of the SAE on the domains; nothing runs where it is bad.

        Raises:
            CheckpointError: the SAE does not fit, and that was not accepted.
        """
        sae = self.inputs.sae
        if sae is None:
            return None

        def compute() -> Tables:
            self.bar.describe("fit of the SAE")
            fit = self._measured(sae.to(self.loaded.device))
            findings = [*sae.findings, *gate(fit, sae, self.config.accept_bad_fit)]
            known = {k: v if v is None or isfinite(v) else None for k, v in fit.numbers().items()}
            numbers = pl.DataFrame([known], infer_schema_length=None)
            rates = pl.DataFrame({"rate": fit.rates})
            return {"fit": numbers, "rates": rates, "findings": findings_frame(findings)}

        tables = self.kept("fit", compute)
        self.rates = tables["rates"]["rate"].to_numpy()
        return tables["fit"]

    def shifts(self) -> None:
        """Find the latents that each set shifts; first of all, for this may be refused."""
        if self._with_latents:
            for number, sft in enumerate(self.inputs.sets):
                self._sts(number, sft)

    def found(self, number: int, sft: str) -> Found:
        """Run every predictor on one SFT set."""
        predicted: list[Predicted] = []
        tables: Tables = {}
        if self._with_latents:
            tables = self._sts(number, sft)
            predicted += from_frame(tables.pop("predicted"))
            tables |= self._beside(number, sft, tables["shifted"])
        if self._wanted("dictionary"):
            predicted += self._dictionaries(number, sft)
        for unit in self.units:
            self.bar.describe(f"{unit.name} ({sft})")
            predicted += self._predicted(f"set{number}-{unit.name}", unit, sft)
            self.bar.advance()
        told = ("shifted", "overlap", "strongest", "ablation")
        return Found(sft, predicted, {name: tables[name] for name in told if name in tables})

    @property
    def _with_latents(self) -> bool:
        return self.inputs.sae is not None and self._wanted("sts")

    def _sts(self, number: int, sft: str) -> Tables:
        """Find the latents that the set shifts, and score the domains by them."""

        def compute() -> Tables:
            setting, tick = self.setting(sft, model=True), self._tick(sft)
            said = sts(setting, self.sae, self._asked(), tick=tick)
            return {
                "predicted": to_frame(said.predicted),
                "shifted": self._labelled(said.shifted),
                "overlap": said.overlap,
                "findings": findings_frame(said.findings),
            }

        return dict(self.kept(f"set{number}-sts", compute))

    def _dictionaries(self, number: int, sft: str) -> list[Predicted]:
        """Score the domains with other dictionaries in the SAE's place."""

        def compute() -> Tables:
            setting, tick = self.setting(sft, model=True), self._tick(sft)
            try:
                asked, sae = self._asked(), self.inputs.sae
                said, noticed = dictionaries(setting, asked, sae=sae, tick=tick)
            except DataError as short:  # other predictors have no need of demonstrations
                lack = Finding(
                    "no_dictionaries", f"no scores of other dictionaries: {short.problem}"
                )
                return {"predicted": to_frame([]), "findings": findings_frame([lack])}
            noticed = [] if self._with_latents else noticed  # they are those of the SAE
            return {"predicted": to_frame(said), "findings": findings_frame(noticed)}

        return from_frame(self.kept(f"set{number}-dictionaries", compute)["predicted"])

    def _asked(self) -> Asked:
        return Asked(
            shift=self.config.shift,
            latents=self.config.latents,
            tuned=self.tuned if self.config.shift == "sft" else None,
            rollouts=self.inputs.rollouts,
            unrelated=self.inputs.unrelated,
        )

    def _tick(self, sft: str) -> Callable[[str], None]:
        return lambda words: self.bar.describe(f"{words} ({sft})")

    def _labelled(self, shifted: pl.DataFrame) -> pl.DataFrame:
        labels = self.inputs.labels
        if not labels:
            return shifted
        words = [labels.get(latent) for latent in shifted["latent"]]
        return shifted.with_columns(pl.Series("label", words, dtype=pl.String))

    def replayed(self, texts: Sequence[Text]) -> list[str]:
        """Give what the base model says to the prompts of a mixture."""

        def compute() -> Tables:
            self.bar.describe("replay targets")
            said, found = replies(self.inputs, LocalEngine(self.loaded), texts)
            frame = pl.DataFrame({"said": said}, schema={"said": pl.String})
            return {"said": frame, "findings": findings_frame(found)}

        return self.kept("replay", compute)["said"]["said"].to_list()

    def _beside(self, number: int, sft: str, shifted: pl.DataFrame) -> dict[str, pl.DataFrame]:
        """List the strongest texts of the shifted latents, and zero some where that was asked."""
        latents = shifted["latent"].to_list()
        config = self.config
        if not latents:
            return {}
        found = self.kept(
            f"set{number}-strongest",
            lambda: {"strongest": strongest(self.setting(sft, model=True), self.sae, latents)},
        )
        rates = self.rates
        if config.ablate and rates is not None:
            found |= self.kept(
                f"set{number}-ablation",
                lambda: {
                    "ablation": ablation(
                        self.setting(sft, model=True),
                        self.sae,
                        latents[: config.ablate],
                        rates,
                        resamples=config.resamples,
                        seed=config.seed,
                    )
                },
            )
        return found

    def setting(self, sft: str, *, model: bool) -> Setting:
        """Give what predictors of one SFT set are given."""
        inputs, config = self.inputs, self.config
        layer = config.layer if inputs.sae is None else inputs.sae.hook.layer
        return Setting(
            material=inputs.material(sft),
            loaded=self.loaded if model else None,
            prompter=inputs.prompter,
            layer=layer,
            draws=config.draws,
            demonstrations=config.demonstrations,
            seed=config.seed,
            batcher=self.batcher if model else Batcher(quiet=config.quiet),
            items=inputs.items,
            base_accuracy=inputs.base_accuracy,
            history=inputs.changes_elsewhere(sft),
        )

    def _predicted(self, name: str, unit: Predictor, sft: str) -> list[Predicted]:
        def compute() -> Tables:
            setting = self.setting(sft, model=unit.needs != "text")
            return {"predicted": to_frame(unit.function(setting))}

        return from_frame(self.kept(name, compute)["predicted"])

    def kept(self, name: str, compute: Callable[[], Tables]) -> Tables:
        """Do a unit of work or take it from the run; its findings come with it."""
        tables = self.run.unit(name, compute)
        if "findings" in tables:
            self.findings += findings_from(tables["findings"])
        return tables

    def _wanted(self, family: str) -> bool:
        return not self.config.families or family in self.config.families
