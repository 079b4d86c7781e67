"""The result of a comparison: tables, the verdict in words, and the JSON twin of the report."""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import polars as pl

from imprint.findings import Finding
from imprint.report import Shown, Verdict
from imprint.restoration.concentration import Counted, Tally
from imprint.restoration.config import DiffConfig
from imprint.restoration.diff_verdict import judge, named, words
from imprint.restoration.histogram import Histogram
from imprint.restoration.nulls import gaussian_absolute, gaussian_relative
from imprint.restoration.selection import place_of
from imprint.restoration.sites import Group
from imprint.restoration.spectrum_tables import spectrum_json, spectrum_table, spectrum_words

Json = dict[str, Any]


@dataclass(frozen=True)
class Study:
    """Everything that was counted.

    Attributes:
        names, steps: of the tuned checkpoints.
        groups: of tensors, by layer and module.
        total: counts of all groups together.
        config: how it was counted.
        rounded: of each tuned checkpoint the shares of absolute change that rounded normal noise
            gives, one per ratio; ``None`` where weights are not rounded to 16 bits.
        float8: of each tuned checkpoint, whether float8 weights lie in the region.
        spectrum: rows of `imprint.restoration.spectrum.spectrum_rows`, where asked for.
    """

    names: tuple[str, ...]
    steps: tuple[int | None, ...]
    groups: tuple[Group, ...]
    total: Counted
    config: DiffConfig
    rounded: tuple[list[float] | None, ...]
    float8: tuple[bool, ...]
    spectrum: list[Json] | None = None


@dataclass(repr=False, frozen=True)
class DiffResult(Shown):
    """What fine-tuning changed in the weights.

    Attributes:
        tables: ``tuned``, ``concentration``, ``modules``, ``layers``, ``tensors``, ``findings``,
            ``cosines`` where there are several tuned checkpoints, and ``spectrum`` where it was
            asked for.
        headline: the verdict in a few sentences.
        verdicts: the claims, each with its state.
        findings: what was noticed.
        data: the content of ``result.json``.
        notes: settings for the method section.
    """

    pages: ClassVar[str] = "imprint.restoration.diff_report"

    tables: dict[str, pl.DataFrame]
    headline: str
    verdicts: list[Verdict]
    findings: list[Finding]
    data: Json
    notes: Json = field(default_factory=dict)


def assemble(study: Study, findings: list[Finding], about: Json) -> DiffResult:
    """Make tables, verdicts and JSON of what was counted."""
    curves = pl.DataFrame(
        [row for number in range(len(study.names)) for row in _curve(study, number)],
        infer_schema_length=None,
    )
    tables = {
        "tuned": pl.DataFrame([_about(study, n) for n in range(len(study.names))]),
        "concentration": curves,
        "modules": _enrichment(study, "module"),
        "layers": _enrichment(study, "layer"),
        "tensors": _tensors(study),
    }
    if len(study.names) > 1:
        tables["cosines"] = pl.DataFrame(list(_cosines(study)))
    if study.spectrum is not None:
        tables["spectrum"] = spectrum_table(study.spectrum, study.names)
    findings = [*findings, *_beyond_changed(study), *_nothing_taken(study)]
    tables["findings"] = pl.DataFrame(
        [{"level": f.level, "check": f.check, "detail": f.detail} for f in findings],
        schema={"level": pl.String, "check": pl.String, "detail": pl.String},
    )
    each = {
        name: judge(curves, name, float8=f)
        for name, f in zip(study.names, study.float8, strict=True)
    }
    verdicts = [named(v, name) if len(each) > 1 else v for name in each for v in each[name]]
    last = study.names[-1]
    headline = " ".join([words(curves, last, each[last]), *spectrum_words(tables, last)])
    data = _json(tables, study, headline, findings, about)
    return DiffResult(tables, headline, verdicts, findings, data, {"config": study.config, **about})


