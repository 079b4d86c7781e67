"""Is a rollout right? Rules that come with imprint, and functions of the user's own.

A rule gives a reward in [0, 1]; a rollout passes with a reward of 1.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

from imprint.errors import ConfigError, DataError
from imprint.formats.questions import Prompt

Verifier = Callable[[Prompt, str], float]
FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
NUMBER = re.compile(r"[-+]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:\s*/\s*\d[\d,]*)?")
FRACTION = re.compile(r"\\d?frac\{([^{}]+)\}\{([^{}]+)\}")
LONGEST = 64  # characters of a number


def verifier(name: str) -> Verifier:
    """Find a rule by its name.

    Args:
        name: ``exact``, ``math``, ``regex`` or ``package.module:function``. A function is called
            with the prompt's row and the completion, and gives a number in [0, 1] or a truth value.

    Raises:
        ConfigError: the function cannot be imported or called.
    """
    known: dict[str, Verifier] = {"exact": exact, "math": mathematics, "regex": regex}
    return known[name] if name in known else _own(name)


def exact(prompt: Prompt, completion: str) -> float:
    """Equal to an answer; case, white space around and between words, and a last full stop aside.

    >>> exact(Prompt("1", "q", (), ("New York",)), " new  york. ")
    1.0
    """
    said = _plain(completion)
    return float(any(said == _plain(answer) for answer in prompt.answers))


def mathematics(prompt: Prompt, completion: str) -> float:
    r"""The final answer equals the reference's; numbers are compared as exact fractions.

    The final answer is what stands in the last ``\\boxed{}``, else behind the last ``####``, else
    behind ``answer is``, else the last number.

    >>> mathematics(Prompt("1", "q", (), ("so 9 * 2\n#### 18",)), "That is $18.00 in all.")
    1.0
    """
    said = _value(final_answer(completion))
    return float(any(said and said == _value(final_answer(a)) for a in prompt.answers))


def regex(prompt: Prompt, completion: str) -> float:
    """An answer, read as a regular expression, is found in the completion.

    Raises:
        DataError: an answer is no regular expression.
    """
    for answer in prompt.answers:
        try:
            if re.search(answer, completion):
                return 1.0
        except re.error as broken:
            raise DataError(
                f"the answer {answer!r:.80} is no regular expression: {broken}",
                where=f"line {prompt.line} of the prompts",
            ) from broken
    return 0.0


def final_answer(text: str) -> str:
    """Find the final answer in a solution.

    >>> final_answer(r"so \\boxed{\\frac{1}{2}}"), final_answer("it costs 3 or 4 dollars")
    ('\\\\frac{1}{2}', '4')
    """
    boxed = _boxed(text)
    if boxed is not None:
        return boxed
    if "####" in text:
        return text.rpartition("####")[2].strip()
    behind = re.split(r"answer is:?", text, flags=re.IGNORECASE)
    found: list[str] = NUMBER.findall(behind[-1]) or NUMBER.findall(text)
    if len(behind) > 1 and NUMBER.findall(behind[-1]):
        return found[0]
    return found[-1] if found else text.strip()


def _boxed(text: str) -> str | None:
    at = text.rfind("\\boxed{")
    if at < 0:
        return None
    depth, begin = 0, at + len("\\boxed{")
    for place in range(begin - 1, len(text)):
        depth += (text[place] == "{") - (text[place] == "}")
        if depth == 0:
            return text[begin:place].strip()
    return None


def _value(text: str) -> Fraction | str:
    """Read an answer as a number where it is one, else as a text without blanks."""
    plain = FRACTION.sub(r"\1/\2", text.replace("\\$", "").replace("\\%", ""))
    plain = re.sub(r"[\s$%€£]|\\left|\\right|\\,|\\!", "", plain).rstrip(".").strip("{}")
    digits = re.sub(r"(?<=\d),(?=\d{3})", "", plain)
    if len(digits) <= LONGEST and re.fullmatch(r"[-+]?(\d+(\.\d*)?|\.\d+)(/\d+)?", digits):
        top, _, bottom = digits.partition("/")
        if not bottom or int(bottom):
            return Fraction(top) / (Fraction(bottom) if bottom else 1)
    return plain.casefold()


def _plain(text: str) -> str:
    return " ".join(text.split()).removesuffix(".").strip().casefold()


def _own(name: str) -> Verifier:
    function = _imported(name)

    def verify(prompt: Prompt, completion: str) -> float:
        try:
            found = function(dict(prompt.row), completion)
        except Exception as failed:
            raise ConfigError(
                f"{name} failed: {type(failed).__name__}: {failed}",
                where=f"line {prompt.line} of the prompts",
            ) from failed
        return _reward(found, name)

    return verify


def _imported(name: str) -> Callable[[dict[str, Any], str], Any]:
    if not FUNCTION.fullmatch(name):
        raise ConfigError(f"--verify {name!r} is not of the form package.module:function")
    module, _, path = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except Exception as failed:
        raise ConfigError(f"--verify {name} cannot be imported: {failed}") from failed
    if not callable(found):
        raise ConfigError(f"--verify {name} is no function")
    called: Callable[[dict[str, Any], str], Any] = found
    return called


def _reward(found: Any, name: str) -> float:
    if isinstance(found, bool | int | float) and 0 <= found <= 1:
        return float(found)
    raise ConfigError(f"{name} gave {found!r:.60}, not a number from 0 to 1")
