from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from models_support import tiny

pytest.importorskip("lm_eval", reason="lm-eval is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # those of lm-eval and what it loads
STORIES = "models/stories260K"
LETTERS = {"A": 0, "B": 1, "C": 2, "D": 3}


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))


def rows(shared: Path, name: str, count: int) -> list[dict[str, Any]]:
    with gzip.open(shared / "multiple_choice" / "olmo_hf_jsonl" / name, "rt") as lines:
        return [json.loads(line) for _, line in zip(range(count), lines, strict=False)]


def task(folder: Path, name: str, items: list[dict[str, Any]], **settings: Any) -> None:
    """Write a local task whose first rows are its few-shot examples."""
    for split, part in (("shots", items[:4]), ("test", items[4:])):
        text = "".join(json.dumps(item) + "\n" for item in part)
        (folder / f"{name}_{split}.jsonl").write_text(text)
    files = {split: str(folder / f"{name}_{split}.jsonl") for split in ("shots", "test")}
    common = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": files},
        "test_split": "test",
        "fewshot_split": "shots",
        "fewshot_config": {"sampler": "first_n"},
        "metadata": {"version": 1.0},
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump({**common, **settings}))


def choice(metrics: tuple[str, ...] = ("acc", "acc_norm"), **settings: Any) -> dict[str, Any]:
    listed = [{"metric": m, "aggregation": "mean", "higher_is_better": True} for m in metrics]
    return {"output_type": "multiple_choice", "metric_list": listed, **settings}


@pytest.fixture
def tasks(tmp_path: Path, shared: Path) -> Path:
    arc = [
        {
            "question": row["question"],
            "choices": row["choices"]["text"],
            "gold": LETTERS[row["answerKey"]],
        }
        for row in rows(shared, "ai2_arc_ARC-Challenge.validation.jsonl.gz", 60)
        if row["answerKey"] in LETTERS
    ][:16]
    task(
        tmp_path,
        "my_arc",
        arc,
        **choice(
            ("acc", "acc_norm", "acc_mutual_info"),
            doc_to_text="Question: {{question}}\nAnswer:",
            doc_to_choice="{{choices}}",
            doc_to_target="gold",
        ),
    )
    task(
        tmp_path,
        "my_mmlu",
        rows(shared, "mmlu_all.jsonl.gz", 16),
        **choice(
            doc_to_text="{{question}}\nA. {{choices[0]}}\nB. {{choices[1]}}\nC. {{choices[2]}}\n"
            "D. {{choices[3]}}\nAnswer:",
            doc_to_choice=["A", "B", "C", "D"],
            doc_to_target="answer",
        ),
    )
    task(
        tmp_path,
        "my_boolq",
        rows(shared, "boolq.validation.jsonl.gz", 14),
        **choice(
            doc_to_text="{{passage}}\nQuestion: {{question}}?\nAnswer:",
            doc_to_choice=["no", "yes"],
            doc_to_target="{{answer|int}}",
        ),
    )
    return tmp_path


def evaluated(backend: str, model: Path | str, folder: Path, names: list[str], **how: Any) -> Any:
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    from imprint.integrations.lm_eval import ImprintLM

    made = {"hf": HFLM, "imprint": ImprintLM}[backend]
    lm = made(pretrained=str(model), device="cpu", dtype="float32", batch_size=8)
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    found = simple_evaluate(
        model=lm, tasks=names, task_manager=manager, bootstrap_iters=0, verbosity="ERROR", **how
    )
    assert found is not None
    return found


def check_equal(theirs: Any, mine: Any, atol: float = 1e-4) -> None:
    """Log-likelihoods within tolerance; greedy flags, generations and accuracies equal."""
    for name, metrics in theirs["results"].items():
        for key, value in metrics.items():
            if key.startswith(("acc", "exact")):
                assert mine["results"][name][key] == value
            elif isinstance(value, float):
                assert mine["results"][name][key] == pytest.approx(value, rel=1e-4)
        for one, other in zip(theirs["samples"][name], mine["samples"][name], strict=True):
            assert one["prompt_hash"] == other["prompt_hash"]
            for (answer,), (mirror,) in zip(one["resps"], other["resps"], strict=True):
                if isinstance(answer, tuple | list):
                    assert float(mirror[0]) == pytest.approx(float(answer[0]), abs=atol)
                    assert str(mirror[1]) == str(answer[1])
                elif isinstance(answer, float):
                    assert mirror == pytest.approx(answer, rel=1e-5)
                else:
                    assert mirror == answer


@pytest.mark.shared
@pytest.mark.parametrize("shots", [0, 2])
def test_answers_are_those_of_hf(tasks: Path, shared: Path, shots: int, caplog) -> None:
    names = ["my_arc", "my_mmlu", "my_boolq"]
    both = [
        evaluated(backend, shared / STORIES, tasks, names, num_fewshot=shots)
        for backend in ("hf", "imprint")
    ]
    check_equal(*both)
    if shots == 2:  # passages of BoolQ do not fit into 512 positions
        said = [r.getMessage() for r in caplog.records if r.name == "imprint.integrations.lm_eval"]
        assert len(said) == 1
        assert "were longer than 512 tokens and cut from the left" in said[0]


