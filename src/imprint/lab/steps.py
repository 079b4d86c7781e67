"""What builds the units of the grid: each fills a folder from settings and other units' folders."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from imprint.configuration import build
from imprint.runs import dump_json, write_atomic

MODEL = "model"  # folder of the checkpoint within the unit of a training
TEXTS = 20_000  # documents that the tokenizer is trained on at most


def build_world(settings: Mapping[str, Any], out: Path) -> None:
    """Write the built-in world."""
    from imprint.lab.world import WorldConfig, write_world

    write_world(build(WorldConfig, dict(settings)), out)


def build_tokenizer(
    corpora: Sequence[Path | str], given: str | None, vocabulary: int, column: str, out: Path
) -> None:
    """Train a tokenizer on the corpora in turn, or copy a given one."""
    from imprint.lab.tokenizer import copy_tokenizer, train_tokenizer

    if given is not None:
        copy_tokenizer(given, out / "tokenizer")
        return
    train_tokenizer(_in_turn(corpora, column), vocabulary, out / "tokenizer")


def build_tokens(source: Path | str, tokenizer: Path, column: str, out: Path) -> None:
    """Encode a corpus."""
    from imprint.lab.corpora import encode_corpus

    encode_corpus(source, tokenizer / "tokenizer", out, column=column)


def build_pretraining(
    settings: Mapping[str, Any], sources: Mapping[str, Path], tokenizer: Path, out: Path
) -> None:
    """Train one model, in this process or by several that share each batch."""
    if settings["processes"] > 1:
        from imprint.lab.launching import launch

        launch(settings, sources, tokenizer, out)
    else:
        train_one(settings, sources, tokenizer, out)


def train_one(
    settings: Mapping[str, Any], sources: Mapping[str, Path], tokenizer: Path, out: Path
) -> None:
    """Train one model in this process, alone or as one of several."""
    from imprint.lab.pretraining import Mixture, Optimiser, PretrainRun, Shape, pretrain

    mixture = Mixture("mixture", settings["shares"])
    shape = build(Shape, dict(settings["shape"]))
    words = max(
        json.loads((path / "about.json").read_text())["vocabulary"] for path in sources.values()
    )
    pretrain(
        [PretrainRun(MODEL, mixture, settings["seed"], out / MODEL)],
        sources,
        shape.with_vocabulary(max(shape.vocabulary, words)),
        build(Optimiser, dict(settings["optimiser"])),
        tokenizer=tokenizer,
        engine=settings["engine"],
        device=settings["device"],
        dtype=settings["dtype"],
    )


def build_sft(
    settings: Mapping[str, Any], base: Path | str, data: Path, report_to: Sequence[str], out: Path
) -> None:
    """Fine-tune one checkpoint."""
    from imprint.lab.sft import SftSettings, sft

    rows = read_jsonl(data)
    wanted = settings.get("rows")
    if wanted is not None:
        rows = drawn(rows, int(wanted), int(settings["training"]["seed"]))
    how = build(SftSettings, {**settings["training"], "report_to": list(report_to)})
    _events(sft(base, rows, out / MODEL, how), out)


def build_rl(
    settings: Mapping[str, Any], base: Path | str, data: Path, report_to: Sequence[str], out: Path
) -> None:
    """Reinforce one checkpoint."""
    from imprint.lab.rl import RlSettings, rl

    how = build(RlSettings, {**settings["training"], "report_to": list(report_to)})
    _events(rl(base, read_jsonl(data), out / MODEL, how, reward=settings["reward"]), out)


def build_evaluation(
    settings: Mapping[str, Any],
    benchmarks: Sequence[str],
    folder: Path | None,
    models: Sequence[Mapping[str, Any]],
    out: Path,
) -> None:
    """Score every benchmark for some checkpoints; writes the tables of an evaluation."""
    from imprint.evaluation import EvaluateConfig, evaluate

    asked = sorted(str(path) for path in folder.glob("*.jsonl")) if folder else list(benchmarks)
    table = out / "models.csv"
    pl.DataFrame(list(models), infer_schema_length=None).write_csv(table)
    config = build(EvaluateConfig, {**settings, "benchmarks": asked, "quiet": True})
    found = evaluate([], config, models_table=table)
    for name in ("items", "scores", "benchmarks", "calibration"):
        found.tables[name].write_parquet(out / f"{name}.parquet")


def build_transfer(settings: Mapping[str, Any], items: Sequence[Path], out: Path) -> None:
    """Relate scores before and after."""
    from imprint.lab.relating import relate

    relate(settings, items, out)


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read rows of JSON lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def write_jsonl(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as JSON lines."""
    write_atomic(path, "".join(dump_json(row, indent=None) + "\n" for row in rows))


def drawn(rows: list[dict[str, Any]], count: int, seed: int) -> list[dict[str, Any]]:
    """Draw so many rows, in their order."""
    import numpy as np

    order = np.random.default_rng([seed, 7]).permutation(len(rows))[:count]
    return [rows[place] for place in sorted(order.tolist())]


def _events(metrics: Mapping[str, Any], out: Path) -> None:
    """Leave the curve of a training where TensorBoard looks, whether it is installed or not."""
    from imprint.lab.pretraining.events import Events

    events = Events(out / "tensorboard")
    for entry in metrics["losses"]:
        numbers = {f"train/{k}": v for k, v in entry.items() if k != "step" and v is not None}
        events.add(int(entry["step"]), numbers)
    events.close()


def _in_turn(corpora: Sequence[Path | str], column: str) -> Iterator[str]:
    """Take documents from each corpus in turn, so that none rules the vocabulary."""
    from imprint.lab.corpora import read_documents

    streams = [iter(read_documents(source, column)) for source in corpora]
    taken = 0
    while streams and taken < TEXTS:
        for stream in list(streams):
            text = next(stream, None)
            if text is None:
                streams.remove(stream)
                continue
            taken += 1
            yield text
