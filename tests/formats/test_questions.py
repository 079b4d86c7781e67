"""Questions of several layouts, and what is refused in them."""

from __future__ import annotations

import gzip
import hashlib
import json
import zipfile
from pathlib import Path

import pytest

from imprint.errors import ConfigError, DataError
from imprint.formats.questions import layouts, read_benchmark, read_prompts, row_hash
from imprint.formats.questions.reading import benchmark_name

OWN = {"question": "Two and two?", "choices": ["four", "five"], "answer": 0}


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def one(path: Path, *rows: object, **options: object) -> object:
    return read_benchmark(write(path, *rows), **options).questions[0]  # type: ignore[arg-type]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "sums.jsonl"


def test_an_own_row_becomes_a_question(file: Path) -> None:
    question = one(file, OWN)
    assert question.context == "Question: Two and two?\nAnswer:"
    assert question.options == ("four", "five")
    assert question.golds == (0,)
    assert question.item == row_hash(OWN)


def test_letters_are_listed_and_scored(file: Path) -> None:
    question = one(file, OWN, style="letter")
    assert question.context == "Question: Two and two?\nA. four\nB. five\nAnswer:"
    assert question.options == ("A", "B")


@pytest.mark.parametrize(
    ("answer", "golds"),
    [(1, (1,)), (True, (1,)), ("B", (1,)), ("four", (0,)), ([0, "five"], (0, 1)), (1.0, (1,))],
)
def test_the_right_option_is_an_index_a_letter_or_a_text(
    file: Path, answer: object, golds: tuple[int, ...]
) -> None:
    assert one(file, {**OWN, "answer": answer}).golds == golds


@pytest.mark.parametrize("answer", [2, -1, "1", "six", None, [], 0.5])
def test_an_answer_outside_the_options_is_refused_with_its_line(file: Path, answer: object) -> None:
    with pytest.raises(DataError, match=r"none of the 2 options") as refused:
        one(file, OWN, {**OWN, "answer": answer})
    assert refused.value.where == f"{file}, line 2"


@pytest.mark.parametrize("choices", [[], ["four"], None, "four", ["four", " "]])
def test_rows_without_options_are_refused(file: Path, choices: object) -> None:
    with pytest.raises(DataError, match=r"option"):
        one(file, {**OWN, "choices": choices})


def test_labels_are_matched_and_not_counted(file: Path) -> None:
    choices = {"text": ["x", "y"], "label": ["1", "2"]}
    question = one(file, {"question": "q", "choices": choices, "answerKey": "2"})
    assert question.golds == (1,)


def test_a_repeated_row_gets_a_number(file: Path) -> None:
    write(file, OWN, OWN)
    first, second = read_benchmark(file).questions
    assert second.item == f"{first.item}#2"


def test_broken_files_are_told_with_their_line(file: Path) -> None:
    file.write_bytes(json.dumps(OWN).encode() + b'\n{"question": "caf\xe9"}\n')
    with pytest.raises(DataError, match=r"line 2: not UTF-8: byte 0xe9"):
        read_benchmark(file)
    file.write_bytes(b"")
    with pytest.raises(DataError, match="empty"):
        read_benchmark(file)
    file.write_text("{'question': 1}\n")
    with pytest.raises(DataError, match="line 1: not valid JSON"):
        read_benchmark(file)
    with pytest.raises(DataError, match="No such file"):
        read_benchmark(file.with_name("absent.jsonl"))
    cut = file.with_name("cut.jsonl.gz")
    cut.write_bytes(gzip.compress(json.dumps(OWN).encode())[:-9])
    with pytest.raises(DataError, match="unpacked"):
        read_benchmark(cut)


def test_fields_are_mapped_and_unknown_ones_told(file: Path) -> None:
    row = {"q": "Two and two?", "choices": ["four", "five"], "gold": 0}
    question = one(file, row, rename={"question": "q", "answer": "gold"})
    assert question.options == ("four", "five")
    with pytest.raises(ConfigError, match="fit no layout"):
        one(file, row)
    with pytest.raises(DataError, match=r"no field 'gould'.*did you mean 'gold'"):
        one(file, row, rename={"answer": "gould"})


