"""Shifted latents in every way, beside the plain way: one text at a time, dense, whole passes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from imprint.errors import DataError
from imprint.forecast import answers, icl, shift
from imprint.forecast.chosen import choose
from imprint.forecast.content import icl_content
from imprint.forecast.contexts import ALL
from imprint.forecast.demonstrations import Demonstrations
from imprint.forecast.features import Reader
from imprint.forecast.gradients import answer_gradients
from imprint.forecast.halves import _half
from imprint.forecast.material import Material, Text
from imprint.forecast.rendering import Rendered, render, scrambled
from imprint.forecast.rollouts import Rollout, contrasted, read_rollouts
from imprint.forecast.setting import Setting
from imprint.forecast.spans import Counts
from imprint.forecast.statistics import overlap, paired_rows, unaligned_rows
from imprint.forecast.unaligned import icl_unaligned
from imprint.models import Loaded, load
from imprint.models.batching import Batcher
from imprint.models.residual import site
from models_support import tiny, torch
from sts_support import LATENTS, dictionary, latents_of, setting_of, states

SAE = dictionary()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("tiny"), layers=3)


@pytest.fixture(scope="module")
def loaded(folder: Path) -> Loaded:
    return load(folder, device="cpu")


@pytest.fixture
def setting(loaded: Loaded) -> Setting:
    return setting_of(loaded)


def reader(loaded: Loaded) -> Reader:
    return Reader(loaded, site(loaded, layer=1), Batcher())


def rendered(setting: Setting, text: Text, *before: Text, answer: str | None = None):
    tokenizer = setting.model.tokenizer
    return render(tokenizer, setting.prompter, text, before, answer)


def assert_paired(found, expected) -> None:
    assert found.n == expected.n
    np.testing.assert_allclose(found.mean, expected.mean, atol=1e-5)
    np.testing.assert_allclose(found.mean_square, expected.mean_square, atol=1e-5, rtol=1e-3)
    # of a latent that hardly moves t is rounding
    moves = expected.mean_square > 1e-6
    np.testing.assert_allclose(found.t[moves], expected.t[moves], rtol=2e-2, atol=1e-3)


def test_icl_is_the_change_of_the_query_by_demonstrations(setting: Setting) -> None:
    (meter,) = icl.icl(setting, reader(setting.model), [SAE], bos=True)
    means = []
    for draw in range(2):
        (shot,) = setting.drawn(draw)
        rows = []
        for text in setting.material.sft:
            d = np.full(LATENTS, np.nan)
            if text is not shot:  # a demonstration is never asked
                behind, alone = (rendered(setting, text, *s) for s in ([shot], []))
                d = latents_of(SAE, setting.model, behind) - latents_of(SAE, setting.model, alone)
            rows.append(d)
        d = np.stack(rows)
        means.append(d)
        assert_paired(meter.paired(("shift", draw)), paired_rows(d[np.isfinite(d[:, 0])]))
    both = np.nanmean(means, axis=0)
    assert_paired(meter.paired(("shift", ALL)), paired_rows(both))


def test_a_null_shows_as_many_tokens_and_another_deals_answers_anew(setting: Setting) -> None:
    (meter,) = icl.icl(setting, reader(setting.model), [SAE], bos=True)
    assert meter.nulls == ["scrambled", "shuffled"]
    assert meter.draws("scrambled") == meter.draws("shuffled") == [0, 1]
    for kind in meter.nulls:
        found = meter.paired((kind, 0))
        assert found.n == 11
        assert not np.allclose(found.mean, meter.paired(("shift", 0)).mean)


def test_words_of_an_unrelated_corpus_may_stand_in(setting: Setting) -> None:
    words = [Text("u", "", "zzz zzz zzz zzz")]
    (meter,) = icl.icl(setting, reader(setting.model), [SAE], bos=True, unrelated=words)
    (shot,) = setting.drawn(0)
    text = next(t for t in setting.material.sft if t is not shot)
    row = rendered(setting, text, shot)
    z, blank = (setting.model.tokenizer.convert_tokens_to_ids(w) for w in ("z", " "))
    head = row.ids[: row.query.start]
    filled = iter([z, z, z, blank] * 9)
    # the start of text, and what this tokenizer makes of a line's end, are special and stay
    expected = [one if one in (0, 2) else next(filled) for one in head]
    contexts = icl._contexts(setting, [text], [row], True, words, Counts())
    (found,) = contexts["unrelated", 0]
    assert found is not None
    assert list(found.ids) == [*expected, *row.ids[row.query.start :]]
    assert meter.nulls[0] == "unrelated"
    assert meter.paired(("unrelated", 0)).n == 11


def test_content_is_demonstrations_less_the_same_tokens_shuffled(setting: Setting) -> None:
    (meter,) = icl_content(setting, reader(setting.model), [SAE], bos=True)
    (shot,) = setting.drawn(0)
    special = setting.model.tokenizer.all_special_ids
    d, null = [], []
    for text in setting.material.sft:
        if text is shot:
            continue
        row = rendered(setting, text, shot)
        others = (scrambled(row, special, setting.chances(6, 0, n)) for n in (1, 2, 3))
        one, two, three, four = (latents_of(SAE, setting.model, r) for r in (row, *others))
        d.append(one - two)
        null.append(three - four)
    assert_paired(meter.paired(("shift", 0)), paired_rows(np.stack(d)))
    assert_paired(meter.paired(("again", 0)), paired_rows(np.stack(null)))
    assert meter.nulls == ["again"]


def test_several_dictionaries_are_read_in_the_same_passes(setting: Setting) -> None:
    wider = replace(dictionary(), w_enc=2 * SAE.w_enc)
    both = icl.icl(setting, reader(setting.model), [SAE, wider], bos=True)
    for sae, found in zip((SAE, wider), both, strict=True):
        (alone,) = icl.icl(setting, reader(setting.model), [sae], bos=True)
        assert_paired(found.paired(("shift", ALL)), alone.paired(("shift", ALL)))


def test_batches_and_shared_beginnings_change_nothing(setting: Setting, monkeypatch) -> None:
    (meter,) = icl.icl(setting, reader(setting.model), [SAE], bos=True)
    monkeypatch.setattr("imprint.forecast.features.share", lambda *_: None)
    small = Reader(setting.model, site(setting.model, layer=1), Batcher(1))
    (other,) = icl.icl(setting, small, [SAE], bos=True)
    assert_paired(other.paired(("shift", 0)), meter.paired(("shift", 0)))


def test_the_oracle_is_tuned_less_base_with_signs_drawn_as_null(
    setting: Setting, folder: Path, tmp_path: Path
) -> None:
    tuned = load(tiny(tmp_path, layers=3, near=folder), device="cpu")
    base = reader(setting.model)
    (meter,) = shift.sft(setting, base, reader(tuned), [SAE], bos=True)
    rows = [rendered(setting, text) for text in setting.material.sft]
    d = np.stack([latents_of(SAE, tuned, r) - latents_of(SAE, setting.model, r) for r in rows])
    assert_paired(meter.paired(("shift", ALL)), paired_rows(d))
    half = _half(setting, 0, 12)
    assert half.sum() == 6
    assert_paired(meter.paired(("shift", 0)), paired_rows(d[half]))
    null = meter.paired(("flipped", ALL))
    np.testing.assert_allclose(null.mean_square, (d**2).mean(0), rtol=1e-3, atol=1e-6)
    assert np.abs(null.mean).sum() < np.abs(d.mean(0)).sum()


def test_a_model_against_itself_shifts_nothing(setting: Setting) -> None:
    base = reader(setting.model)
    (meter,) = shift.sft(setting, base, base, [SAE], bos=True)
    assert len(choose(setting, meter, 10).latents) == 0


def test_answers_are_contrasted_with_the_models_own(setting: Setting) -> None:
    (meter,) = answers.answer(setting, reader(setting.model), [SAE], bos=True)
    sample = setting.sample
    rows = [rendered(setting, t) for t in sample]
    room = (setting.engine.context - max(len(r.ids) for r in rows)) // 2
    prompts = [t.prompt for t in sample]
    own = [g.text.strip() for g in setting.engine.generate(prompts, max_new_tokens=room)]
    d = []
    for text, said in zip(sample, own, strict=True):
        gold, made = (rendered(setting, text, answer=a) for a in (text.answer, said))
        if said and said != text.answer and len(made.ids) <= setting.engine.context:
            sides = [latents_of(SAE, setting.model, r, r.answer) for r in (made, gold)]
            d.append(sides[1] - sides[0])
    assert_paired(meter.paired(("shift", ALL)), paired_rows(np.stack(d)))


def test_rollouts_contrast_the_best_with_the_worst_sample(setting: Setting) -> None:
    samples = [Rollout("abc", w, r) for w, r in (("d", 0.0), ("e", 1.0), ("f", 0.5))]
    samples += [Rollout("dd", w, r) for w, r in (("g", 2.0), ("h", 1.0))]
    samples += [Rollout("same", "a", 1.0), Rollout("same", "b", 1.0)]
    pairs = contrasted(samples)
    assert [(a.answer, b.answer) for a, b in pairs] == [("d", "e"), ("h", "g")]
    (meter,) = answers.rollout(setting, reader(setting.model), [SAE], samples, bos=True)
    d = []
    for low, high in pairs:
        rows = [rendered(setting, t, answer=t.answer) for t in (low, high)]
        one, other = (latents_of(SAE, setting.model, r, r.answer) for r in rows)
        d.append(other - one)
    assert_paired(meter.paired(("shift", ALL)), paired_rows(np.stack(d)))
    with pytest.raises(DataError, match="none of 1 prompts has samples of different rewards"):
        contrasted(samples[-2:])


def test_what_cannot_be_contrasted_is_counted(setting: Setting) -> None:
    samples = [Rollout("abc", w, r, "r:1") for w, r in (("d", 0.0), ("e", 1.0))]
    samples += [Rollout("dd", w, r, "r:2") for w, r in (("g", 2.0), ("h", 1.0))]
    samples += [Rollout("ee", w, r, "r:3") for w, r in (("g" * 60, 2.0), ("h", 1.0))]
    base = reader(setting.model)
    answers.rollout(setting, base, [SAE], samples, bos=True)
    assert (base.counts.beyond, base.counts.where) == (1, {"beyond": "r:3"})


def test_queries_that_never_fit_behind_demonstrations_are_counted(setting: Setting) -> None:
    room = setting.engine.context - 3
    long = Text("long", "", "a" * room, "b", "f:long")
    material = replace(setting.material, sft=(*setting.material.sft, long))
    base = reader(setting.model)
    icl.icl(replace(setting, material=material), base, [SAE], bos=True)
    assert (base.counts.crowded, base.counts.where["crowded"]) == (1, "f:long")
    (_, said, again) = base.counts.findings("SFT")
    assert said.check == "crowded_span"
    # nor does it ever stand before another one
    assert (again.check, again.count) == ("long_span", 1)


def test_rollouts_are_read_strictly(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text('{"prompt": "a", "completion": "b", "reward": 1}\n')
    assert read_rollouts(path) == [Rollout("a", "b", 1.0, f"{path}, line 1")]
    for row, words in (
        ('{"prompt": "a", "completion": "b"}', "no column 'reward'"),
        ('{"prompt": "a", "completion": "", "reward": 1}', "no completion"),
        ('{"prompt": "a", "completion": "b", "reward": "much"}', "not a number"),
    ):
        path.write_text(row + "\n")
        with pytest.raises(DataError, match=words):
            read_rollouts(path)


def test_gradients_are_central_differences(setting: Setting) -> None:
    """Adding a direction to every token of the prompt changes the answer as the gradient says."""
    loaded = setting.model
    sample = setting.material.sft[:4]
    found = answer_gradients(setting, reader(loaded), sample)
    direction = torch.randn(16, generator=torch.Generator().manual_seed(0))
    where = site(loaded, layer=1)

    def gain(row, step: float) -> float:
        def moved(x):
            x = x.clone()
            x[:, row.query.start : row.query.stop] += step * direction
            return x

        with torch.no_grad(), where.hooked(moved):
            logprobs = loaded.model(torch.tensor([row.ids])).logits[0].double().log_softmax(-1)
        return float(np.mean([logprobs[p - 1, row.ids[p]] for p in row.answer]))

    for text, slope in zip(sample, found, strict=True):
        row = rendered(setting, text, answer=text.answer)
        expected = (gain(row, 1e-2) - gain(row, -1e-2)) / 2e-2
        assert float(slope @ direction.double().numpy()) == pytest.approx(
            expected, rel=2e-2, abs=1e-4
        )
    assert not any(p.grad is not None for p in loaded.model.parameters())
    assert all(p.requires_grad for p in loaded.model.parameters())


def test_gradients_are_nan_without_an_answer_or_room(setting: Setting) -> None:
    odd = [Text("a", "", "ab"), Text("b", "", "ab", "c" * 60), Text("c", "", "ab", "c")]
    found = answer_gradients(setting, reader(setting.model), odd)
    assert np.isnan(found).all(1).tolist() == [True, True, False]


def test_grad_projects_gradients_on_decoder_directions(setting: Setting) -> None:
    (meter,) = shift.grad(setting, reader(setting.model), [SAE], bos=True)
    slopes = answer_gradients(setting, reader(setting.model), setting.sample)
    d = slopes @ SAE.w_dec.double().numpy().T
    assert_paired(meter.paired(("shift", ALL)), paired_rows(d))
    assert meter.nulls == ["shuffled"]
    assert not np.allclose(meter.paired(("shuffled", ALL)).mean, d.mean(0))


def test_the_published_way_takes_rows_as_they_come(setting: Setting) -> None:
    (meter,) = icl_unaligned(setting, reader(setting.model), [SAE], bos=True)
    (shot,) = setting.drawn(0)
    sides = [[], []]
    for text in setting.material.sft:
        for side, before in zip(sides, ([], [shot]), strict=True):
            if not before or text is not shot:
                row = rendered(setting, text, *before)
                side.append(SAE.encode(states(setting.model, row, range(len(row.ids)))))
    a, b = (torch.cat(side).double().numpy() for side in sides)
    n = min(len(a), len(b))
    expected = unaligned_rows(a[:n], b[:n])
    found = meter.paired(("shift", 0))
    np.testing.assert_allclose(found.mean_square * n, expected.row_squares, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found.t, expected.welch, rtol=1e-2, atol=1e-3)
    assert meter.nulls == ["halves"]


def test_demonstrations_that_are_too_long_are_passed_over(loaded: Loaded) -> None:
    sft = (Text("1", "", "a" * 40, "b"), Text("2", "", "cc", "d"), Text("3", "", "ee", "f"))
    setting, counts = Setting(Material(sft, ()), loaded, demonstrations=2), Counts()
    rows = [Rendered(tuple(range(setting.engine.context - 20)), range(1))]
    found = Demonstrations(setting, rows, counts)
    assert {one.name for one in found.drawn(0)} == {"2", "3"}
    assert counts.long == 1
    with pytest.raises(DataError, match="2 of 3 SFT examples are short enough"):
        Demonstrations(replace(setting, demonstrations=3), rows, counts)


def test_stability_overlap_and_controls(setting: Setting) -> None:
    (meter,) = icl.icl(setting, reader(setting.model), [SAE], bos=True)
    chosen = choose(setting, meter, 10)
    table, nulls = chosen.table(), chosen.overlaps()
    assert table["latent"].to_list() == chosen.latents.tolist()
    assert table["t"].abs().is_sorted(descending=True)
    assert 0 < table["share"].sum() <= 1
    assert nulls.height == 2
    both = [overlap(a, b) for a, b in zip(chosen.draws, chosen.null, strict=True)]
    assert nulls["overlap"][0] == np.mean(both)
    assert nulls["stability"][0] == overlap(*chosen.draws)
    assert nulls["expected"][0] == pytest.approx(100 / LATENTS)
    rates = meter.activity.rates
    for draw, found in enumerate(chosen.draws):
        like = chosen.controls["density"][draw]
        assert overlap(like, found) == 0
        assert len(like) == len(found)
        assert np.abs(np.sort(rates[like]) - np.sort(rates[found])).mean() < 0.25


def test_the_residual_is_what_a_dictionary_does_not_express(setting: Setting) -> None:
    from imprint.saes import raw

    whole, poor = raw(16), SAE
    one, other = icl.icl(setting, reader(setting.model), [whole, poor], bos=True)
    assert one.residual == pytest.approx(0, abs=1e-9)
    assert other.residual is not None
    assert other.residual > 0.1
