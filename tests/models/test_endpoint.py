"""The endpoint engine against a server process: the same numbers, and what goes wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from completions_server import NAME, serving, told
from imprint.errors import ConfigError, DataError
from imprint.models import Engine, LocalEngine, Question, load
from imprint.models.endpoint import EndpointEngine
from imprint.models.server import Patience, Server
from models_support import tiny

SOON = Patience(concurrency=4, retries=3, timeout=20, wait=0.02)
QUESTIONS = [
    Question("Once upon a time there was a", (" cat", " dog that “barked”", " girl"), "There was"),
    Question("Lily had a ", ("ball", " car that is red")),
]


@pytest.fixture(scope="module")
def stories() -> Path:
    folder = Path(__file__).parents[3] / "shared" / "data" / "models" / "stories260K"
    if not folder.is_dir():
        pytest.skip("the public data is not beside the repository")
    return folder


@pytest.fixture(scope="module")
def url(stories: Path) -> Iterator[str]:
    with serving(stories) as address:
        yield address


@pytest.fixture(scope="module")
def local(stories: Path) -> LocalEngine:
    return LocalEngine(load(stories, dtype="fp32", device="cpu"))


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tiny(tmp_path_factory.mktemp("server") / "letters")) as address:
        yield address


@pytest.mark.shared
def test_a_server_gives_what_the_model_gives_here(url: str, local: LocalEngine) -> None:
    engine = EndpointEngine(url, NAME, SOON)
    assert isinstance(engine, Engine)
    for ours, theirs in zip(engine.choices(QUESTIONS), local.choices(QUESTIONS), strict=True):
        assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-4)
        assert (ours.tokens, ours.greedy) == (theirs.tokens, theirs.greedy)
        assert (ours.unconditional is None) == (theirs.unconditional is None)
        if ours.unconditional and theirs.unconditional:
            assert ours.unconditional == pytest.approx(theirs.unconditional, abs=1e-4)


@pytest.mark.shared
def test_an_empty_context_stands_for_the_start_of_a_text(url: str, local: LocalEngine) -> None:
    engine = EndpointEngine(url, NAME, SOON)
    pairs = [("", "Once upon a time"), ("Once upon", " a time"), ("", "Lily")]
    for ours, theirs in zip(engine.loglikelihoods(pairs), local.loglikelihoods(pairs), strict=True):
        assert ours.logprob == pytest.approx(theirs.logprob, abs=1e-4)
        assert ours[1:3] == theirs[1:3]


@pytest.mark.shared
def test_a_start_token_that_counts_as_text_moves_no_boundary(url: str) -> None:
    empty = [("", "Once upon a time")]
    engine = EndpointEngine(url, NAME, SOON)
    plain = list(engine.choices(QUESTIONS)), engine.loglikelihoods(empty)
    told(url, count_start=True)
    assert (list(engine.choices(QUESTIONS)), engine.loglikelihoods(empty)) == plain
    told(url)


@pytest.mark.shared
def test_whole_texts(url: str, local: LocalEngine) -> None:
    texts = ["Once upon a time there was a cat.", "Tom ran."]
    ours = EndpointEngine(url, NAME, SOON).rolling(texts)
    plain = local.loglikelihoods([("", text) for text in texts])
    for one, other in zip(ours, plain, strict=True):
        assert one.logprob == pytest.approx(other.logprob, abs=1e-4)
        assert one.tokens == other.tokens


@pytest.mark.shared
def test_generations_repeat_with_the_seed_and_differ_without(url: str) -> None:
    engine = EndpointEngine(url, NAME, SOON)
    prompts = ["Once upon a time", "Lily had", "Once upon a time"]

    def ask(seed: int) -> list[str]:
        found = engine.generate(prompts, n=3, temperature=1.0, max_new_tokens=6, seed=seed)
        return [sample.text for sample in found]

    first = ask(1)
    assert len(first) == 9
    assert first == ask(1)
    assert first != ask(2)
    assert first[:3] != first[6:]  # a prompt that stands twice is not drawn alike


@pytest.mark.shared
def test_greedy_generations_are_those_of_the_model_and_stop_where_told(
    url: str, local: LocalEngine
) -> None:
    engine = EndpointEngine(url, NAME, SOON)
    found = list(engine.generate(["Once upon a time"], n=2, max_new_tokens=20, stop=["."]))
    assert found[0].text == found[1].text
    assert found[0].ended == "stop"
    here = list(local.generate(["Once upon a time"], max_new_tokens=20, stop=["."]))
    assert found[0].text == here[0].text


def test_a_busy_server_is_asked_again_after_the_time_it_says(letters: str) -> None:
    url = told(letters, fail=2, retry_after="0.3")
    begun = time.monotonic()
    assert EndpointEngine(url, NAME, SOON).loglikelihoods([("ab", "c")])[0].tokens == 1
    assert time.monotonic() - begun >= 0.3


@pytest.mark.parametrize("fault", ["hang-up", "html", "list"])
def test_what_may_pass_is_tried_again(letters: str, fault: str) -> None:
    url = told(letters, fail=2, fault=fault)
    assert EndpointEngine(url, NAME, SOON).loglikelihoods([("ab", "c")])[0].tokens == 1


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ("html", "no JSON"),
        ("list", "not an object"),
        ("busy", "503: overloaded"),
        ("hang-up", "no answer"),
        ("choices", "rubbish: 1 choices where 1"),
    ],
)
def test_a_server_that_stays_broken_is_told(letters: str, fault: str, problem: str) -> None:
    url = told(letters, fail=99, fault=fault)
    engine = EndpointEngine(url, NAME, Patience(retries=1, wait=0.01))
    with pytest.raises(DataError, match=problem):
        list(engine.generate(["ab"], max_new_tokens=2))


def test_requests_run_side_by_side_up_to_the_bound(letters: str) -> None:
    url = told(letters, delay=0.05)
    engine = EndpointEngine(url, NAME, Patience(concurrency=3, wait=0.01))
    engine.loglikelihoods([("a", letter) for letter in "bcdefghijkl"])
    counts = engine.server.ask("/counts")
    assert counts["most_at_once"] <= 3
    assert counts["requests"] == 12  # one of them tries whether the server can score


def test_a_slow_server_is_given_up(letters: str) -> None:
    url = told(letters, delay=5)
    engine = EndpointEngine(url, NAME, Patience(retries=0, timeout=0.3))
    with pytest.raises(DataError, match=r"no answer within 0.3 seconds \(tried 1 time\)"):
        list(engine.generate(["ab"]))


def test_a_server_without_echo_is_refused_for_scoring_alone(letters: str) -> None:
    lacking: dict[str, dict[str, bool]] = {
        "not echo": {"no_echo": True},
        "none for the prompt": {"no_prompt_logprobs": True},
    }
    for reason, flags in lacking.items():
        engine = EndpointEngine(told(letters, **flags), NAME, SOON)
        with pytest.raises(ConfigError, match=f"cannot score options: .*{reason}"):
            engine.loglikelihoods([("ab", "c")])
        assert len(list(engine.generate(["ab"], max_new_tokens=2))) == 1


def test_a_text_that_is_too_long_is_refused_and_not_cut(letters: str) -> None:
    url = told(letters)
    engine = EndpointEngine(url, NAME, SOON)
    assert engine.context == 32
    with pytest.raises(DataError, match=r"41 characters.*maximum context length"):
        engine.loglikelihoods([("a" * 40, "b")])


def test_the_key_comes_from_the_environment_and_is_never_shown(
    letters: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = told(letters, key="right")
    monkeypatch.setenv("OPENAI_API_KEY", "wrong-secret")
    with pytest.raises(ConfigError, match="another API key") as refused:
        EndpointEngine(url, NAME, SOON)
    assert "wrong-secret" not in str(refused.value)
    monkeypatch.setenv("OTHER_KEY", "right")
    engine = EndpointEngine(url, NAME, Patience(key_variable="OTHER_KEY"))
    assert "right" not in str(engine.identity.record())


def test_another_model_name_is_refused_with_the_nearest(letters: str) -> None:
    with pytest.raises(ConfigError, match="did you mean 'stories'"):
        EndpointEngine(told(letters), "storis", SOON)
    url = told(letters, no_models=True)
    assert EndpointEngine(url, "anything", SOON).context is None


def test_a_server_that_dies_under_way_is_told(tmp_path: Path) -> None:
    with serving(tiny(tmp_path / "letters"), "--die-after", "4") as url:
        engine = EndpointEngine(url, NAME, Patience(concurrency=2, retries=2, wait=0.02))
        with pytest.raises(DataError, match="is the server up"):
            engine.loglikelihoods([("ab", letter) for letter in "abcdefghij"])


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://a/v1", "http://", "http://a:x/v1"])
def test_addresses_that_are_none_are_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="not the address"):
        Server(url)


def test_addresses_with_a_password_are_refused() -> None:
    with pytest.raises(ConfigError, match="password") as refused:
        Server("http://me:secret@host/v1")
    assert "secret" not in str(refused.value)


def test_an_interrupt_breaks_off_what_is_under_way(letters: str) -> None:
    url = told(letters, delay=8)
    server = Server(url, Patience(concurrency=2, timeout=30))
    begun = time.monotonic()

    def items() -> Iterator[str]:
        yield from "abc"
        threading.Event().wait(0.5)
        raise KeyboardInterrupt

    body = {"model": NAME, "prompt": "ab", "max_tokens": 1}
    with pytest.raises(KeyboardInterrupt):
        list(server.map(lambda _: server.ask("/completions", body), items()))
    assert time.monotonic() - begun < 6
