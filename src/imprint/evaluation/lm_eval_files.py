"""Results and samples as lm-eval 0.4.13 writes them, for what reads those.

Our own questions are written under ``acc``, ``acc_norm`` and ``acc_bytes`` (and ``acc_mutual_info``
where the options were scored without their context too). Tasks of lm-eval were written by lm-eval
itself, and are copied.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from imprint.errors import ConfigError
from imprint.evaluation.choices import asked_contexts
from imprint.evaluation.result import EvaluateResult
from imprint.evaluation.study import Asked, Inputs
from imprint.evaluation.subjects import LABELS, Subject
from imprint.formats.choices import Normalisation, confidences
from imprint.formats.questions import Question
from imprint.models import Prompter
from imprint.runs import dump_json, write_atomic

Json = dict[str, Any]
GOLD = "imprint_gold"  # added to a document whose own fields do not hold the index
METRICS: dict[str, Normalisation] = {
    "acc": "sum",
    "acc_norm": "character",
    "acc_bytes": "byte",
    "acc_mutual_info": "unconditional",
}


def refuse_target(folder: Path) -> None:
    """Refuse a folder that cannot be written, before any work.

    Raises:
        ConfigError: it is a file.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise ConfigError("is a file, not a folder", where=str(there))


def write(inputs: Inputs, result: EvaluateResult, folder: Path) -> list[Path]:
    """Write a results file per model, and a samples file per model and benchmark.

    Returns:
        The results files.

    Raises:
        DataError: something cannot be written.
    """
    stamp = datetime.now().isoformat(timespec="microseconds").replace(":", "-")
    written = []
    for subject, prompter in zip(inputs.subjects, result.prompters, strict=True):
        target = folder / sanitised(subject.model)
        if inputs.benchmarks:
            written.append(_own(inputs, result, subject, prompter, target, stamp))
    for file in result.lm_eval_files.iter_rows(named=True):
        path = folder / sanitised(file["model"]) / Path(file["name"]).name
        write_atomic(path, file["content"])
        if path.name.startswith("results_"):
            written.append(path)
    return written


def sanitised(model: str) -> str:
    """Give the folder name that lm-eval makes of a model's name.

    >>> sanitised("org/name@main")
    'org__name@main'
    """
    found = re.sub(r"[\"<>:/\|\\?\*\[\]]+", "__", model)
    return found if found.strip(".") else "model"  # `..` would be a folder above


def _own(
    inputs: Inputs,
    result: EvaluateResult,
    subject: Subject,
    prompter: Prompter,
    target: Path,
    stamp: str,
) -> Path:
    parts: Json = {name: {} for name in ("results", "configs", "versions", "n-shot", "n-samples")}
    hashes: dict[str, str] = {}
    same = [
        pl.col(name).eq_missing(pl.lit(subject.labels.get(name), dtype=result.items.schema[name]))
        for name in LABELS
    ]
    for asked in inputs.benchmarks:
        frame = result.items.filter(pl.col("benchmark") == asked.name, *same)
        shots = inputs.config.num_fewshot or 0
        metrics = _metrics(asked, frame, prompter, shots)
        rows = list(_rows(asked, frame, metrics, prompter, shots))
        text = "".join(dump_json(row, indent=None) + "\n" for row in rows)
        write_atomic(target / f"samples_{asked.name}_{stamp}.jsonl", text)
        parts["results"][asked.name] = _means(asked.name, metrics)
        parts["configs"][asked.name] = _config(asked, metrics, shots)
        parts["versions"][asked.name] = 1.0
        parts["n-shot"][asked.name] = shots
        counts = {"original": len(asked.benchmark.questions), "effective": len(rows)}
        parts["n-samples"][asked.name] = counts
        joined = "".join(r["doc_hash"] + r["prompt_hash"] + r["target_hash"] for r in rows)
        hashes[asked.name] = _sha(joined)
    path = target / f"results_{stamp}.json"
    write_atomic(path, dump_json({**parts, **_about(inputs, subject, prompter), **_ends(hashes)}))
    return path


