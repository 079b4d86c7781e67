from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imprint.models import Loaded, load
from imprint.models.batching import Batcher, OutOfMemoryError
from imprint.models.plain import score_plainly
from imprint.models.plan import plan
from imprint.models.requests import Request
from imprint.models.scoring import Scorer
from imprint.models.sharing import shareable
from imprint.models.tree import grow
from models_support import tiny, torch, transformers

VOCABULARY = 32
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
SHARING = {
    "Llama": {},
    "GPT2": {"n_embd": 32, "n_layer": 3, "n_head": 4},
    "GPTNeoX": {},
    "OPT": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "Cohere": {},
    "Mixtral": {"num_local_experts": 4},
    "Phi3": {},
}
LOOKING_BACK_16 = {
    "Mistral": {"sliding_window": 16, "head_dim": 8},
    "Gemma2": {"sliding_window": 16, "head_dim": 8, "query_pre_attn_scalar": 8},
    "Gemma3Text": {"sliding_window": 16, "head_dim": 8},
}
NOT_SHARING = {
    "Mamba2": {"num_heads": 8, "head_dim": 8, "state_size": 8, "n_groups": 1},
    "Jamba": {
        "mamba_d_state": 4,
        "num_experts": 2,
        "attn_layer_offset": 1,
        "attn_layer_period": 2,
    },
}
FOUND_OUT = {
    "Bloom": {"n_head": 4, "n_layer": 3},  # refuses such a mask
    "Mpt": {"d_model": 32, "n_heads": 4, "n_layers": 3},  # takes positions from the tensor
}


def drawn(kind: str, changes: dict) -> Loaded:
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**{**SIZES, **changes})
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    return Loaded(model, None, Path("none"))


def tokens(draw: random.Random, least: int, most: int) -> tuple[int, ...]:
    return tuple(draw.randrange(3, VOCABULARY) for _ in range(draw.randint(least, most)))


def request(context: tuple[int, ...], option: tuple[int, ...]) -> Request:
    return Request(context + option[:-1], option)


def questions(seed: int = 0) -> list[Request]:
    """Some with a long common beginning, some without, one with a single option, mixed."""
    draw = random.Random(seed)  # noqa: S311
    shots = tokens(draw, 50, 50)
    contexts = [shots + tokens(draw, 3, 12) for _ in range(5)] + [tokens(draw, 1, 8)] * 3
    found = [request(c, tokens(draw, 1, 5)) for c in contexts for _ in range(4)]
    found += [request(tokens(draw, 9, 9), (5,)), found[0]]
    draw.shuffle(found)
    return found


def one_by_one(loaded: Loaded, requests: list[Request]) -> list[tuple[float, bool]]:
    """The plain reference: one call per request, float64 log-softmax of every position."""
    found = []
    for one in requests:
        with torch.inference_mode():
            logits = loaded.model(torch.tensor([one.ids])).logits[0].double()
        logprobs = torch.log_softmax(logits[-len(one.targets) :], -1)
        targets = torch.tensor(one.targets)
        greedy = bool((logprobs.argmax(-1) == targets).all())
        found.append((float(logprobs.gather(1, targets[:, None]).sum()), greedy))
    return found


def check(loaded: Loaded, requests: list[Request], scorer: Scorer) -> None:
    found, expected = scorer.score(requests), one_by_one(loaded, requests)
    np.testing.assert_allclose(
        [one.logprob for one in found], [each for each, _ in expected], atol=1e-4
    )
    assert [one.greedy for one in found] == [each for _, each in expected]
    assert [one.tokens for one in found] == [len(one.targets) for one in requests]


@pytest.mark.parametrize("kind", SHARING)
def test_sharing_changes_nothing(kind: str) -> None:
    loaded = drawn(kind, SHARING[kind])
    scorer = Scorer(loaded)
    check(loaded, questions(), scorer)
    assert scorer.share
    assert shareable(loaded.model) is None


@pytest.mark.parametrize("kind", SHARING)
def test_long_contexts_are_read_before_their_options(kind: str) -> None:
    draw = random.Random(3)  # noqa: S311
    contexts = [tokens(draw, 70, 90) for _ in range(3)] + [tokens(draw, 66, 66)]
    requests = [request(c, tokens(draw, 1, 6)) for c in contexts for _ in range(4)]
    scorer = Scorer(drawn(kind, SHARING[kind]))
    check(scorer.loaded, requests, scorer)
    assert scorer.share


@pytest.mark.parametrize("kind", LOOKING_BACK_16)
def test_a_sliding_window_shares_what_fits_into_it(kind: str) -> None:
    loaded = drawn(kind, LOOKING_BACK_16[kind])
    assert shareable(loaded.model) == 16
    scorer = Scorer(loaded)
    check(loaded, questions(), scorer)
    assert scorer.share


@pytest.mark.parametrize("kind", NOT_SHARING)
def test_recurrent_layers_share_nothing(kind: str) -> None:
    loaded = drawn(kind, NOT_SHARING[kind])
    assert shareable(loaded.model) == 0
    check(loaded, questions(), Scorer(loaded))


@pytest.mark.parametrize("kind", FOUND_OUT)
def test_what_settings_do_not_tell_is_found_by_comparison(kind: str, capsys) -> None:
    loaded = drawn(kind, FOUND_OUT[kind])
    scorer = Scorer(loaded)
    check(loaded, questions(), scorer)
    assert not scorer.share
    check(loaded, questions(1), scorer)
    assert capsys.readouterr().err.count("cannot share contexts exactly") == 1