def test_a_row_that_lacks_a_field_is_told(file: Path) -> None:
    with pytest.raises(DataError, match=r"line 2: .*'question' is undefined"):
        one(file, OWN, {"choices": ["a", "b"], "answer": 0})


def test_a_layout_of_ones_own(tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", {"text": "Sky", "a": "blue", "b": "green", "right": "second"})
    described = tmp_path / "colours.yaml"
    described.write_text(
        "path: rows.jsonl\n"
        "layout:\n"
        "  context: '{{ text }} is'\n"
        "  choices: ['{{ a }}', '{{ b }}']\n"
        "  labels: [first, second]\n"
        "  gold: right\n"
    )
    found = read_benchmark(described)
    assert found.name == "colours"
    assert found.questions[0].context == "Sky is"
    assert found.questions[0].golds == (1,)


def test_a_layout_that_says_too_little_is_refused(tmp_path: Path) -> None:
    described = tmp_path / "x.yaml"
    described.write_text("path: rows.jsonl\nlayout:\n  context: a\n")
    with pytest.raises(ConfigError, match="'gold' is missing"):
        read_benchmark(described)
    described.write_text("path: rows.jsonl\nlayout: ark\n")
    with pytest.raises(ConfigError, match="did you mean 'arc'"):
        read_benchmark(described)


@pytest.mark.parametrize("name", ["../x", "a/b", ".x", "a\nb", ""])
def test_names_that_are_paths_are_refused(tmp_path: Path, name: str) -> None:
    write(tmp_path / "rows.jsonl", OWN)
    described = tmp_path / "x.yaml"
    described.write_text(f"path: rows.jsonl\nname: {json.dumps(name)}\n")
    with pytest.raises(ConfigError, match="cannot name a benchmark"):
        read_benchmark(described)


def test_templates_run_in_a_sandbox(tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", OWN)
    described = tmp_path / "x.yaml"
    described.write_text(
        "path: rows.jsonl\nlayout:\n  choices: choices\n  gold: answer\n"
        "  context: \"{{ ''.__class__.__mro__ }}\"\n"
    )
    with pytest.raises(DataError, match="unsafe"):
        read_benchmark(described)


def test_equal_fields_are_told_apart_by_file_name(tmp_path: Path) -> None:
    row = {"sentence1": "a", "sentence2": "b", "label": 1}
    assert read_benchmark(write(tmp_path / "glue_rte.jsonl", row)).layout == "rte"
    with pytest.raises(ConfigError, match="fit the layouts mrpc, rte"):
        read_benchmark(write(tmp_path / "pairs.jsonl", row))


def test_blanks_give_contexts_that_vary(file: Path) -> None:
    row = {"sentence": "Ann thanked Bo as _ helped.", "option1": "Ann", "option2": "Bo"}
    question = one(file, {**row, "answer": "2"})
    assert question.contexts == ("Ann thanked Bo as Ann", "Ann thanked Bo as Bo")
    assert question.options == ("helped.", "helped.")
    assert question.measured == question.contexts
    assert question.golds == (1,)


def test_names_leave_out_splits() -> None:
    assert benchmark_name(Path("a/boolq.validation.jsonl.gz")) == "boolq"


def test_every_layout_is_whole() -> None:
    for name, layout in layouts().items():
        assert layout.fields, name
        assert bool(layout.gold) == bool(layout.choices or layout.contexts), name


@pytest.mark.parametrize(
    ("name", "layout", "items"),
    [
        ("ai2_arc_ARC-Challenge.validation", "arc", 299),
        ("ai2_arc_ARC-Easy.validation", "arc", 570),
        ("allenai_basic_arithmetic.validation", "arc", 3000),
        ("boolq.validation", "boolq", 3270),
        ("glue_mrpc.validation", "mrpc", 408),
        ("glue_rte.validation", "rte", 277),
        ("glue_sst2.validation", "sst2", 872),
        ("mmlu_all", "mmlu", 14042),
        ("openbookqa_main.validation", "openbookqa", 500),
        ("piqa_plain_text.validation", "piqa", 1838),
        ("sciq.validation", "sciq", 1000),
        ("social_i_qa.validation", "social_iqa", 1954),
        ("super_glue_cb.validation", "cb", 56),
        ("super_glue_copa.validation", "copa", 100),
        ("tau_commonsense_qa.validation", "commonsense_qa", 1221),
        ("winogrande_winogrande_xl.validation", "winogrande", 1267),
    ],
)
@pytest.mark.shared
def test_public_files_are_read(shared: Path, name: str, layout: str, items: int) -> None:
    found = read_benchmark(shared / "multiple_choice" / "olmo_hf_jsonl" / f"{name}.jsonl.gz")
    assert (found.layout, len(found.questions)) == (layout, items)
    assert all(q.golds and max(q.golds) < len(q.options) for q in found.questions)
    assert len({q.item for q in found.questions}) == items


@pytest.mark.shared
def test_minimal_pairs_are_read_once_unpacked(shared: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(shared / "multiple_choice" / "blimp" / "BLiMP.zip") as packed:
        packed.extract("data/causative.jsonl", tmp_path)
    found = read_benchmark(tmp_path / "data" / "causative.jsonl")
    assert (found.layout, len(found.questions), found.delimiter) == ("blimp", 1000, "")
    assert found.questions[0].context == ""
    assert found.questions[0].subset == "causative"


@pytest.mark.shared
def test_mmlu_brings_its_own_examples(shared: Path) -> None:
    found = read_benchmark(shared / "multiple_choice" / "olmo_hf_jsonl" / "mmlu_all.jsonl.gz")
    assert len(found.shots) == 285
    assert found.questions[0].subset == "abstract_algebra"
    assert found.questions[0].options == ("A", "B", "C", "D")


@pytest.mark.shared
def test_open_questions_are_refused_for_choices_and_serve_as_prompts(shared: Path) -> None:
    path = shared / "multiple_choice" / "olmo_hf_jsonl" / "nq_open.validation.jsonl.gz"
    with pytest.raises(ConfigError, match=r"no options(.|\n)*--prompts"):
        read_benchmark(path)
    prompts = read_prompts(path)
    assert len(prompts) == 3610
    assert prompts[0].open
    assert prompts[0].answers == ("14 December 1972 UTC", "December 1972")


def test_prompts_are_texts_messages_or_questions(file: Path) -> None:
    write(
        file,
        {"id": 7, "prompt": "2+2=", "answer": 4, "domain": "sums"},
        {"prompt": [{"role": "user", "content": "hi"}], "answers": ["ho"]},
        {"question": "who?", "answer": "me"},
    )
    plain, chat, asked = read_prompts(file)
    assert (plain.item, plain.text, plain.answers, plain.domain) == ("7", "2+2=", ("4",), "sums")
    assert chat.messages[0]["content"] == "hi"
    assert (asked.text, asked.open) == ("Question: who?\nAnswer:", True)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"answer": "x"}, "no prompt"),
        ({"prompt": " ", "answer": "x"}, "no prompt"),
        ({"prompt": "x"}, "no answer"),
        ({"prompt": "x", "answer": ""}, "no answer"),
        ({"prompt": "x", "answer": [None]}, "no answer"),
        ({"prompt": [{"role": "user"}], "answer": "x"}, "without role and content"),
    ],
)
def test_prompts_that_cannot_be_verified_are_refused(
    file: Path, row: dict[str, object], problem: str
) -> None:
    with pytest.raises(DataError, match=problem):
        read_prompts(write(file, row))


def test_two_prompts_of_one_id_are_refused(file: Path) -> None:
    with pytest.raises(DataError, match="line 2: the id 'a' stands twice"):
        read_prompts(write(file, *[{"id": "a", "prompt": "x", "answer": "y"}] * 2))


def test_the_hash_of_a_row_is_that_of_lm_eval() -> None:
    row = {"question": "wäre", "choices": ["a"]}
    text = json.dumps(row, indent=2, ensure_ascii=False)
    assert row_hash(row) == hashlib.sha256(text.encode()).hexdigest()
