"""Predictors that read a model, beside plain references on a tiny one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imprint.errors import CheckpointError, ConfigError
from imprint.forecast.material import Material, Text
from imprint.forecast.predictors import PREDICTORS
from imprint.forecast.predictors.gradient import STEP, gradient
from imprint.forecast.predictors.likelihood import icl_gain, likelihood
from imprint.forecast.predictors.pooled import _without_sinks, pooled
from imprint.forecast.predictors.similarity import cosines, overlap, similarity
from imprint.forecast.predictors.step import in_float32, loss_gradient, moved
from imprint.forecast.setting import Setting
from imprint.models import Loaded, load
from imprint.models.batching import Batcher
from imprint.models.requests import Request
from models_support import tiny, torch

SFT = tuple(
    Text(f"s{n}", "", prompt, answer)
    for n, (prompt, answer) in enumerate([("a b", "c"), ("de", "f g"), ("hi", "jk"), ("l", "m")])
)
TEXTS = (
    Text("a", "x", "abc", "de"),
    Text("b", "x", "f gh ij", "k"),
    Text("c", "x", "no answer"),
    Text("d", "y", "zyx", "wv u"),
    Text("e", "y", "q", "r"),
    Text("f", "y", "longer than the model can ever read", "s"),
)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return load(tiny(tmp_path_factory.mktemp("tiny"), layers=3), device="cpu")


@pytest.fixture
def setting(loaded: Loaded) -> Setting:
    return Setting(Material(SFT, TEXTS), loaded, draws=3, demonstrations=1)


def named(found):
    return {one.name: one for one in found}


def plain(loaded: Loaded, before: str, answer: str) -> float:
    """Mean log-probability per token of an answer, one text at a time."""
    ids = loaded.tokenizer(before)["input_ids"] or [0]
    targets = loaded.tokenizer(answer, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logits = loaded.model(torch.tensor([ids + targets])).logits[0].double()
    places = range(len(ids) - 1, len(ids) + len(targets) - 1)
    logprobs = logits.log_softmax(-1)
    return float(np.mean([logprobs[p, t] for p, t in zip(places, targets, strict=True)]))


def test_surprise_and_difficulty_are_plain_likelihoods(setting: Setting) -> None:
    found = named(likelihood(setting))
    asked = [0, 1, 3, 4]
    expected = [plain(setting.model, TEXTS[n].prompt, f" {TEXTS[n].answer}") for n in asked]
    alone = [plain(setting.model, "", f" {TEXTS[n].answer}") for n in asked]
    np.testing.assert_allclose(-found["nll_answer"].values[0, asked], expected, rtol=1e-5)
    ratios = np.exp(np.array(alone) - np.array(expected))
    np.testing.assert_allclose(found["ifd"].values[0, asked], ratios, rtol=1e-5)
    prompts = [plain(setting.model, "", TEXTS[n].prompt) for n in asked]
    np.testing.assert_allclose(-found["nll_prompt"].values[0, asked], prompts, rtol=1e-5)


def test_texts_without_an_answer_or_too_long_are_not_judged_and_said(setting: Setting) -> None:
    for one in (*likelihood(setting)[::2], *icl_gain(setting), *gradient(setting)):
        assert np.isnan(one.values[:, [2, 5]]).all()
        assert np.isfinite(one.values[:, [0, 1, 3, 4]]).all()
        assert "2 of 6 texts" in one.note


def test_gain_in_context_is_with_less_without(setting: Setting) -> None:
    (found,) = icl_gain(setting)
    assert found.signed
    for draw in range(3):
        (shown,) = setting.drawn(draw)
        for n in (0, 3, 4):
            text = TEXTS[n]
            with_it = f"{shown.prompt} {shown.answer}\n\n{text.prompt}"
            gain = plain(setting.model, with_it, f" {text.answer}") - plain(
                setting.model, text.prompt, f" {text.answer}"
            )
            assert found.values[draw, n] == pytest.approx(gain, abs=1e-5)


def test_its_null_shows_answers_of_other_examples(setting: Setting) -> None:
    (found,) = icl_gain(setting)
    assert found.null is not None
    assert found.null.shape == found.values.shape
    (shown,) = setting.drawn(0)
    text = TEXTS[4]
    others = [
        plain(setting.model, f"{shown.prompt} {one.answer}\n\n{text.prompt}", f" {text.answer}")
        - plain(setting.model, text.prompt, f" {text.answer}")
        for one in SFT
        if one is not shown
    ]
    assert min(abs(found.null[0, 4] - other) for other in others) < 1e-5


def test_demonstrations_are_left_out_until_the_query_fits(loaded: Loaded) -> None:
    """Of two demonstrations that do not both fit, the second alone is shown."""
    sft = (Text("1", "", "a" * 12, "b"), Text("2", "", "c" * 12, "d"))
    text = Text("q", "x", "efg", "h")
    setting = Setting(Material(sft, (text,)), loaded, draws=1, demonstrations=2)
    (found,) = icl_gain(setting)
    last = setting.drawn(0)[1]
    gain = plain(loaded, f"{last.prompt} {last.answer}\n\nefg", " h") - plain(loaded, "efg", " h")
    assert found.values[0, 0] == pytest.approx(gain, abs=1e-5)


def test_pooled_states_are_means_over_own_tokens(setting: Setting) -> None:
    loaded = setting.model
    found = pooled(setting, TEXTS[:5])
    for n, text in enumerate(TEXTS[:5]):
        whole = text.prompt + (f" {text.answer}" if text.answer else "")
        ids = [0, *loaded.tokenizer(whole, add_special_tokens=False)["input_ids"]]
        with torch.no_grad():
            states = loaded.model(torch.tensor([ids]), output_hidden_states=True).hidden_states
        own = [state[0, 1:].double().numpy() for state in states]
        late = np.average(own[-1], axis=0, weights=np.arange(1, len(ids)))
        np.testing.assert_allclose(found.layer[n], own[2].mean(0), atol=1e-5)
        np.testing.assert_allclose(found.last[n], own[-1].mean(0), atol=1e-5)
        np.testing.assert_allclose(found.late[n], late, atol=1e-5)


@pytest.mark.parametrize("one", [p for p in PREDICTORS if p.needs != "text"], ids=lambda p: p.name)
def test_batches_do_not_change_what_is_said(loaded: Loaded, one) -> None:
    together = Setting(Material(SFT, TEXTS), loaded, draws=2, demonstrations=1)
    alone = Setting(Material(SFT, TEXTS), loaded, draws=2, demonstrations=1, batcher=Batcher(1))
    alone.engine.scorer.batcher = Batcher(1)
    alone.engine.scorer.share = False
    for left, right in zip(one.function(together), one.function(alone), strict=True):
        # the step is small: what a batch changes in float32 is seen beside it
        room = 2e-6 if one.name == "gradient" else 1e-5
        np.testing.assert_allclose(left.values, right.values, rtol=1e-4, atol=room)
        if left.null is not None:
            np.testing.assert_allclose(left.null, right.null, rtol=1e-4, atol=room)


def test_overlap_is_minus_mmd_and_zero_for_the_same_cloud() -> None:
    chances = np.random.default_rng(0)
    near, far = chances.normal(size=(60, 4)), chances.normal(size=(60, 4)) + 2
    assert abs(overlap(near, chances.normal(size=(60, 4))).mean()) < 0.02
    assert overlap(near, far).mean() < -0.2
    x, y = near[:3], far[:4]
    both = np.concatenate([x, y])
    squares = ((both[:, None] - both[None]) ** 2).sum(-1)
    kernel = np.exp(-squares / np.median(squares[np.triu_indices(7, 1)]))
    among = kernel[:3, :3][~np.eye(3, dtype=bool)].mean()
    base = kernel[3:, 3:][~np.eye(4, dtype=bool)].mean()
    mmd = among + base - 2 * kernel[:3, 3:].mean()
    assert overlap(x, y).mean() == pytest.approx(-mmd)
    assert np.isnan(overlap(x[:1], y)).all()


def test_nearest_and_mean_example_are_of_cosines(setting: Setting) -> None:
    found = named(similarity(setting))
    texts, examples = pooled(setting, TEXTS), pooled(setting, SFT)
    all_ = cosines(texts.late, examples.late)
    np.testing.assert_allclose(found["rds_max"].values[0], all_.max(1))
    np.testing.assert_allclose(found["rds_mean"].values[0], all_.mean(1))
    assert found["rds_max"].null is not None
    assert (np.abs(all_) <= 1 + 1e-12).all()


def test_a_layer_beyond_the_model_is_refused(loaded: Loaded) -> None:
    with pytest.raises(ConfigError, match="--layer 3, but the model has 3 layers"):
        similarity(Setting(Material(SFT, TEXTS), loaded, layer=3))


def test_a_step_equals_the_product_of_gradients(setting: Setting) -> None:
    """ε ⟨∇L_S, ∇L_D⟩ / ‖∇L_S‖ by autograd, and the same with the sign of ∇L_S."""
    found = named(gradient(setting))
    model = setting.model.model
    weights = list(model.parameters())

    def slope(texts):
        ids = [setting.engine.encoder.request(t.prompt, f" {t.answer}") for t in texts]
        return loss_gradient(setting.model, weights, ids, Batcher())

    size = STEP * float(torch.cat([w.detach().flatten() for w in weights]).norm())
    along = torch.cat([g.flatten() for g in slope(SFT)])
    for n in (0, 1, 3, 4):
        own = torch.cat([g.flatten() for g in slope([TEXTS[n]])])
        expected = size * float(along / along.norm() @ own)
        assert found["gradient"].values[0, n] == pytest.approx(expected, rel=2e-3, abs=2e-6)
        signs = along.sign()
        expected = size * float(signs / signs.norm() @ own)
        assert found["gradient_sign"].values[0, n] == pytest.approx(expected, rel=2e-3, abs=2e-6)


def test_a_gradient_is_that_of_autograd(loaded: Loaded) -> None:
    requests = [Request((0, 5, 6), (6, 7)), Request((0, 9, 9, 8, 4), (4,)), Request((0,), (3,))]
    weights = list(loaded.model.parameters())
    total = torch.zeros(())
    for one in requests:
        logits = loaded.model(torch.tensor([one.ids])).logits[0, -len(one.targets) :]
        total = total + torch.nn.functional.cross_entropy(
            logits, torch.tensor(one.targets), reduction="sum"
        )
    expected = torch.autograd.grad(total / 4, weights)
    for found, right in zip(
        loss_gradient(loaded, weights, requests, Batcher()), expected, strict=True
    ):
        torch.testing.assert_close(found, right, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_weights_come_back_bit_for_bit(tmp_path: Path, dtype) -> None:
    loaded = load(tiny(tmp_path, tied=True), dtype=dtype, device="cpu")
    kept = [w.data for w in loaded.model.parameters()]
    before = [w.clone() for w in kept]
    found = gradient(Setting(Material(SFT, TEXTS), loaded, draws=1))
    assert np.isfinite(found[0].values[0, 0])
    for w, data, old in zip(loaded.model.parameters(), kept, before, strict=True):
        assert w.data_ptr() == data.data_ptr()
        assert w.dtype == old.dtype
        assert torch.equal(w, old)
    assert loaded.model.lm_head.weight is loaded.model.model.embed_tokens.weight


def test_weights_come_back_after_a_failure(loaded: Loaded) -> None:
    weights = list(loaded.model.parameters())
    before = [w.clone() for w in weights]

    def fail() -> None:
        with in_float32(loaded) as weights, moved(weights, weights, 0.5):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert all(
        torch.equal(w, old) for w, old in zip(loaded.model.parameters(), before, strict=True)
    )


def test_training_on_a_text_is_foreseen_to_raise_its_answer(loaded: Loaded) -> None:
    text = Text("a", "x", "abc", "de")
    found = gradient(Setting(Material((text,), (text,)), loaded))
    assert all(one.values[0, 0] > 0 for one in found)


def test_answers_shuffled_teach_less_than_right_ones(loaded: Loaded) -> None:
    """On the SFT examples themselves the null must be the smaller of the two."""
    (found, _) = gradient(Setting(Material(SFT, SFT), loaded, draws=2))
    assert found.null is not None
    assert found.values.mean() > found.null.mean()


def test_without_any_answer_nothing_is_said_of_gradients(loaded: Loaded) -> None:
    texts = (Text("a", "x", "abc"), Text("b", "x", "de"))
    assert gradient(Setting(Material(SFT, texts), loaded)) == []
    assert gradient(Setting(Material((), TEXTS), loaded)) == []
    assert similarity(Setting(Material((), TEXTS), loaded)) == []
    assert icl_gain(Setting(Material((), TEXTS), loaded)) == []


def test_a_model_is_asked_for() -> None:
    with pytest.raises(ConfigError, match="needs a model"):
        likelihood(Setting(Material(SFT, TEXTS)))


def test_every_predictor_gives_a_value_per_text_and_its_family(setting: Setting) -> None:
    names = set()
    for one in PREDICTORS:
        for said in one.function(setting):
            assert said.family == one.family
            assert said.values.shape[1] == len(TEXTS)
            assert said.null is None or said.null.shape[1] == len(TEXTS)
            assert said.name not in names
            names.add(said.name)
    assert "digit_share" in names


def test_tokens_of_outlying_norm_are_left_out() -> None:
    states = torch.ones(9, 4)
    states[5] *= 300
    assert len(_without_sinks(states)) == 8
    assert len(_without_sinks(states[:1])) == 1


@pytest.mark.parametrize("work", [likelihood, similarity, gradient])
def test_nan_in_weights_is_refused(tmp_path: Path, work) -> None:
    loaded = load(tiny(tmp_path), device="cpu")
    with torch.no_grad():
        loaded.model.model.layers[0].mlp.up_proj.weight[0, 0] = torch.nan
    with pytest.raises(CheckpointError, match="gives NaN"):
        work(Setting(Material(SFT, TEXTS), loaded))