@pytest.mark.parametrize("rope", ["dynamic", "longrope"])
def test_angles_that_depend_on_the_length_share_nothing(rope: str) -> None:
    config = transformers.LlamaConfig(**SIZES)
    config.rope_parameters = {"rope_type": rope, "factor": 2.0, "rope_theta": 1e4}
    config._attn_implementation = "sdpa"
    model = type("Model", (), {"config": config})
    assert shareable(model) == 0
    config.rope_parameters = {"rope_type": "yarn", "factor": 2.0}
    assert shareable(model) is None
    config._attn_implementation = "flash_attention_2"
    assert shareable(model) == 0


def test_a_model_without_limits_on_logits_is_asked_for_all(tmp_path: Path, monkeypatch) -> None:
    loaded = load(tiny(tmp_path / "m"), device="cpu")
    whole = Scorer(loaded).score(questions())
    monkeypatch.setattr(Loaded, "keeping", lambda self, places: {})
    found = Scorer(loaded).score(questions())
    np.testing.assert_allclose([o.logprob for o in found], [o.logprob for o in whole], atol=1e-5)


def test_tied_greedy_and_single_tokens(tmp_path: Path) -> None:
    loaded = load(tiny(tmp_path / "m"), device="cpu")
    context = tuple(range(3, 23))
    every = [request(context, (token,)) for token in range(VOCABULARY)]
    found = Scorer(loaded).score(every)
    assert sum(np.exp(one.logprob) for one in found) == pytest.approx(1, abs=1e-5)
    assert sum(one.greedy for one in found) == 1
    assert len(grow(every).tokens) == len(context)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 40))
def test_every_request_is_in_the_plan_once(seed: int, longest: int) -> None:
    requests = questions(seed)
    families, alone = plan(requests, longest)
    planned = [n for family in families for row in family.rows for n in row]
    assert sorted([*planned, *alone]) == list(range(len(requests)))
    for family in families:
        members = [requests[n] for row in family.rows for n in row]
        assert len({one.ids[: family.skip] for one in members}) == 1
        assert all(family.skip < len(o.ids) - len(o.targets) + 1 <= longest for o in members)


def test_subjects_with_examples_of_their_own_stay_apart() -> None:
    draw = random.Random(0)  # noqa: S311
    heading = tokens(draw, 40, 40)
    shots = [heading + tokens(draw, 100, 100) for _ in range(3)]
    contexts = [shot + tokens(draw, 5, 5) for shot in shots for _ in range(6)]
    requests = [request(c, tokens(draw, 2, 2)) for c in contexts for _ in range(4)]
    families, alone = plan(requests)
    assert not alone
    assert sorted(family.skip for family in families) == [140, 140, 140]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6))
def test_a_path_through_the_tree_is_the_request(seed: int) -> None:
    requests = questions(seed)[:8]
    tree = grow(requests)
    assert len(tree.tokens) <= sum(len(one.ids) for one in requests)
    for one, places in zip(requests, tree.answers, strict=True):
        path = np.flatnonzero(tree.sees[places[-1]])
        path = path[np.argsort(tree.depths[path])]
        assert tuple(tree.tokens[path]) == one.ids
        assert list(path[-len(places) :]) == list(places)
        assert places.min() >= len(tree.tokens) - tree.wanted


@pytest.mark.parametrize(
    "failure",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried"),
    ],
    ids=["cuda", "python", "cpu"],
)
def test_batches_halve_when_memory_runs_out(tmp_path: Path, failure, capsys) -> None:
    loaded = load(tiny(tmp_path / "m"), device="cpu")
    expected = Scorer(loaded).score(questions())
    forward, tried = loaded.model.forward, []

    def short(input_ids, **rest):
        tried.append(input_ids.numel())
        if input_ids.shape[0] > 1:
            raise failure
        return forward(input_ids=input_ids, **rest)

    short.__signature__ = __import__("inspect").signature(forward)
    loaded.model.forward = short
    scorer = Scorer(loaded, Batcher())
    found = scorer.score(questions())
    np.testing.assert_allclose([o.logprob for o in found], [o.logprob for o in expected], atol=1e-5)
    assert capsys.readouterr().err.count("memory ran out") == 1
    assert scorer.batcher.tokens < Batcher().tokens


def test_a_request_too_large_for_memory_is_said(tmp_path: Path, monkeypatch) -> None:
    loaded = load(tiny(tmp_path / "m"), device="cpu")

    def never(**_):
        raise MemoryError

    monkeypatch.setattr(loaded.model, "forward", never)
    with pytest.raises(OutOfMemoryError, match="a single request of 9 tokens"):
        score_plainly(loaded, [request(tuple(range(3, 12)), (4,))], Batcher(quiet=True))


def test_other_errors_are_not_taken_for_short_memory(tmp_path: Path, monkeypatch) -> None:
    loaded = load(tiny(tmp_path / "m"), device="cpu")

    def wrong(**_):
        raise RuntimeError("index out of range")

    monkeypatch.setattr(loaded.model, "forward", wrong)
    with pytest.raises(RuntimeError, match="index out of range"):
        score_plainly(loaded, questions(), Batcher())
