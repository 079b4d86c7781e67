"""Scores of domains by shifted latents, beside the plain way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from imprint.errors import CheckpointError, ConfigError, DataError
from imprint.forecast.material import Material, Text
from imprint.forecast.rendering import render
from imprint.forecast.rollouts import Rollout
from imprint.forecast.setting import Setting
from imprint.forecast.sts import Asked, Sts, dictionaries, sts
from imprint.models import Loaded, load
from imprint.models.batching import Batcher
from imprint.saes import Hook, random_dictionary
from imprint.saes.activations import JumpRelu, TopK
from models_support import tiny, torch
from sts_support import LATENTS, dictionary, latents_of, setting_of, states, texts

SAE = dictionary()
SHIFTS = ("icl", "icl_content", "icl_unaligned", "answer", "sft", "grad", "rollout")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("tiny"), layers=3)


@pytest.fixture(scope="module")
def loaded(folder: Path) -> Loaded:
    return load(folder, device="cpu")


@pytest.fixture(scope="module")
def found(loaded: Loaded) -> Sts:
    return sts(setting_of(loaded), SAE, Asked(latents=10))


def named(found: Sts):
    return {one.name: one for one in found.predicted}


def bare(setting: Setting, text: Text):
    return render(setting.model.tokenizer, setting.prompter, text)


def test_scores_are_those_of_whole_passes_and_dense_latents(loaded: Loaded, found: Sts) -> None:
    """The sum over the latents of a single draw: of first and second moments and of shifts."""
    setting = setting_of(loaded, draws=1)
    one = sts(setting, SAE, Asked(latents=10))
    said, latents = named(one), one.latents
    rows = [bare(setting, text) for text in setting.texts]
    means = np.stack([latents_of(SAE, loaded, row) for row in rows])[:, latents]
    h = [SAE.encode(states(loaded, row)).double().numpy()[:, latents] for row in rows]
    tokens = np.concatenate(h)
    np.testing.assert_allclose(said["sts_act_raw"].values[0], means.sum(1), rtol=1e-4)
    scaled = (means - tokens.mean(0)) / tokens.std(0)
    np.testing.assert_allclose(said["sts_act"].values[0], scaled.mean(1), atol=1e-4)
    squares = np.stack([(x**2).mean(0) for x in h])
    np.testing.assert_allclose(said["sts_act2_raw"].values[0], squares.mean(1), rtol=1e-4)
    relative = (squares / (tokens**2).mean(0)).mean(1)
    np.testing.assert_allclose(said["sts_act2"].values[0], relative, rtol=1e-4)


def test_the_shift_in_context_is_behind_the_domains_own_answers(loaded, monkeypatch) -> None:
    monkeypatch.setattr("imprint.forecast.scores.SHOTS", 1)
    setting = setting_of(loaded, draws=1)
    one = sts(setting, SAE, Asked(latents=10))
    values = named(one)["sts_icl_raw"].values[0]
    for members in setting.groups.values():
        (shown,) = [setting.texts[n] for n in members if np.isnan(values[n])]
        for n in members:
            text = setting.texts[n]
            if text is not shown:
                behind = render(loaded.tokenizer, setting.prompter, text, [shown])
                d = latents_of(SAE, loaded, behind) - latents_of(SAE, loaded, bare(setting, text))
                assert values[n] == pytest.approx((d[one.latents] ** 2).sum(), rel=1e-3)


def test_what_is_given_has_the_form_that_all_predictors_share(found: Sts) -> None:
    names = ["sts_act", "sts_act_raw", "sts_act2", "sts_act2_raw", "sts_icl", "sts_icl_raw"]
    names += ["sts_act_random", "sts_act_density", "sts_act_variance", "sts_signed"]
    assert [one.name for one in found.predicted] == names
    for one in found.predicted:
        assert one.family == "sts"
        assert one.values.shape == (2, 30)
        assert one.signed == (one.name == "sts_signed")
        if not one.name.startswith(("sts_act_r", "sts_act_d", "sts_act_v")) or "raw" in one.name:
            assert one.null is not None
            assert one.null.shape == (2, 30)
            assert not np.allclose(one.null, one.values, equal_nan=True)
    assert found.shifted["latent"].to_list() == found.latents
    assert len(found.latents) == 10
    assert found.rates.shape == (LATENTS,)


def test_the_direction_is_the_gradient_along_the_shift(loaded: Loaded) -> None:
    setting = setting_of(loaded, draws=1)
    one = sts(setting, SAE, Asked(latents=10))
    shift = one.shifted
    way = torch.from_numpy(shift["mean"].to_numpy().copy()).float() @ SAE.w_dec[one.latents]
    text = setting.texts[3]
    row = render(loaded.tokenizer, setting.prompter, text, answer=text.answer)
    from imprint.models.residual import site

    def gain(step: float) -> float:
        def moved(x):
            x = x.clone()
            x[:, row.query.start : row.query.stop] += step * way
            return x

        with torch.no_grad(), site(loaded, layer=1).hooked(moved):
            logprobs = loaded.model(torch.tensor([row.ids])).logits[0].double().log_softmax(-1)
        return float(np.mean([logprobs[p - 1, row.ids[p]] for p in row.answer]))

    expected = (gain(1e-2) - gain(-1e-2)) / 2e-2
    assert named(one)["sts_signed"].values[0, 3] == pytest.approx(expected, rel=2e-2, abs=1e-4)


@pytest.mark.parametrize("shift", SHIFTS)
def test_every_way_to_find_them_gives_scores_and_a_null(loaded: Loaded, folder, shift) -> None:
    setting = setting_of(loaded)
    asked = Asked(
        shift,
        10,
        tuned=load(tiny(folder.parent / f"tuned_{shift}", layers=3, near=folder), device="cpu"),
        rollouts=[
            Rollout(t.prompt, a, r) for t in texts(12) for a, r in (("ab", 0.0), ("ca", 1.0))
        ],
    )
    one = sts(setting, SAE, asked)
    assert len(one.latents) == 10
    assert one.overlap.height >= 1
    assert np.isfinite(named(one)["sts_act"].values).all()
    again = sts(setting_of(loaded), SAE, asked)
    for left, right in zip(one.predicted, again.predicted, strict=True):
        np.testing.assert_array_equal(left.values, right.values)


@pytest.mark.parametrize("function", [JumpRelu(torch.tensor(0.2)), TopK(12)], ids=["jump", "topk"])
def test_columns_alone_give_what_the_whole_dictionary_gives(loaded: Loaded, function) -> None:
    sae = replace(SAE, function=function)
    setting = setting_of(loaded, draws=1)
    one = sts(setting, sae, Asked(latents=5))
    expected = [latents_of(sae, loaded, bare(setting, t))[one.latents].sum() for t in setting.texts]
    np.testing.assert_allclose(named(one)["sts_act_raw"].values[0], expected, rtol=1e-3, atol=1e-5)


def test_scores_do_not_change_when_an_sae_is_scaled(loaded: Loaded, found: Sts) -> None:
    louder = replace(SAE, w_enc=7 * SAE.w_enc, b_enc=7 * SAE.b_enc)
    other = sts(setting_of(loaded), louder, Asked(latents=10))
    assert other.latents == found.latents
    for name in ("sts_act", "sts_act2", "sts_icl"):
        np.testing.assert_allclose(
            named(other)[name].values, named(found)[name].values, rtol=1e-3, atol=1e-4
        )
    raw = named(other)["sts_act_raw"].values / named(found)["sts_act_raw"].values
    np.testing.assert_allclose(raw, 7, rtol=1e-4)


def test_batches_change_nothing(loaded: Loaded, found: Sts) -> None:
    alone = sts(setting_of(loaded, batcher=Batcher(1)), SAE, Asked(latents=10))
    assert alone.latents == found.latents
    for one, other in zip(alone.predicted, found.predicted, strict=True):
        np.testing.assert_allclose(one.values, other.values, rtol=1e-3, atol=1e-4)


def test_without_answers_activations_alone_are_scored(loaded: Loaded) -> None:
    material = Material(texts(12), texts(30, "xyz", answers=False))
    one = sts(Setting(material, loaded, draws=1, demonstrations=1), SAE, Asked(latents=10))
    assert not {"sts_icl", "sts_signed"} & set(named(one))


def test_other_dictionaries_stand_in_the_saes_place(loaded: Loaded) -> None:
    said, _ = dictionaries(setting_of(loaded), Asked(latents=10), sae=SAE)
    names = [f"{d}_{k}" for d in ("raw", "pca", "random") for k in ("act", "icl")]
    assert [one.name for one in said] == names
    for one in said:
        assert one.family == "dictionary"
        assert one.null is not None
        assert np.isfinite(np.nanmean(one.values, axis=1)).all()
    assert len(dictionaries(setting_of(loaded, layer=0), Asked(latents=10))[0]) == len(names)


def test_other_dictionaries_are_asked_as_the_sae_is(loaded: Loaded, folder: Path) -> None:
    tuned = load(tiny(folder.parent / "tuned_others", layers=3, near=folder), device="cpu")
    asked = Asked("sft", 10, tuned=tuned)
    (said, _), (plain, _) = (
        dictionaries(setting_of(loaded), asked, sae=SAE),
        dictionaries(setting_of(loaded)),
    )
    assert [one.name for one in said] == [one.name for one in plain]
    assert not np.allclose(said[0].values, plain[0].values)


def test_a_transcoder_has_no_direction(loaded: Loaded) -> None:
    sae = replace(SAE, transcodes=True)
    assert "sts_signed" not in named(sts(setting_of(loaded), sae, Asked(latents=10)))
    with pytest.raises(ConfigError, match="needs an SAE, not a transcoder"):
        sts(setting_of(loaded), sae, Asked("grad", 10))


def test_texts_without_a_direction_are_counted(loaded: Loaded, found: Sts) -> None:
    setting = setting_of(loaded)
    mute = tuple(replace(t, answer=None) for t in setting.texts[:4])
    material = Material(setting.material.sft, (*mute, *setting.texts[4:]))
    one = sts(replace(setting, material=material), SAE, Asked(latents=10))
    assert "4 of 30 texts have no answer" in named(one)["sts_signed"].note
    assert "texts have no answer" not in named(found)["sts_signed"].note


def test_a_text_beyond_the_context_is_left_out_whole_and_said(loaded: Loaded) -> None:
    setting = setting_of(loaded)
    long = Text("long", "z", "a" * 40, "b", "f:99")
    material = Material(setting.material.sft, (*setting.material.domains, long))
    one = sts(replace(setting, material=material), SAE, Asked(latents=10))
    assert np.isnan(named(one)["sts_act"].values[:, -1]).all()
    assert np.isfinite(named(one)["sts_act"].values[:, :-1]).all()
    (said,) = [f for f in one.findings if f.check == "beyond_span"]
    assert said.detail.endswith("the first at f:99")


def test_a_domain_without_a_token_that_counts_is_refused(loaded: Loaded) -> None:
    setting = setting_of(loaded)
    empty = tuple(Text(str(n), "void", "a" * 40, "b", f"f:{n}") for n in range(3))
    material = Material(setting.material.sft, (*setting.material.domains, *empty))
    with pytest.raises(DataError, match="no text of the domain 'void' has a token that counts"):
        sts(replace(setting, material=material), SAE)


def test_an_sae_of_another_width_or_layer_is_refused(loaded: Loaded) -> None:
    setting = setting_of(loaded)
    wide = replace(random_dictionary(20, 50, 0), hook=Hook(1), source="wide")
    with pytest.raises(
        CheckpointError, match="wide: reads activations of width 20, and the model's"
    ):
        sts(setting, wide)
    with pytest.raises(ConfigError, match="--layer 7, but the model has 3 layers"):
        sts(setting, replace(SAE, hook=Hook(7)))
    with pytest.raises(ConfigError, match="which layer"):
        sts(setting, replace(SAE, hook=Hook(None)))
    with pytest.raises(ConfigError, match="did you mean 'icl'"):
        sts(setting, SAE, Asked("icll"))
    with pytest.raises(ConfigError, match="needs the tuned model"):
        sts(setting, SAE, Asked("sft"))


def test_too_few_examples_are_refused(loaded: Loaded) -> None:
    material = Material(texts(1), texts(30, "xyz"))
    with pytest.raises(DataError, match="1 SFT examples are left to contrast"):
        sts(Setting(material, loaded, demonstrations=1), SAE)