def _about(inputs: Inputs, subject: Subject, prompter: Prompter) -> Json:
    config = inputs.config
    system = prompter.prompting.system_prompt
    return {
        "group_subtasks": {},
        "higher_is_better": {a.name: dict.fromkeys(METRICS, True) for a in inputs.benchmarks},
        "config": {
            "model": "imprint",
            "model_args": {"pretrained": subject.model},
            "limit": None if config.limit is None else float(config.limit),
            "random_seed": config.seed,
        },
        "lm_eval_version": "0.4.13",
        "model_source": "imprint",
        "model_name": subject.model,
        "model_name_sanitized": sanitised(subject.model),
        "system_instruction": system,
        "system_instruction_sha": None if system is None else _sha(system),
        "fewshot_as_multiturn": None if prompter.template is None else True,
        "chat_template": prompter.template,
        "chat_template_sha": None if prompter.template is None else _sha(prompter.template),
    }


def _ends(hashes: dict[str, str]) -> Json:
    return {"task_hashes": hashes, "date": datetime.now().timestamp()}


def _metrics(
    asked: Asked, frame: pl.DataFrame, prompter: Prompter, shots: int
) -> dict[str, list[float]]:
    """Give whether each item is right under every metric that its columns allow, [items] each.

    Where contexts vary lm-eval divides by the whole context's length, examples and template
    included, and we by the sentence's: only the plain metric is the same then.
    """
    plain = not shots and prompter.template is None and not prompter.prompting.system_prompt
    vary = any(question.contexts for question in asked.items)
    found = {}
    for name, normalisation in METRICS.items():
        if vary and not plain and normalisation != "sum":
            continue
        correct = confidences(frame, normalisation)["correct"]
        if correct.null_count() == 0:
            found[name] = correct.to_list()
    return found


def _rows(
    asked: Asked,
    frame: pl.DataFrame,
    metrics: dict[str, list[float]],
    prompter: Prompter,
    shots: int,
) -> Iterator[Json]:
    delimiter = asked.benchmark.delimiter if prompter.template is None else ""
    scored = frame.select("logprobs", "greedy", "unconditional").iter_rows(named=True)
    for number, (question, one) in enumerate(zip(asked.items, scored, strict=True)):
        contexts = asked_contexts(question, asked.shots, prompter, shots)
        pairs = [
            (contexts[at if question.contexts else 0], delimiter + option)
            for at, option in enumerate(question.options)
        ]
        answers = list(zip(one["logprobs"], one["greedy"], strict=True))
        if "acc_mutual_info" in metrics:
            pairs += [("", option) for _, option in pairs]
            answers += [(value, False) for value in one["unconditional"]]
        yield {
            "doc_id": number,
            **_document(question),
            "arguments": {
                f"gen_args_{at}": {"arg_0": context, "arg_1": option}
                for at, (context, option) in enumerate(pairs)
            },
            "resps": [[[str(value), str(greedy)]] for value, greedy in answers],
            "filtered_resps": [[str(value), str(greedy)] for value, greedy in answers],
            "filter": "none",
            "metrics": list(metrics),
            "doc_hash": question.item.partition("#")[0],
            "prompt_hash": _sha(pairs[0][0]),
            "target_hash": _sha(_target(question)),
            **{name: values[number] for name, values in metrics.items()},
        }


def _document(question: Question) -> Json:
    # where contexts vary the right one is looked up in the document
    beside = {GOLD: question.golds[0]} if question.contexts else {}
    return {"doc": {**question.row, **beside}, "target": _target(question)}


def _target(question: Question) -> str:
    if question.contexts:
        return question.options[0]
    return str(question.golds[0] if len(question.golds) == 1 else list(question.golds))


def _means(name: str, metrics: dict[str, list[float]]) -> Json:
    found: Json = {"name": name, "alias": name}
    for metric, values in metrics.items():
        series = pl.Series(values, dtype=pl.Float64)
        error = series.std()
        known = isinstance(error, float)
        found[f"{metric},none"] = series.mean()
        found[f"{metric}_stderr,none"] = error / len(values) ** 0.5 if known else "N/A"
    found["sample_len"] = max((len(values) for values in metrics.values()), default=0)
    return found


def _config(asked: Asked, metrics: Iterable[str], shots: int) -> Json:
    vary = any(question.contexts for question in asked.items)
    return {
        "task": asked.name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(asked.benchmark.path)}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": GOLD if vary else f"imprint layout {asked.benchmark.layout}",
        "doc_to_target": f"{{{{{GOLD}}}}}",
        "target_delimiter": asked.benchmark.delimiter,
        "fewshot_delimiter": "\n\n",
        "num_fewshot": shots,
        "metric_list": [
            {"metric": m, "aggregation": "mean", "higher_is_better": True} for m in metrics
        ],
        "metadata": {"version": 1.0},
    }


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