@pytest.mark.shared
def test_other_kinds_of_requests(tmp_path: Path, shared: Path) -> None:
    items = [{"text": text, "end": end} for text, end in [
        ("Once upon a time, there was a little", " girl named Lily."),
        ("One day, a dog", " went to the park."),
        ("She was", " happy."),
        ("The sun", " was hot."),
        ("Tom and his mom", " went to the store to buy some food. " * 40),
        ("The cat said", " hello."),
        ("They played", " with the ball."),
    ]]  # fmt: skip
    mean = {"aggregation": "mean", "higher_is_better": True}
    task(
        tmp_path,
        "my_cloze",
        [item for item in items if len(item["end"]) < 100],
        output_type="loglikelihood",
        doc_to_text="{{text}}",
        doc_to_target="{{end}}",
        metric_list=[{"metric": "acc", **mean}],
    )
    task(
        tmp_path,
        "my_text",
        items,
        output_type="loglikelihood_rolling",
        doc_to_text="",
        doc_to_target="{{text}}{{end}}",
        metric_list=[{"metric": "word_perplexity"}],
    )
    task(
        tmp_path,
        "my_story",
        items[:6],
        output_type="generate_until",
        doc_to_text="{{text}}",
        doc_to_target="{{end}}",
        generation_kwargs={"until": ["."], "max_gen_toks": 8},
        metric_list=[{"metric": "exact_match", **mean}],
    )
    names = ["my_cloze", "my_text", "my_story"]
    check_equal(
        evaluated("hf", shared / STORIES, tmp_path, names),
        evaluated("imprint", shared / STORIES, tmp_path, names),
    )


@pytest.mark.shared
def test_a_chat_template_is_applied_as_hf_applies_it(tmp_path: Path, shared: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(shared / STORIES)
    tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    tokenizer.save_pretrained(tmp_path / "model")
    AutoModelForCausalLM.from_pretrained(shared / STORIES).save_pretrained(tmp_path / "model")
    task(
        tmp_path,
        "my_mc",
        [{"q": f"the {animal} ran to", "o": ["the sea", "a park"], "a": 1} for animal in "abcdefg"],
        **choice(doc_to_text="{{q}}", doc_to_choice="{{o}}", doc_to_target="a"),
    )
    how = {"apply_chat_template": True, "num_fewshot": 1, "system_instruction": "be brief"}
    check_equal(
        evaluated("hf", tmp_path / "model", tmp_path, ["my_mc"], **how),
        evaluated("imprint", tmp_path / "model", tmp_path, ["my_mc"], **how),
    )


def test_finished_answers_are_kept_for_the_cache(tmp_path: Path) -> None:
    from lm_eval.api.instance import Instance
    from lm_eval.api.model import CachingLM

    from imprint.integrations.lm_eval import ImprintLM

    model = tiny(tmp_path / "m")
    requests = [
        Instance("loglikelihood", {}, (context, option), 0)
        for context in ("the cat", "", "a dog ran")
        for option in (" sat", " ran")
    ]
    lm = ImprintLM(pretrained=str(model), device="cpu", max_batch_size=4)
    first = CachingLM(lm, str(tmp_path / "kept.db")).loglikelihood(requests + requests[:1])
    assert first[0] == first[-1]

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("was asked again")

    lm._loglikelihood_tokens = never  # type: ignore[method-assign]
    again = CachingLM(lm, str(tmp_path / "kept.db")).loglikelihood(requests)
    assert [tuple(one) for one in again] == first[:-1]
    rolled = Instance("loglikelihood_rolling", {}, ("the cat sat",), 0)
    ours = ImprintLM(pretrained=str(model), device="cpu").loglikelihood_rolling([rolled])
    assert len(ours) == 1


def test_no_requests_no_answers(tmp_path: Path) -> None:
    from imprint.integrations.lm_eval import ImprintLM

    lm = ImprintLM(pretrained=str(tiny(tmp_path / "m")), device="cpu")
    assert lm.loglikelihood([]) == []
    assert lm.loglikelihood_rolling([]) == []


def test_builtin_backends_stay_known() -> None:
    code = (
        "import imprint.integrations.lm_eval\n"
        "from lm_eval.api.registry import get_model\n"
        "print(get_model('imprint').__name__, get_model('hf').__name__)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["ImprintLM", "HFLM"]


def test_the_wrapper_runs_lm_eval(tmp_path: Path) -> None:
    task(
        tmp_path,
        "my_mc",
        [{"q": f"the {animal} ran", "o": ["far", "on"], "a": 1} for animal in "abcdefg"],
        **choice(doc_to_text="{{q}}", doc_to_choice="{{o}}", doc_to_target="a"),
    )
    model = tiny(tmp_path / "m")
    run = subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "imprint",
                "lm-eval",
                "--tasks",
                "my_mc",
                "--include_path",
                str(tmp_path),
            ),
            *("--model_args", f"pretrained={model},dtype=float32", "--device", "cpu"),
            *("--output_path", str(tmp_path / "out"), "--log_samples"),
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    (results,) = (tmp_path / "out").rglob("results_*.json")
    assert json.loads(results.read_text())["config"]["model"] == "imprint"
