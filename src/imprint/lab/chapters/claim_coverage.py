"""A domain removed from pretraining, then SFT and RL on it: does the capability return?

Two models are pretrained on as many tokens with the same seed, one on whole corpora, one on corpora
without the domain's documents. Both learn the form of questions from the other domains, long enough
to answer some; then either is fine-tuned, or reinforced, on the domain. What is left of the gap
between the two is the outcome. Each seed takes another domain.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from imprint.configuration import build
from imprint.errors import ConfigError
from imprint.lab.chapters.asked import Item, of_rows, read_rows, split, take
from imprint.lab.chapters.chapter import Agreement, Material
from imprint.lab.chapters.contrast import NOTHING, Contrast, contrast, draw, listed
from imprint.lab.chapters.data import HELD, HELD_SHARE, LONGEST
from imprint.lab.chapters.part import Part, stance_of
from imprint.lab.chapters.trials import MODEL, READY, Start, Trial, Trials
from imprint.lab.identity import identity
from imprint.lab.unit import Work
from imprint.report import Section

FEWEST = 8  # questions of a domain to train on, and to hold out
ROWS = 960
KEPT = {"whole": 1.0, "thinned": 0.1, "without": 0.0}  # share of the domain's documents
STEPS = ("asked", "sft", "rl")
NAMED = {"asked": "before", "sft": "after SFT on it", "rl": "after RL on it"}


@dataclass(frozen=True)
class Run:
    """One domain and seed: how far each pretraining came after each step."""

    domain: str
    seed: int
    trials: Mapping[tuple[str, str], Trial]  # pretraining, step

    def pair(self, kept: str, step: str) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Scores of whole pretraining and of the other, on the domain."""
        return self.trials["whole", step].scores(), self.trials[kept, step].scores()


def part(trials: Trials) -> Part:
    """Write this part of the chapter."""
    material = trials.material
    questions = _questions(material)
    domains = _domains(material, questions)
    if not domains or material.tokenizer is None or not material.pretraining:
        lacks = "corpora with a domain of which there are questions too, and a tokenizer"
        return Part(missing=[f"A domain is not removed: it takes {lacks}."])
    runs = [
        _run(trials, questions, domains[seed % len(domains)], seed)
        for seed in range(material.budget.seeds)
    ]
    return _told(runs)


def build_corpus(
    source: Path, tokenizer: Path, domain: str, share: float, seed: int, out: Path
) -> None:
    """Encode a corpus of which only a share of one domain's documents is left."""
    from imprint.lab.corpora import encode_corpus

    thinned = out / "corpus.jsonl"
    kept = thin(source, domain, share, seed)
    thinned.write_text("".join(kept), encoding="utf-8")
    encode_corpus(thinned, tokenizer, out / "tokens")
    thinned.unlink()


def thin(source: Path, domain: str, share: float, seed: int) -> Iterator[str]:
    """Give the lines of a corpus; of a domain's documents only so large a share, evenly spaced."""
    seen = seed
    with source.open(encoding="utf-8") as lines:
        for line in lines:
            if json.loads(line).get("domain") == domain:
                seen += 1
                if int(seen * share) == int((seen - 1) * share):
                    continue
            yield line


def build_model(
    settings: Mapping[str, Any], sources: Mapping[str, Path], tokenizer: Path, out: Path
) -> None:
    """Pretrain one model."""
    from imprint.lab.pretraining import Mixture, Optimiser, PretrainRun, Shape, pretrain

    run = PretrainRun(MODEL, Mixture("mixture", settings["shares"]), settings["seed"], out / MODEL)
    pretrain(
        [run],
        sources,
        build(Shape, dict(settings["shape"])),
        build(Optimiser, dict(settings["optimiser"])),
        tokenizer=tokenizer,
        engine=settings["engine"],
        dtype=settings["dtype"],
        device=settings["device"] or "cpu",
    )


def _questions(material: Material) -> dict[str, list[Item]]:
    paths = [path for path in (material.domains, material.sft) if path is not None]
    rows = (row for path in paths for row in read_rows(path))
    found: dict[str, list[Item]] = {}
    for item in of_rows(rows, longest=LONGEST):
        found.setdefault(item.domain, []).append(item)
    return {name: items for name, items in found.items() if len(items) >= 2 * FEWEST}


def _domains(material: Material, questions: Mapping[str, Any]) -> list[str]:
    """List domains of both, those with most documents first; none that fills half a corpus."""
    counts: Counter[str] = Counter()
    for source in _sources(material).values():
        with source.open(encoding="utf-8") as lines:
            counts.update(str(json.loads(line).get("domain")) for line in lines)
    half = counts.total() / 2
    ranked = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    return [name for name, count in ranked if name in questions and count < half]


