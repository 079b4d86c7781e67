"""What about the design and the scores limits the conclusions; every finding is counted.

Checks on the scores as read run before panels are built, checks on panels after.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import polars as pl

from imprint.errors import DataError
from imprint.findings import Finding
from imprint.transfer.covariates import size_span
from imprint.transfer.design import Design, Thresholds
from imprint.transfer.panel import Floats, Panel
from imprint.transfer.prepare import side_filter

SATURATED = 0.98
FEWEST_SHARED = 3


def audit_scores(scores: pl.DataFrame, design: Design) -> list[Finding]:
    """Check columns of scores, prompts and copied results of the sides that are compared.

    Raises:
        DataError: within one stage a benchmark was asked with different prompts.
    """
    sides = [side_filter(side) for compare in design.comparisons for side in compare.sides()]
    used = scores.filter(pl.any_horizontal(sides)) if sides else scores
    return [
        *_columns(used, design),
        *_lone_scales(used, design),
        *_several_categories(used),
        *_prompts_within_stage(used, design),
        *_prompts_between_sides(used, design),
        *_copied_results(used, design),
        *_scale_confounds(used),
    ]


def audit_panel(panel: Panel, thresholds: Thresholds) -> list[Finding]:
    """Check what is left of units and benchmarks, their size, clusters and cells."""
    found = list(panel.left_out)
    where = f" (scale {panel.scale})" if panel.scale else ""
    if len(panel.units) < 4:
        detail = (
            f"{len(panel.units)} units have both {panel.before_label!r} and "
            f"{panel.after_label!r}{where}: correlations need four and are undefined"
        )
        found.append(Finding("too_few_units", detail, "warn", len(panel.units)))
    found += _standard_errors(panel, where)
    span = size_span(panel)
    if span > thresholds.size_span and not panel.covariate_names:
        detail = (
            f"models span a factor of {span:.3g} in parameters{where} and no covariate is "
            'declared; add `covariates: ["log(parameters)"]`'
        )
        found.append(Finding("size_not_held", detail, "warn", len(panel.units)))
    return found + _factorial(panel, where) + _clusters(panel, where)


def _standard_errors(panel: Panel, where: str) -> list[Finding]:
    measured = panel.before["accuracy"], panel.after["accuracy"]
    lacking = [
        panel.benchmarks[b]
        for b in panel.members(None)
        if any(np.isnan(m.se[np.isfinite(m.value[:, b]), b]).any() for m in measured)
    ]
    if not lacking:
        return []
    every = len(lacking) == len(panel.members(None))
    which = "no benchmark has" if every else f"{', '.join(lacking[:8])} have no"
    detail = f"{which} standard errors for all scores{where}: reliability cannot be told"
    return [Finding("no_standard_errors", detail, "warn", len(lacking))]


def _columns(scores: pl.DataFrame, design: Design) -> Iterable[Finding]:
    """Check every benchmark at every stage and scale, also those that cannot be paired."""
    used = scores.filter(pl.col("accuracy").is_not_null())
    group = ["benchmark", *_side_columns(design)]
    means = used.group_by([*group, "unit"], maintain_order=True).agg(
        pl.col("accuracy").mean(),
        ((pl.col("accuracy_se") ** 2).mean() / pl.len()).sqrt().alias("se"),
        pl.coalesce("chance", 1 / pl.col("choices")).mean().alias("chance"),
    )
    for key, rows in means.group_by(group, maintain_order=True):
        name, label = str(key[0]), " ".join(str(k) for k in key[1:] if k is not None) or "all"
        known = rows["accuracy"].to_numpy()
        if len(known) < 2:
            continue
        if np.ptp(known) == 0:
            detail = f"{name}: all {len(known)} scores are {known[0]:.4g} at {label}"
            yield Finding("constant_scores", detail, benchmark=name, stage=label)
            continue
        chance = rows["chance"].mean()
        yield from _saturation(name, label, known, np.nan if chance is None else float(chance))  # type: ignore[arg-type]
        se = rows["se"].to_numpy().astype(np.float64)
        noise = float((se**2).mean())
        if np.isfinite(noise) and noise >= known.var(ddof=1):
            detail = (
                f"{name}: scores spread less between units (sd {known.std(ddof=1):.4g}) than their "
                f"standard errors explain ({noise**0.5:.4g}) at {label}"
            )
            yield Finding("spread_below_noise", detail, benchmark=name, stage=label)


def _saturation(name: str, label: str, known: Floats, chance: float) -> Iterable[Finding]:
    if np.median(known) >= SATURATED:
        detail = (
            f"{name}: degenerate, half of the scores are at or above {np.median(known):.4f} at "
            f"{label}; nothing is left to order"
        )
        yield Finding("saturated", detail, benchmark=name, stage=label)
    elif (
        np.isfinite(chance)
        and abs(np.median(known) - chance) <= 0.03
        and (np.mean(np.abs(known - chance) <= 0.05) >= 0.75)
    ):
        detail = (
            f"{name}: flat at chance at {label} (median {np.median(known):.3f}, "
            f"chance {chance:.3f}): an order among guesses predicts nothing"
        )
        yield Finding("flat_at_chance", detail, benchmark=name, stage=label)


def _side_columns(design: Design) -> list[str]:
    """What tells sides apart; a step does only where the design compares steps, since units that
    are checkpoints each have their own."""
    steps = any(side.step is not None for c in design.comparisons for side in c.sides())
    return ["stage", "scale", *(["step"] if steps else [])]


def _prompts_within_stage(scores: pl.DataFrame, design: Design) -> list[Finding]:
    group = ["benchmark", *_side_columns(design)]
    asked = scores.filter(pl.col("prompts").is_not_null())
    mixed = asked.group_by(group, maintain_order=True).agg(
        pl.col("prompts").n_unique(),
        pl.col("template").is_null().any().alias("bare"),
        pl.col("unit").first().alias("one"),
        pl.col("unit")
        .filter(pl.col("prompts") != pl.col("prompts").first())
        .first()
        .alias("other"),
    )
    mixed = mixed.filter(pl.col("prompts") > 1)
    for row in mixed.filter(pl.col("bare")).iter_rows(named=True):
        raise DataError(
            f"units {row['one']!r} and {row['other']!r} were asked different prompts for "
            f"{row['benchmark']!r} within stage {row['stage']!r}",
            remedy="evaluate all units of a stage with the same task version, shots and template, "
            "or leave some out by `where:` or `benchmarks: {exclude: …}`.",
        )
    names = mixed["benchmark"].unique().sort().to_list()
    if not names:
        return []
    detail = (
        f"chat templates differ between the units of one stage on {len(names)} benchmarks "
        f"({', '.join(names[:5])}{' …' if len(names) > 5 else ''})"
    )
    return [Finding("templates_differ_within_stage", detail, "warn", len(names))]


def _prompts_between_sides(scores: pl.DataFrame, design: Design) -> list[Finding]:
    found = []
    for compare in design.comparisons:
        before, after = compare.sides()
        for column, what, check in (
            ("prompts", "prompts", "prompts_differ_between_stages"),
            ("template", "chat templates", "templates_differ_between_stages"),
        ):
            sides = [
                scores.filter(side_filter(side))
                .group_by("benchmark")
                .agg(pl.col(column).unique().sort().alias(f"side{k}"))
                for k, side in enumerate((before, after))
            ]
            both = sides[0].join(sides[1], on="benchmark")
            names = [
                name
                for name, a, b in both.select("benchmark", "side0", "side1")
                .sort("benchmark")
                .iter_rows()
                if a != b
            ]
            if names:
                detail = (
                    f"{what} differ between {before.label!r} and {after.label!r} on {len(names)} "
                    f"benchmarks ({', '.join(names[:5])}{' …' if len(names) > 5 else ''}): a "
                    "change of score may come from the prompt"
                )
                found.append(Finding(check, detail, "warn", len(names)))
    return found


def _lone_scales(scores: pl.DataFrame, design: Design) -> Iterable[Finding]:
    """Find scales that only one side has, and rows that state none where others do."""
    for compare in design.comparisons:
        sides = compare.sides()
        if any(side.scale is not None for side in sides):
            continue
        seen = [set(scores.filter(side_filter(side))["scale"].to_list()) for side in sides]
        lone = (seen[0] ^ seen[1]) | ({None} & (seen[0] | seen[1]))
        if lone and seen[0] | seen[1] != {None}:
            named = ", ".join(sorted("rows without a scale" if s is None else s for s in lone))
            told = f"{len(lone)} scales lack {sides[0].label!r} or {sides[1].label!r}"
            detail = f"{told} and were left out: {named}"
            yield Finding("missing_stage_scale", detail, "warn", len(lone))


def _several_categories(scores: pl.DataFrame) -> Iterable[Finding]:
    seen = scores.group_by("benchmark", maintain_order=True).agg(
        pl.col("category").drop_nulls().unique(maintain_order=True)
    )
    for name, categories in seen.filter(pl.col("category").list.len() > 1).iter_rows():
        listed = ", ".join(map(repr, categories[:4])) + (" …" if len(categories) > 4 else "")
        detail = f"{name} is in {len(categories)} categories: {listed}; the first one counts"
        yield Finding("several_categories", detail, "warn", len(categories), benchmark=name)


def _copied_results(scores: pl.DataFrame, design: Design) -> list[Finding]:
    """Two units that agree to the last digit in every score were hardly measured apart."""
    found = []
    score = pl.coalesce("accuracy", "value").alias("score")
    group = _side_columns(design)
    for key, rows in scores.group_by(group, maintain_order=True):
        columns = rows.with_columns(
            score, column=pl.concat_str("benchmark", "metric", separator=" ", ignore_nulls=True)
        ).pivot(on="column", index="unit", values="score", aggregate_function="mean")
        values = columns.drop("unit").to_numpy().astype(np.float64)
        units = columns["unit"].to_list()
        side = " ".join(str(k) for k in key if k is not None) or "the only stage"
        for i, j, shared in _copies(values):
            detail = (
                f"{units[i]!r} and {units[j]!r} agree in all {shared} scores at {side}: "
                "copied results?"
            )
            found.append(Finding("copied_results", detail, "warn", 2, unit=str(units[i])))
    return found


def _copies(values: Floats) -> Iterable[tuple[int, int, int]]:
    """Find the rows of [M, B] that repeat an earlier one, each once: both, and the shared cells."""
    copies: set[int] = set()
    for i in range(len(values) - 1):
        later = values[i + 1 :]
        shared = np.isfinite(values[i]) & np.isfinite(later)
        same = (~shared | (later == values[i])).all(axis=1) & (shared.sum(axis=1) >= FEWEST_SHARED)
        for k in np.flatnonzero(same):
            j = i + 1 + int(k)
            if j not in copies:
                copies.add(j)
                yield i, j, int(shared[k].sum())


def _scale_confounds(scores: pl.DataFrame) -> list[Finding]:
    words = scale_confounds(scores)
    if words is None:
        return []
    return [Finding("scale_confounded", f"between scales there also differ: {words}", "warn")]


def scale_confounds(scores: pl.DataFrame) -> str | None:
    """Name the columns, other than size, that differ between scales (budget, settings)."""
    if scores["scale"].drop_nulls().n_unique() < 2:
        return None
    settings = (
        "tokens",
        "training_tokens",
        "epochs",
        "learning_rate",
        "batch_size",
        "optimizer",
        "step",
        "shots",
    )
    named = []
    for column in settings:
        if column not in scores.columns:
            continue
        per = scores.group_by("scale").agg(pl.col(column).drop_nulls().unique().sort())
        if per[column].n_unique() > 1:
            named.append(column)
    return ", ".join(named) or None


def _factorial(panel: Panel, where: str) -> list[Finding]:
    if not panel.factors:
        return []
    found = []
    names = list(panel.factors)
    levels = [dict.fromkeys(v) for v in panel.factors.values()]
    cells = list(zip(*panel.factors.values(), strict=True))
    expected = int(np.prod([len(level) for level in levels]))
    if len(set(cells)) < expected:
        missing = expected - len(set(cells))
        detail = f"{missing} of {expected} cells of {' × '.join(names)} have no unit{where}"
        found.append(Finding("missing_cells", detail, "warn", missing))
    per = len(panel.units) / max(len(set(cells)), 1)
    detail = f"{' × '.join(names)}: {expected} cells, {per:.3g} units per cell{where}"
    found.append(Finding("factorial_design", detail, "info", expected))
    if panel.collinear:
        detail = (
            f"{panel.share_name} moves with {', '.join(panel.collinear)}{where}: its effect is the "
            "effect of the whole axis"
        )
        found.append(Finding("collinear_shares", detail, "warn", len(panel.collinear)))
    return found


def _clusters(panel: Panel, where: str) -> list[Finding]:
    if panel.clusters is None:
        return []
    sizes = np.bincount(panel.groups)
    detail = (
        f"{len(panel.units)} units in {len(sizes)} clusters, the largest of {sizes.max()}{where}"
    )
    level = "warn" if len(sizes) < 10 else "info"
    return [Finding("clusters", detail, level, len(sizes))]  # type: ignore[arg-type]


def audit_table(findings: Iterable[Finding]) -> pl.DataFrame:
    """Table ``design_audit``, warnings first."""
    order = {"error": 0, "warn": 1, "info": 2}
    rows = [
        (f.check, f.level, f.detail, f.count, f.benchmark, f.unit, f.stage)
        for f in sorted(dict.fromkeys(findings), key=lambda f: (order[f.level], f.check))
    ]
    schema = {
        "check": pl.String,
        "level": pl.String,
        "detail": pl.String,
        "count": pl.Int64,
        "benchmark": pl.String,
        "unit": pl.String,
        "stage": pl.String,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")