def _about(study: Study, number: int) -> Json:
    tally = study.total.tallies[number]
    parameters = tally.relative.elements
    norm, base_squares = math.sqrt(tally.total("squares")), tally.total("base_squares")
    same, within = (sum(row[k] for row in tally.tensors) for k in ("unchanged", "within"))
    return {
        "tuned": study.names[number],
        "step": study.steps[number],
        "parameters": parameters,
        "unchanged_fraction": same / parameters,
        "within_1e-5_fraction": within / parameters,
        "change_norm": _number(norm),
        "relative_norm": _number(norm / math.sqrt(base_squares) if base_squares else math.nan),
        "base_rms": math.sqrt(base_squares / parameters),
        "gini_relative": _number(tally.relative.gini()),
        "gini_absolute": _number(tally.absolute.gini()),
        "mean_relative": tally.relative.total() / parameters,
        "mean_absolute": tally.absolute.total() / parameters,
    }


def _curve(study: Study, number: int) -> Iterator[Json]:
    tally, config = study.total.tallies[number], study.config
    sigma = math.sqrt(tally.total("base_squares") / tally.relative.elements)
    gaussian = {
        "relative": gaussian_relative(config.top, config.eps, sigma),
        "absolute": gaussian_absolute(config.top),
    }
    for kind, found in (("relative", tally.relative), ("absolute", tally.absolute)):
        for at, ratio in enumerate(config.top):
            draws = [h.share(place_of(ratio, h.elements)) for h in tally.permuted]
            told = draws if kind == "relative" else []
            noise = study.rounded[number] if kind == "absolute" else None
            yield {
                "tuned": study.names[number],
                "by": kind,
                **_point(found, ratio, told, gaussian[kind][at]),
                "null_rounded": noise[at] if noise else None,
            }


def _point(found: Histogram, ratio: float, draws: Sequence[float], gaussian: float) -> Json:
    cut = found.cut(place_of(ratio, found.elements))
    total, squares = found.total(), float(found.weight.sum())
    share = _number(cut.total / total if total else math.nan)
    permuted = _number(float(np.mean(draws))) if draws else None
    null = permuted if draws else _number(gaussian)
    return {
        "top": ratio,
        "share": share,
        "null_permuted": permuted,
        "null_permuted_sd": _number(float(np.std(draws, ddof=1))) if len(draws) > 1 else None,
        "null_gaussian": _number(gaussian),
        "excess": share - null if share is not None and null is not None else None,
        "share_of_squares": _number(cut.weight / squares if squares else math.nan),
        "count": place_of(ratio, found.elements),
        "threshold": _number(cut.value),
        "equal": cut.equal,
    }


def _enrichment(study: Study, by: str) -> pl.DataFrame:
    rows = []
    for number, name in enumerate(study.names):
        taken = _taken(study, number)
        tally = study.total.tallies[number]
        whole = tally.relative.elements
        top = sum(taken)
        sums: dict[Any, list[int]] = {}
        for group, part, count in zip(study.groups, tally.parts, taken, strict=True):
            entry = sums.setdefault(getattr(group, by), [0, 0])
            entry[0] += part.parameters
            entry[1] += count
        for key, (parameters, count) in sums.items():
            if not parameters:
                continue
            share, of_top = parameters / whole, count / top if top else None
            rows.append(
                {
                    "tuned": name,
                    by: key,
                    "parameters": parameters,
                    "share_of_parameters": share,
                    "share_of_top": of_top,
                    "enrichment": of_top / share if of_top is not None else None,
                }
            )
    return pl.DataFrame(rows, infer_schema_length=None)


def _taken(study: Study, number: int) -> list[int]:
    """Count what each group has in the top; of equal scores the first groups take theirs."""
    tally = study.total.tallies[number]
    found = tally.relative
    k = place_of(study.config.enrichment_at, found.elements)
    if k == 0:
        return [0] * len(study.groups)
    value, coarse = found.cut(k), found.coarse_bin(k)
    left = k - value.before
    counts = []
    for part in tally.parts:
        above, equal = part.profiles[coarse].beyond(value.value)
        take = min(equal, left)
        left -= take
        counts.append(above + take)
    return counts


