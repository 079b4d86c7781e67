"""A sentence on where a setting lies: what its numbers say before anything is drawn."""

from __future__ import annotations

from imprint.theory.setting import Setting


def regime(setting: Setting, prompts: int | None = None) -> str:
    """Name β, r/η, trA/n, χ and ν of a setting, and what each means.

    χ is the weak directions' (Γ₀⁻¹Δ) (arXiv 2603.01293, section 7), ν = |1 − Σ/Γ₀| the operator
    that a chain of thought multiplies by.
    """
    ridged = float(setting.pretraining.ridged(setting.n_pre)[0])
    chi = float(setting.shift.eigenvalues[0]) / ridged
    nu = abs(1 - float(setting.test.eigenvalues[0]) / ridged)
    ratio = setting.interference / setting.target_rate
    parts = [
        *([f"β = B/d = {prompts / setting.d:.3g}"] if prompts else []),
        f"r/η = {ratio:.3g} ({_interference(ratio)})",
        f"trA/n = {setting.data.trace / setting.n_sft:.3g}",
        f"χ = {chi:.3g} and ν = {nu:.3g} on the weak directions ({_known(nu)})",
    ]
    lengths = sorted({setting.n_pre, setting.n_sft, setting.n_test})
    name = ", ".join(f"{n}" for n in lengths)
    return f"n = {name}: {'; '.join(parts)}."


def _interference(ratio: float) -> str:
    if ratio == 0:
        return "no interference"
    if abs(ratio - 1) < 1e-9:
        return "the scale of the test: harmless in the limit"
    return "SFT overshoots what is known" if ratio < 1 else "SFT undershoots what is known"


def _known(nu: float) -> str:
    return "partly learned" if nu < 1 else "new: outcome supervision starts unstable"