def _sources(material: Material) -> dict[str, Path]:
    """Take the corpora of the mixture that is pretrained."""
    shares = _mixture(material)
    found = {name: material.corpora[name] for name in shares if name in material.corpora}
    return {n: p for n, p in found.items() if p.is_file() and p.suffix == ".jsonl"}


def _mixture(material: Material) -> dict[str, float]:
    """Take the middle mixture of the smallest scale."""
    scale: Any = next(iter(material.pretraining.values()), None)
    listed = list(scale["mixtures"].values()) if scale else []
    return {n: s for n, s in listed[len(listed) // 2].items() if s > 0} if listed else {}


def _run(trials: Trials, questions: Mapping[str, list[Item]], domain: str, seed: int) -> Run:
    material = trials.material
    material.report(f"claims: pretraining without the domain {domain}")
    train, held = split(questions[domain], max(HELD_SHARE, 0.4), material.seed)
    others = [item for name, items in questions.items() if name != domain for item in items]
    sets = {
        "form": take(others, ROWS, material.seed),
        "domain": take(train, ROWS, material.seed),
        "held": take(held, HELD, material.seed),
    }
    unit = trials.items(f"coverage-items-{seed}", sets)
    kinds = ["whole", *(["thinned"] if material.budget.seeds > 1 else []), "without"]
    bases = {kind: _base(trials, domain, kind, seed) for kind in kinds}
    material.ledger.run([work for _, works in bases.values() for work in works])
    first = {
        kind: _train(trials, "sft", f"{kind} asked", seed, start, (unit, "form"), unit,
                     keep=True, steps=READY * material.budget.steps)
        for kind, (start, _) in bases.items()
    }  # fmt: skip
    trials.run(list(first.values()))
    then = {
        (kind, step): _train(trials, step, f"{kind} {step}", seed,
                             Start(str(trial.model), (trial.work,)), (unit, "domain"), unit)
        for kind, trial in first.items()
        for step in ("sft", "rl")
    }  # fmt: skip
    trials.run(list(then.values()))
    return Run(domain, seed, {**{(k, "asked"): t for k, t in first.items()}, **then})


def _train(
    trials: Trials, kind: str, arm: str, seed: int, start: Start, rows: Any, unit: Any,
    **more: Any,
) -> Trial:  # fmt: skip
    labels = {"arm": arm, "seed": seed}
    train = trials.sft if kind == "sft" else trials.rl
    return train(labels, start, rows, [(unit, "held")], **more)


def _of_grid(trials: Trials, seed: int) -> Start | None:
    """Find the study's own model on whole corpora, which would come out the same."""
    material = trials.material
    name, scale = next(iter(material.pretraining.items()))
    units: list[str] = list(scale["mixtures"])  # type: ignore[index]
    unit = units[len(units) // 2]
    for row in material.models("pretrained", name):
        start = trials.start(row)
        made = isinstance(start.identity, list) and str(start.identity[0]).startswith("pretrain-")
        if made and row["unit"] == unit and row.get("replicate") == str(seed):
            return start
    return None


def _base(trials: Trials, domain: str, kind: str, seed: int) -> tuple[Start, list[Work]]:
    """Describe the corpora and the model of one pretraining."""
    material = trials.material
    known = _of_grid(trials, seed) if kind == "whole" else None
    if known is not None:
        return known, []
    scale: Any = next(iter(material.pretraining.values()))
    shares, sources = _mixture(material), _sources(material)
    if set(shares) - set(sources):
        lost = ", ".join(sorted(set(shares) - set(sources)))
        raise ConfigError(
            f"a domain can be thinned in JSON lines only, and {lost} is none",
            remedy="write the corpus as JSON lines with a column domain.",
        )
    tokens = {n: _tokens(trials, n, path, domain, KEPT[kind]) for n, path in sources.items()}
    settings = {
        "shares": shares,
        "seed": material.seed + 1000 * seed,
        **{name: scale[name] for name in ("shape", "optimiser", "engine", "dtype", "device")},
    }
    assert material.tokenizer is not None  # noqa: S101
    build_one = partial(
        build_model,
        settings,
        {name: work.path / "tokens" for name, work in tokens.items()},
        material.tokenizer,
    )
    name = f"{trials.word}-pretrain-{kind}-{seed}"
    work = material.ledger.work(
        name,
        settings,
        list(tokens.values()),
        build_one,
        code=("imprint.lab.pretraining",),
        weight=20.0,
        resumable=True,
    )
    return Start(str(work.path / MODEL), (work,)), [*tokens.values(), work]


def _tokens(trials: Trials, name: str, path: Path, domain: str, share: float) -> Work:
    material = trials.material
    assert material.tokenizer is not None  # noqa: S101
    told = "all" if share == 1 else domain
    settings = {
        "source": identity(path),
        "tokenizer": identity(material.tokenizer),
        "domain": told,
        "share": share,
    }
    safe = "".join(c if c.isalnum() else "_" for c in name)
    return material.ledger.work(
        f"{trials.word}-tokens-{safe}",
        settings,
        [],
        partial(build_corpus, path, material.tokenizer, told, share, material.seed),
        code=("imprint.lab.corpora",),
        weight=3.0,
    )


def gap(runs: Sequence[Run], step: str, kept: str = "without") -> Contrast:
    """Give what the missing domain costs after a step."""
    pairs = [run.pair(kept, step) for run in runs if (kept, step) in run.trials]
    return contrast(pairs) if pairs else NOTHING


def returned(runs: Sequence[Run], step: str) -> Contrast:
    """Give by how much the gap is smaller after a step than before it, item by item."""
    pairs = []
    for run in runs:
        before, after = (_difference(*run.pair("without", name)) for name in ("asked", step))
        pairs.append((before, after))
    return contrast(pairs)


def _difference(whole: pl.DataFrame, without: pl.DataFrame) -> pl.DataFrame:
    other = without.select("item", other="probability")
    return whole.join(other, on="item", maintain_order="left").with_columns(
        probability=pl.col("probability") - pl.col("other")
    )


def _told(runs: Sequence[Run]) -> Part:
    gaps = {step: gap(runs, step) for step in STEPS}
    domains = ", ".join(dict.fromkeys(run.domain for run in runs))
    said = ", ".join(f"{found.points} {NAMED[step]}" for step, found in gaps.items())
    first = gaps["asked"]
    frame = _table(runs)
    section = Section(
        "A domain removed from pretraining",
        "How much better a model answers that saw the domain in pretraining, on as many tokens: "
        "before it is trained on the domain, after SFT on it, after RL on it.",
    )
    names = pl.format("{}, {}", "pretraining", "step").alias("label")
    shown = frame.select(names, pl.col("gap").alias("estimate"), "low", "high", "state")
    draw(section, shown, "What the missing documents cost; at 0 the capability is back.")
    listed(section, frame, "Whole pretraining less pretraining without (or with a tenth of) it.")
    return Part(
        said=f"A domain removed ({domains}): the model that saw it in pretraining is ahead on its "
        f"questions by {said} ({first.each}, {first.items} items).",
        states=[returned(runs, "sft").state, returned(runs, "rl").state],
        sections=[section],
        tables={"claims_coverage": frame},
        agreement=_agreements(runs),
    )


def _table(runs: Sequence[Run]) -> pl.DataFrame:
    rows = []
    for kept in ("thinned", "without"):
        for step in STEPS:
            found = gap(runs, step, kept)
            if not found.trainings:
                continue
            pairs = [run.pair(kept, step) for run in runs]
            means = [
                pl.concat([pair[side] for pair in pairs])["probability"].mean() for side in (0, 1)
            ]
            rows.append({"pretraining": kept, "step": NAMED[step], "whole": means[0],
                         "less": means[1], "gap": found.estimate, "low": found.low,
                         "high": found.high, "trainings": found.trainings, "items": found.items,
                         "state": found.state})  # fmt: skip
    frame = pl.DataFrame(rows, infer_schema_length=None)
    return frame.with_columns(pl.col("gap", "low", "high").fill_nan(None))


def _agreements(runs: Sequence[Run]) -> list[Agreement]:
    by_sft, by_rl = returned(runs, "sft"), returned(runs, "rl")
    return [
        Agreement(
            "Supervised examples repair what pretraining did not cover.",
            "In theory, for a linear model: a larger starting error, which supervision repairs "
            "(arXiv 2603.01293, a short argument).",
            _change(by_sft),
            stance_of(by_sft.state),
        ),
        Agreement(
            "Outcome rewards do less where pretraining did not cover what they ask for.",
            "In theory, for a linear model, missing directions block outcome supervision (arXiv "
            "2603.01293); outcome RL needs enough mass on simple cases and fails as it vanishes "
            "(arXiv 2601.15158).",
            f"{_change(by_rl)}; left is {gap(runs, 'rl').points}",
            stance_of(by_rl.state, agrees="does_not_hold"),
        ),
    ]


def _change(shrinks: Contrast) -> str:
    if shrinks.estimate < 0:
        return f"the gap grows by {shrinks.turned.words}"
    return f"the gap shrinks by {shrinks.words}"