def _tensors(study: Study) -> pl.DataFrame:
    rows = []
    for name, tally in zip(study.names, study.total.tallies, strict=True):
        whole = _whole(tally)
        for row in tally.tensors:
            n = row["parameters"] or 1
            rows.append(
                {
                    "tuned": name,
                    "tensor": row["tensor"],
                    "parameters": row["parameters"],
                    "unchanged_fraction": row["unchanged"] / n,
                    "within_1e-5_fraction": row["within"] / n,
                    "mean_relative": row["relative"] / n,
                    "mean_absolute": row["absolute"] / n,
                    "share_of_relative": row["relative"] / whole[0] if whole[0] else None,
                    "share_of_squares": row["squares"] / whole[1] if whole[1] else None,
                    "change_norm": _number(math.sqrt(row["squares"])),
                    "relative_norm": math.sqrt(row["squares"] / row["base_squares"])
                    if row["base_squares"]
                    else None,
                }
            )
    return pl.DataFrame(rows, infer_schema_length=None)


def _whole(tally: Tally) -> tuple[float, float]:
    return tally.relative.total(), tally.total("squares")


def _cosines(study: Study) -> Iterator[Json]:
    products = study.total.products
    for i, one in enumerate(study.names):
        for j in range(i + 1, len(study.names)):
            size = math.sqrt(products[i, i] * products[j, j])
            cosine = _number(float(products[i, j]) / size if size else math.nan)
            yield {"tuned": one, "other": study.names[j], "cosine": cosine}


def _beyond_changed(study: Study) -> Iterator[Finding]:
    for name, tally in zip(study.names, study.total.tallies, strict=True):
        parameters = tally.relative.elements
        changed = parameters - sum(int(row["unchanged"]) for row in tally.tensors)
        ratios = [r for r in study.config.top if place_of(r, parameters) > changed]
        if ratios:
            listed = ", ".join(f"{ratio:g}" for ratio in ratios)
            yield Finding(
                "top_beyond_changed",
                f"{name}: only {changed:,} of {parameters:,} weights changed, fewer than the top "
                f"{listed} asks for; the rest of these tops are unchanged weights",
                count=len(ratios),
            )


def _nothing_taken(study: Study) -> Iterator[Finding]:
    parameters = study.total.tallies[0].relative.elements
    ratios = [r for r in study.config.top if place_of(r, parameters) == 0]
    if ratios:
        listed = ", ".join(f"{ratio:g}" for ratio in ratios)
        detail = f"the top {listed} of {parameters:,} weights takes none of them"
        yield Finding("top_takes_nothing", detail, count=len(ratios))


def _json(
    tables: Mapping[str, pl.DataFrame],
    study: Study,
    headline: str,
    findings: Sequence[Finding],
    about: Json,
) -> Json:
    entries = [_entry(tables, name) for name in study.names]
    return {
        "job": "diff",
        "format": 1,
        "imprint": importlib.metadata.version("imprint"),
        "headline": headline,
        "base": about["base"],
        "region": study.config.region,
        "eps": study.config.eps,
        "enrichment_at": study.config.enrichment_at,
        "permutations": study.config.permutations,
        "seed": study.config.seed,
        **entries[-1],
        "all_tuned": entries,
        "cosines": tables["cosines"].to_dicts() if "cosines" in tables else [],
        "findings": [{"level": f.level, "check": f.check, "detail": f.detail} for f in findings],
    }


def _entry(tables: Mapping[str, pl.DataFrame], name: str) -> Json:
    own = {k: t.filter(pl.col("tuned") == name) for k, t in tables.items() if "tuned" in t.columns}
    curves = own["concentration"].drop("tuned")
    return {
        **own["tuned"].to_dicts()[0],
        "concentration": {
            kind: curves.filter(pl.col("by") == kind).drop("by").to_dicts()
            for kind in ("relative", "absolute")
        },
        "modules": own["modules"].drop("tuned").to_dicts(),
        "layers": own["layers"].drop("tuned").to_dicts(),
        "spectrum": spectrum_json(own["spectrum"]) if "spectrum" in own else None,
    }


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
