"""Latents of spans, beside dense matrices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from imprint.errors import CheckpointError
from imprint.forecast import features
from imprint.forecast.contexts import Chunk, Shown, change
from imprint.forecast.features import Activity, Changes, Reader, chunks, pooled
from imprint.forecast.rendering import Rendered
from imprint.forecast.spans import Counts, kept, median_norm
from imprint.forecast.statistics import paired_rows
from imprint.models import Loaded, load
from imprint.models.batching import Batcher
from imprint.models.residual import site
from imprint.saes import random_dictionary
from imprint.saes.activations import JumpRelu, Relu, TopK
from models_support import tiny, torch

ROWS = [
    Rendered((0, 5, 6, 7, 8, 9, 10, 11, 12, 20), range(8, 10)),
    Rendered((0, 5, 6, 7, 8, 9, 10, 11, 12, 21, 22, 23), range(8, 12)),
    Rendered((0, 5, 6, 7, 8, 9, 10, 11, 12), range(8, 9)),
]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return load(tiny(tmp_path_factory.mktemp("tiny"), layers=3), device="cpu")


@pytest.fixture
def reader(loaded: Loaded) -> Reader:
    return Reader(loaded, site(loaded, layer=1), Batcher())


def plain(loaded: Loaded, row: Rendered):
    with torch.no_grad():
        states = loaded.model(torch.tensor([row.ids]), output_hidden_states=True).hidden_states
    return states[2][0, row.query.start : row.query.stop]


def test_spans_are_hidden_states_of_the_query(loaded: Loaded, reader: Reader) -> None:
    shared = reader.shared(ROWS)
    assert shared is not None
    assert len(shared.ids) == 8
    for begun in (None, shared):
        for row, x in zip(ROWS, reader.spans(ROWS, begun), strict=True):
            torch.testing.assert_close(x, plain(loaded, row), atol=1e-5, rtol=1e-4)


def test_batches_change_nothing(loaded: Loaded, reader: Reader) -> None:
    small = Reader(loaded, reader.where, Batcher(1))
    for one, other in zip(reader.spans(ROWS), small.spans(ROWS), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("block", [1, 50, 1 << 22])
@pytest.mark.parametrize("function", [Relu(), JumpRelu(0.1 * torch.arange(25)), TopK(4)])
def test_pooling_in_blocks_is_that_of_the_dense_matrix(monkeypatch, block, function) -> None:
    monkeypatch.setattr(features, "VALUES", block)
    monkeypatch.setattr(features, "COLUMNS", 10)
    sae = replace(random_dictionary(16, 25, 0), function=function)
    draw = torch.Generator().manual_seed(0)
    xs = [torch.randn(n, 16, generator=draw) for n in (3, 1, 6, 2)]
    oks = [torch.rand(len(x), generator=draw) < 0.7 for x in xs]
    oks[3][:] = False
    largest, activity = [], Activity(25, torch.device("cpu"))

    def seen(h, where) -> None:
        largest.append(h.numel())
        activity(h, where)

    found = pooled(sae, 25, xs, oks, squares=True, seen=seen)
    for n in range(3):
        if oks[n].any():
            h = sae.encode(xs[n][oks[n]])
            torch.testing.assert_close(found[0, n], h.mean(0), atol=1e-6, rtol=1e-5)
            torch.testing.assert_close(found[1, n], h.square().mean(0), atol=1e-6, rtol=1e-5)
    assert torch.isnan(found[:, 3]).all()
    assert max(largest) <= max(block, 25)
    dense = torch.cat([sae.encode(x[ok]) for x, ok in zip(xs, oks, strict=True)])
    np.testing.assert_allclose(activity.rates, (dense != 0).double().mean(0))
    np.testing.assert_allclose(activity.variances, dense.double().var(0, correction=0), atol=1e-6)


def test_chunks_hold_every_text_once_and_keep_within_bounds() -> None:
    chances = np.random.default_rng(0)
    rows = [Rendered(tuple(range(n)), range(n)) for n in chances.integers(1, 30, 50)]
    found = list(chunks(rows, 1 << 20, 60))
    assert sorted(np.concatenate(found)) == list(range(50))
    for part in found:
        assert len(part) <= 4
        assert len(part) == 1 or len(part) * max(len(rows[n].ids) for n in part) <= 60


def test_streamed_changes_are_those_of_all_rows() -> None:
    d = torch.randn(20, 7, generator=torch.Generator().manual_seed(0))
    weights = np.random.default_rng(0).choice([-1.0, 0.0, 1.0], 20)
    changes = Changes(2, 7, d.device)
    for at in range(0, 20, 6):
        changes.add(0, d[at : at + 6])
        changes.add(1, d[at : at + 6], torch.from_numpy(weights[at : at + 6]))
    changes.add(0, torch.full((3, 7), torch.nan))
    for contrast, rows in ((0, d), (1, d * torch.from_numpy(weights)[:, None])):
        rows = rows.double().numpy()[weights != 0 if contrast else slice(None)]
        expected = paired_rows(rows)
        found = changes.paired(contrast)
        assert found.n == expected.n
        np.testing.assert_allclose(found.t, expected.t, rtol=1e-4)
        np.testing.assert_allclose(found.mean_square, expected.mean_square, rtol=1e-5)


def test_sinks_are_far_above_the_median_of_all_tokens() -> None:
    x = torch.ones(9, 4)
    x[3] *= 50
    x[5] *= 9
    median = median_norm([x])
    assert median == 2
    assert kept(x, median).tolist() == [n != 3 for n in range(9)]
    assert kept(x, 0.0).all()
    assert median_norm([]) == 0


def test_the_median_does_not_depend_on_batches(loaded: Loaded, reader: Reader) -> None:
    small = Reader(loaded, reader.where, Batcher(1))
    for one in (reader, small):
        one.calibrate(ROWS, np.random.default_rng(0))
    assert reader.median == pytest.approx(small.median, rel=1e-5)
    assert reader.median > 0


def test_a_sink_in_one_context_is_left_out_of_both() -> None:
    sae = random_dictionary(4, 6, 0)
    draw = torch.Generator().manual_seed(1)
    x, y = torch.randn(5, 4, generator=draw), torch.randn(5, 4, generator=draw)
    ok, both = torch.ones(5, dtype=bool), torch.tensor([1, 1, 0, 1, 1]).bool()
    chunk = Chunk(np.array([0, 1]), [x, x], [ok, ok])
    base = pooled(sae, 6, chunk.xs, chunk.oks)[0]
    found = change(sae, 6, chunk, base, Shown([1], [y], [both]))
    expected = sae.encode(y[both]).mean(0) - sae.encode(x[both]).mean(0)
    torch.testing.assert_close(found[1], expected, atol=1e-6, rtol=1e-5)
    assert torch.isnan(found[0]).all()


def test_nan_in_a_model_is_refused_and_named(tmp_path) -> None:
    broken = load(tiny(tmp_path, layers=2), device="cpu")
    with torch.no_grad():
        broken.model.model.layers[1].mlp.down_proj.weight[0, 0] = torch.nan
    reader = Reader(broken, site(broken, layer=1), Batcher())
    with pytest.raises(CheckpointError, match="layer 1, resid_post hold NaN"):
        reader.spans(ROWS)
    assert Reader(broken, site(broken, layer=0), Batcher()).spans(ROWS)


def test_what_is_left_out_is_counted_and_said() -> None:
    counts = Counts()
    counts.add(10, 4, 3)
    counts.leave_out("beyond", "file:3")
    counts.leave_out("beyond", "file:9")
    tokens, beyond = counts.findings("SFT")
    assert "3 tokens of 1 readings count; left out are 1 of unusual norm and 6" in tokens.detail
    assert beyond.detail.startswith("SFT: 2 texts do not fit into the model's context")
    assert beyond.detail.endswith("file:3")
    assert beyond.level == "warn"


def test_a_text_of_sinks_alone_is_counted_and_has_no_value(reader: Reader) -> None:
    reader.median = 1e-6
    xs = reader.spans(ROWS)
    oks = reader.kept(xs)
    reader.count(ROWS, oks)
    assert not any(ok.any() for ok in oks)
    found = reader.counts.findings("domains")
    assert [one.check for one in found] == ["tokens", "empty_span"]
    assert found[1].detail.startswith("domains: 3 texts have no token that counts")
    assert torch.isnan(pooled(random_dictionary(16, 5, 0), 5, xs, oks)).all()
