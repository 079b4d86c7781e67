from __future__ import annotations

import io

import pytest

from imprint.progress import note, progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_short_work_is_silent_without_a_terminal_and_when_quiet(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress(3, "work") as bar:
        bar.describe("x")
        bar.advance()
    with progress(3, "work", quiet=True) as bar:
        bar.advance()
    note("hidden", quiet=True)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_sees_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    with progress(2, "scoring") as bar:
        bar.advance(2)
    assert "scoring" in screen.getvalue()


def test_what_was_there_already_is_no_measure_of_speed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = iter([0.0, 0.1, 60.0])
    monkeypatch.setattr("imprint.progress.time.monotonic", lambda: next(now))
    with progress(1000, "study") as bar:
        bar.advance(900)
        bar.advance(20)
    assert capsys.readouterr().err == "study: 92%, about 4 min left\n"


def test_a_log_gets_a_line_a_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = iter([0.0, 59.0, 120.0, 130.0, 180.0])
    monkeypatch.setattr("imprint.progress.time.monotonic", lambda: next(now))
    with progress(8, "study") as bar:
        bar.describe("sft-3")
        for _ in range(4):
            bar.advance()
    told = capsys.readouterr().err.splitlines()
    assert told == ["study: 25%, about 6 min left (sft-3)", "study: 50%, about 3 min left (sft-3)"]
