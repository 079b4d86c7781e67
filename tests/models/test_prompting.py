from __future__ import annotations

from pathlib import Path

import pytest

from imprint.errors import ConfigError
from imprint.models import Prompting, prompter
from models_support import letters_tokenizer
from tests_support import HOSTILE

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
SHOTS = [("one?", "two"), ("three?", "four")]


def tuned(template: str = TEMPLATE):
    tokenizer = letters_tokenizer()
    tokenizer.chat_template = template
    return tokenizer


def test_without_a_template_examples_are_paragraphs() -> None:
    made = prompter(Prompting(system_prompt="Be brief.", num_fewshot=2))
    assert made.context("five?", SHOTS) == "Be brief.\n\none? two\n\nthree? four\n\nfive?"
    assert made.context("five?") == "Be brief.\n\nfive?"
    assert made.delimiter == " "
    assert made.columns == {
        "chat_template": "none",
        "system_prompt": "Be brief.",
        "num_fewshot": 2,
    }


def test_with_the_tokenizers_template_examples_are_turns() -> None:
    made = prompter(Prompting("auto", "Be brief.", 2), tuned())
    text = made.context("five?", SHOTS)
    assert text == (
        "<s>[system]Be brief.[user]one?[assistant]two[user]three?[assistant]four"
        "[user]five?[assistant]"
    )
    assert made.delimiter == ""
    tokenizer = tuned()
    turns = [{"role": "user", "content": "five?"}]
    expected = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert prompter(Prompting("auto"), tokenizer).context("five?") == expected


def test_a_template_file_needs_no_tokenizer(tmp_path: Path) -> None:
    file = tmp_path / "chat.jinja"
    file.write_text(TEMPLATE)
    made = prompter(Prompting(str(file)))
    assert made.context("five?") == "[user]five?[assistant]"
    same = prompter(Prompting("auto"), tuned())
    name, own = made.columns["chat_template"], same.columns["chat_template"]
    assert isinstance(name, str)
    assert name.startswith("chat.jinja:")
    assert str(own).removeprefix("auto:") == name.removeprefix("chat.jinja:")


@pytest.mark.parametrize("tokenizer", [None, letters_tokenizer()])
def test_auto_without_a_template_is_refused(tokenizer) -> None:
    with pytest.raises(ConfigError, match="brings no chat template"):
        prompter(Prompting("auto"), tokenizer)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        prompter(Prompting(str(tmp_path / "absent.jinja")))
    (tmp_path / "bytes.jinja").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        prompter(Prompting(str(tmp_path / "bytes.jinja")))
    with pytest.raises(ConfigError, match="below 0"):
        Prompting(num_fewshot=-1)


@pytest.mark.parametrize(
    "template",
    ["{{ raise_exception('no system') }}", "{% for %}", "{{ messages[9]['content'] + 1 }}"],
)
def test_a_template_that_fails_is_said(template: str) -> None:
    with pytest.raises(ConfigError, match="cannot render"):
        prompter(Prompting("auto", "system"), tuned(template)).context("five?")


def test_a_template_reaches_no_python() -> None:
    attack = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
    with pytest.raises(ConfigError, match="cannot render"):
        prompter(Prompting("auto"), tuned(attack)).context("five?")


def test_contents_are_never_run_as_a_template() -> None:
    made = prompter(Prompting("auto"), tuned())
    for text in ("{{ 7 * 7 }}", *HOSTILE):
        assert text in made.context(text)
