from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from imprint.errors import CheckpointError, DataError
from imprint.findings import Finding
from imprint.saes import FitMeter, Promise, Sae, gate, judge, open_sae, pca, raw
from imprint.saes.activations import JumpRelu, Relu
from saes_support import WIDTH, parts, sae_lens, torch


def fit_of(sae: Sae, *blocks: Any) -> Any:
    meter = FitMeter(sae)
    for block in blocks:
        meter.add(block)
    return meter.fit()


def test_numbers_are_those_of_the_definition(tmp_path: Path) -> None:
    sae = open_sae(sae_lens(tmp_path))
    x = torch.cat([parts(seed)["x"] for seed in range(12)])
    fit = fit_of(sae, *x.split(9))
    h = sae.encode(x)
    off = (x - sae.decode(h)).square().sum() / (x - x.mean(0)).square().sum()
    assert fit.fvu == pytest.approx(float(off), rel=1e-5)
    assert fit.l0 == pytest.approx(float((h != 0).float().sum(-1).mean()))
    assert fit.dead == pytest.approx(float(((h != 0).sum(0) == 0).float().mean()))
    assert fit.rates == pytest.approx((h != 0).float().mean(0).numpy())
    assert fit.tokens == 108
    assert fit.fvu_low < fit.fvu < fit.fvu_high
    assert fit.l0_low < fit.l0 < fit.l0_high


def test_it_does_not_matter_how_tokens_come(tmp_path: Path) -> None:
    sae, x = open_sae(sae_lens(tmp_path)), parts()["x"]
    one, many = fit_of(sae, x), fit_of(sae, *x.split(2))
    assert one.fvu == pytest.approx(many.fvu)
    assert one.fvu_low is None


def test_known_answers() -> None:
    x = torch.randn(200, WIDTH, generator=torch.Generator().manual_seed(0))
    assert fit_of(raw(WIDTH), x).fvu == pytest.approx(0, abs=1e-9)
    assert fit_of(pca(x, WIDTH), x).fvu == pytest.approx(0, abs=1e-9)
    nothing = replace(raw(WIDTH), w_dec=torch.zeros(WIDTH, WIDTH), b_dec=x.mean(0))
    assert fit_of(nothing, x).fvu == pytest.approx(1, rel=1e-5)


def test_nothing_or_nonsense(tmp_path: Path) -> None:
    sae = open_sae(sae_lens(tmp_path))
    with pytest.raises(DataError, match="no token is left"):
        FitMeter(sae).fit()
    with pytest.raises(CheckpointError, match="width 6, and the model's are 7 wide"):
        FitMeter(sae).add(torch.ones(3, 7))
    with pytest.raises(DataError, match="NaN"):
        FitMeter(sae).add(torch.full((3, WIDTH), float("nan")))


@pytest.mark.parametrize("word", ["without", "with its"])
def test_an_unknown_scale_is_decided_by_the_texts(word: str) -> None:
    """One that drops values below 3 wants x as it is, one that clips below -2 small values."""
    x = 7 * torch.randn(300, WIDTH, generator=torch.Generator().manual_seed(0))
    two = torch.full((WIDTH,), 2.0)
    stored = replace(raw(WIDTH), function=Relu(), b_enc=two, b_dec=-two)
    if word == "without":
        stored = replace(raw(WIDTH), function=JumpRelu(two + 1))
    scale = WIDTH**0.5 / float(x.norm(dim=-1).mean())
    fit = fit_of(replace(stored, norm="average"), *x.split(30))
    expected = stored.scaled(1.0 if word == "without" else scale)
    assert fit.fvu == pytest.approx(fit_of(expected, x).fvu, rel=1e-4)
    assert f"read {word} " in fit.findings[0].detail
    assert fit.sae.norm == "none"


@pytest.mark.parametrize("centred", [True, False])
def test_an_unsaid_centring_is_decided_by_the_texts(centred: bool) -> None:
    """One is exact below 3, as centred activations are; the other above 2, as these are."""
    x = torch.randn(300, WIDTH, generator=torch.Generator().manual_seed(0)) + 5
    one, eye = torch.ones(WIDTH), torch.eye(WIDTH)
    below = Sae(-eye, 3 * one, -eye, 3 * one, Relu(), norm="maybe_centre")
    above = Sae(eye, -2 * one, eye, 2 * one, Relu(), norm="maybe_centre")
    fit = fit_of(below if centred else above, *x.split(30))
    assert fit.fvu < 0.05
    assert fit.sae.norm == ("centre" if centred else "none")
    assert ("less the mean" in fit.findings[0].detail.split(":")[0]) is centred


def checks(found: list[Finding], level: str) -> set[str]:
    return {finding.check for finding in found if finding.level == level}


def test_judgement(tmp_path: Path) -> None:
    x = torch.randn(2000, WIDTH, generator=torch.Generator().manual_seed(0))
    good = fit_of(raw(WIDTH), x)
    assert judge(good, raw(WIDTH)) == []
    assert checks(judge(replace(good, tokens=10), raw(WIDTH)), "warn") == {"fit_tokens"}
    assert checks(judge(replace(good, fvu=1.2), raw(WIDTH)), "error") == {"fit_fvu"}
    assert checks(judge(replace(good, fvu=float("nan")), raw(WIDTH)), "error") == {"fit_fvu"}
    assert checks(judge(replace(good, fvu=0.7), raw(WIDTH)), "warn") == {"fit_fvu"}
    promising = replace(raw(WIDTH), promise=Promise(l0=1.5, fvu=0.1))
    assert checks(judge(good, promising), "error") == {"fit_l0"}
    assert checks(judge(replace(good, fvu=0.4, l0=2.0), promising), "error") == {"fit_fvu"}
    transcoder = replace(raw(WIDTH), transcodes=True)
    assert checks(judge(replace(good, fvu=3.0), transcoder), "warn") == {"transcoder"}


def test_the_gate_names_usual_causes(tmp_path: Path) -> None:
    sae = replace(
        open_sae(sae_lens(tmp_path)), promise=Promise(model="google/gemma-2-2b"), prepends_bos=True
    )
    bad = replace(fit_of(sae, parts()["x"]), fvu=2.5)
    with pytest.raises(CheckpointError, match=r"FVU is 2\.5") as refused:
        gate(bad, sae)
    for cause in ("google/gemma-2-2b", "layer 1", "with BOS", "scale", "--accept-bad-fit"):
        assert cause in str(refused.value)
    accepted = gate(bad, sae, accept_bad_fit=True)
    assert "fit_fvu" in checks(accepted, "warn")
    assert not checks(accepted, "error")
