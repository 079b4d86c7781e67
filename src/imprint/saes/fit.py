"""How well an SAE fits activations: measured as they stream by, judged before anything rests on it.

FVU is the fraction of variance unexplained, Σ‖x − x̂‖² / Σ‖x − mean x‖²: 0 is perfect, 1 no better
than the mean. L0 is the mean number of latents that fire per token.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from imprint.errors import CheckpointError, DataError
from imprint.findings import Finding
from imprint.saes.sae import BLOCK, Sae

Floats = npt.NDArray[np.float64]
GROUPS = 64  # blocks of tokens are dealt to so many groups, which the bootstrap draws
RESAMPLES = 1000
CALIBRATION = 4096  # tokens that an unknown scale of the input is found on
FEW = 1000  # tokens below which a fit says little
FAR = 3.0  # L0 is far from its promise beyond this factor
SLACK = 0.2  # FVU is far from its promise by more than this


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """How well an SAE fits.

    Attributes:
        fvu: fraction of variance unexplained.
        fvu_low, fvu_high: its 95 % interval over blocks of tokens (texts, where each was added by
            itself); ``None`` for fewer than eight.
        l0: mean number of latents that fire per token.
        l0_low, l0_high: its interval.
        dead: share of latents that never fired.
        tokens: how many tokens were seen.
        rates: share of tokens on which each latent fired, [L].
        sae: the SAE to go on with: what its file does not tell is decided by the better fit.
        findings: what was decided.
    """

    fvu: float
    fvu_low: float | None
    fvu_high: float | None
    l0: float
    l0_low: float | None
    l0_high: float | None
    dead: float
    tokens: int
    rates: Floats
    sae: Sae
    findings: tuple[Finding, ...] = ()

    def numbers(self) -> dict[str, Any]:
        """Give what a ``result.json`` holds of it."""
        names = ("fvu", "fvu_low", "fvu_high", "l0", "l0_low", "l0_high", "dead", "tokens")
        return {name: getattr(self, name) for name in names}


class FitMeter:
    """Measures a fit from activations as they come; nothing grows with their number.

    Args:
        sae: the SAE, on the device of the activations.
    """

    def __init__(self, sae: Sae):
        self.sae = sae
        self._held: list[Any] = []
        self._sums = {} if sae.undecided else {"": _Sums(sae)}
        self._blocks = 0

    def add(self, x: Any) -> None:
        """Count activations [N, d]; best those of one text at a time, for the intervals.

        Raises:
            CheckpointError: they have another width than the SAE.
            DataError: they are not finite.
        """
        import torch

        if x.ndim != 2 or x.shape[1] != self.sae.width:
            raise CheckpointError(
                f"reads activations of width {self.sae.width}, and the model's are {x.shape[-1]} "
                "wide",
                where=self.sae.source,
                remedy="was it made for another model, or another place in this one?",
            )
        if not bool(torch.isfinite(x).all()):
            raise DataError(
                "the model's activations hold NaN or infinite values",
                remedy="are its weights whole? fp16 may overflow: try --dtype fp32.",
            )
        if self._sums:
            self._count(x)
        else:
            self._held.append(x)
            if sum(map(len, self._held)) >= CALIBRATION:
                self._begin()

    def fit(self) -> Fit:
        """Give the fit of all that was added.

        Raises:
            DataError: nothing was added.
        """
        if self._held:
            self._begin()
        if not self._blocks:
            raise DataError("no token is left to judge the fit of the SAE on")
        return _best({word: sums.fit() for word, sums in self._sums.items()})

    def _begin(self) -> None:
        """Measure every reading of what the file does not tell."""
        norms = sum(float(x.float().norm(dim=-1).sum()) for x in self._held)
        tokens = sum(map(len, self._held))
        readings = self.sae.candidates(norms / max(1, tokens))
        self._sums = {word: _Sums(sae) for word, sae in readings.items()}
        held, self._held = self._held, []
        for x in held:
            self._count(x)

    def _count(self, x: Any) -> None:
        if len(x):
            for sums in self._sums.values():
                sums.add(x, self._blocks % GROUPS)
            self._blocks += 1


@dataclass(slots=True, eq=False)
class _Sums:
    """Sums over the tokens of each group."""

    sae: Sae
    tokens: Floats = field(default_factory=lambda: np.zeros(GROUPS))
    active: Floats = field(default_factory=lambda: np.zeros(GROUPS))
    squares: Floats = field(default_factory=lambda: np.zeros(GROUPS))
    residual: Floats = field(default_factory=lambda: np.zeros(GROUPS))
    first: Floats = field(init=False)
    fired: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.first = np.zeros((GROUPS, self.sae.width))
        self.fired = np.zeros(self.sae.latents)

    def add(self, x: Any, group: int) -> None:
        rows = max(1, BLOCK // self.sae.latents)
        for start in range(0, len(x), rows):
            part = x[start : start + rows].float()
            latents = self.sae.encode(part)
            off = (part - self.sae.decode(latents, like=part)).double()
            firing = (latents != 0).sum(0).cpu().numpy()
            self.fired += firing
            self.active[group] += firing.sum()
            self.residual[group] += float(off.square().sum())
            self.squares[group] += float(part.double().square().sum())
            self.first[group] += part.double().sum(0).cpu().numpy()
            self.tokens[group] += len(part)

    def fit(self) -> Fit:
        used = self.tokens > 0
        once = np.ones((1, int(used.sum())))
        fvu, l0 = self._fvu(once, used), self._l0(once, used)
        ends: tuple[float | None, ...] = (None,) * 4
        if used.sum() >= 8:
            drawn = np.random.default_rng(0).multinomial(
                int(used.sum()), np.full(int(used.sum()), 1 / used.sum()), size=RESAMPLES
            )
            many = self._fvu(drawn, used), self._l0(drawn, used)
            ends = tuple(float(np.quantile(v, q)) for v in many for q in (0.025, 0.975))
        total = self.tokens.sum()
        return Fit(
            fvu=float(fvu[0]),
            fvu_low=ends[0],
            fvu_high=ends[1],
            l0=float(l0[0]),
            l0_low=ends[2],
            l0_high=ends[3],
            dead=float((self.fired == 0).mean()),
            tokens=int(total),
            rates=self.fired / total,
            sae=self.sae,
        )

    def _fvu(self, weights: Any, used: Any) -> Floats:
        """Give the FVU of every draw of groups, weights [draws, groups]."""
        tokens = weights @ self.tokens[used]
        first = weights @ self.first[used]
        total = weights @ self.squares[used] - (first**2).sum(-1) / tokens
        residual = weights @ self.residual[used]
        with np.errstate(divide="ignore", invalid="ignore"):
            found: Floats = np.where(total > 0, residual / total, np.inf)
        return found

    def _l0(self, weights: Any, used: Any) -> Floats:
        found: Floats = weights @ self.active[used] / (weights @ self.tokens[used])
        return found


def _best(fits: dict[str, Fit]) -> Fit:
    word = min(fits, key=lambda one: fits[one].fvu)
    if len(fits) == 1:
        return fits[word]
    others = ", ".join(f"{fit.fvu:.3g} {one}" for one, fit in fits.items() if one != word)
    detail = f"The SAE is read {word}: FVU {fits[word].fvu:.3g}, against {others}."
    return replace(fits[word], findings=(Finding("input_norm", detail, level="info"),))


def judge(fit: Fit, sae: Sae) -> list[Finding]:
    """Say what is to be noticed about a fit; what makes it bad has the level ``error``."""
    found = list(fit.findings)
    if fit.tokens < FEW:
        found.append(Finding("fit_tokens", f"The fit rests on {fit.tokens:,} tokens alone."))
    if sae.transcodes:
        found.append(
            Finding(
                "transcoder",
                "It predicts another module's output; its FVU against what it reads says little.",
            )
        )
    else:
        found += _judge_fvu(fit, sae)
    promised = sae.promise.l0
    if promised and not promised / FAR <= fit.l0 <= promised * FAR:
        found.append(
            Finding("fit_l0", f"L0 is {fit.l0:.1f}, promised are {promised:g}.", level="error")
        )
    return found


def _judge_fvu(fit: Fit, sae: Sae) -> list[Finding]:
    promised = sae.promise.fvu
    if not fit.fvu <= 1:
        detail = f"FVU is {fit.fvu:.3g}: the SAE explains less than the mean activation does."
        return [Finding("fit_fvu", detail, level="error")]
    if promised is not None and fit.fvu > promised + SLACK:
        detail = f"FVU is {fit.fvu:.3g}, promised are {promised:.3g}."
        return [Finding("fit_fvu", detail, level="error")]
    if fit.fvu > 0.5:
        return [Finding("fit_fvu", f"FVU is {fit.fvu:.3g}: most variance is not explained.")]
    return []


def gate(fit: Fit, sae: Sae, accept_bad_fit: bool = False) -> list[Finding]:
    """Refuse an SAE that does not fit, with the usual causes.

    Args:
        fit: the fit on the user's texts.
        sae: the SAE.
        accept_bad_fit: go on all the same; its findings become warnings.

    Returns:
        What is to be noticed.

    Raises:
        CheckpointError: the fit is bad.
    """
    found = judge(fit, sae)
    bad = [finding.detail for finding in found if finding.level == "error"]
    if not bad:
        return found
    if accept_bad_fit:
        return [Finding(f.check, f.detail) if f.level == "error" else f for f in found]
    raise CheckpointError(
        f"does not fit these activations. {' '.join(bad)}",
        where=sae.source or sae.format,
        remedy=f"Usual causes: {'; '.join(_causes(sae))}. --accept-bad-fit goes on all the same.",
    )


def _causes(sae: Sae) -> list[str]:
    model = f" (it was made for {sae.promise.model})" if sae.promise.model else ""
    bos = {True: " (it was trained with BOS)", False: " (it was trained without BOS)", None: ""}
    return [
        f"another model{model}",
        f"wrong layer or hook point (it reads {sae.hook})",
        f"missing BOS, or one too many{bos[sae.prepends_bos]}",
        "a scale of the input that is not folded into the weights",
    ]
