"""The result of a drift measurement: tables, verdicts and the JSON twin of the report."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl

from imprint.drift.means import difference, grouped_means, means
from imprint.drift.on_policy import SEQUENCE, sequences
from imprint.drift.verdicts import headline, judge
from imprint.findings import Finding
from imprint.report import Shown, Verdict

if TYPE_CHECKING:
    from imprint.drift.material import Material

Json = dict[str, Any]
MEASURES = ("kl", "reverse_kl", "js", "top1_same", "delta_logprob", "delta_p", "rank_change")
FIRST = (
    "kl_tuned_base_top10",
    "kl_tuned_base",
    "kl_base_tuned",
    "js",
    "top1_same",
    "tuned_mass_top10",
    "base_mass_top10",
    *(f"kl_tuned_base_top{k}" for k in (1, 5, 50)),
)
NUMBERS = ("mean", "se", "low", "high", "median", "p1", "p5", "p95", "p99", "min", "max")
MOST_MOVED = 3  # a token must have been seen so often to be listed


@dataclass(frozen=True)
class Found:
    """What was measured of one tuned model.

    Attributes:
        name, step: of the tuned model.
        labels: what the models table says of it besides.
        tokens: one row per position of the texts.
        facts: one row per fact, its first token.
        fact_tokens: one row per answer token.
        on_policy: one row per drawn position.
        layers: one row per layer and measure.
    """

    name: str
    step: int | None
    labels: dict[str, Any]
    tokens: pl.DataFrame | None
    facts: pl.DataFrame | None
    fact_tokens: pl.DataFrame | None
    on_policy: pl.DataFrame | None
    layers: pl.DataFrame | None

    @property
    def main(self) -> pl.DataFrame | None:
        """The positions that the headline is about: of texts, else of facts."""
        return self.tokens if self.tokens is not None else self.fact_tokens


@dataclass(repr=False, frozen=True)
class DriftResult(Shown):
    """How far next-token distributions moved, and on what.

    Attributes:
        tables: ``summary`` and ``findings``; with texts ``drift`` (one row per position),
            ``texts``, ``domains``, ``token_types``; with facts ``facts``, ``levels``,
            ``relations``; ``on_policy``, ``on_policy_sequences`` and ``on_policy_summary``,
            ``layers``, ``null``, ``accuracy`` where they were asked for.
        headline: the verdict in a few sentences.
        verdicts: the claims, each with its state.
        findings: what was noticed.
        data: the content of ``result.json``.
        notes: settings for the method section.
    """

    pages: ClassVar[str] = "imprint.drift.report"

    tables: dict[str, pl.DataFrame]
    headline: str
    verdicts: list[Verdict]
    findings: list[Finding]
    data: Json
    notes: Json = field(default_factory=dict)


def assemble(
    material: Material,
    found: Sequence[Found],
    nulls: Sequence[Json],
    findings: list[Finding],
) -> DriftResult:
    """Make tables, verdicts and JSON of what was measured."""
    tables: dict[str, pl.DataFrame] = {}
    for make in (_main_tables, _fact_tables, _on_policy_tables, _layer_table):
        tables |= make(material, found)
    labels = _label_table(found)
    for name in {"summary", "levels"} & set(tables) if labels.width > 1 else ():
        joined = tables[name].join(labels, on="tuned", how="left", maintain_order="left")
        first = ["tuned", "step", *labels.columns[1:]]
        tables[name] = joined.select(*first, pl.exclude(first))
    if nulls:
        tables["null"] = _null_table(material, found[-1], nulls)
    if material.accuracy is not None:
        tables["accuracy"] = _with_drift(material.accuracy, tables)
    tables["findings"] = pl.DataFrame(
        [{"level": f.level, "check": f.check, "detail": f.detail} for f in findings],
        schema={"level": pl.String, "check": pl.String, "detail": pl.String},
    )
    verdicts = judge(tables, found, material.config)
    words = headline(tables, [one.name for one in found])
    data = _json(material, found, tables, words, findings)
    notes = {"config": material.config, "labels": labels.columns[1:]}
    return DriftResult(tables, words, verdicts, findings, data, notes)


def labelled(tokens: pl.DataFrame) -> pl.DataFrame:
    """Add what follows from log-probabilities and ranks of the observed token."""
    return tokens.with_columns(
        delta_logprob=pl.col("tuned_logprob") - pl.col("base_logprob"),
        delta_p=pl.col("tuned_logprob").exp() - pl.col("base_logprob").exp(),
        rank_change=pl.col("tuned_rank") - pl.col("base_rank"),
    )


def token_texts(tokenizer: Any, ids: Sequence[int]) -> dict[int, str]:
    """Give each token as it stands within a text, its blank in front kept."""
    anchor = next(reversed(tokenizer("a", add_special_tokens=False)["input_ids"]), None)
    before = "" if anchor is None else tokenizer.decode([anchor])
    found = {}
    for token in dict.fromkeys(ids):
        whole = tokenizer.decode([token] if anchor is None else [anchor, token])
        text = whole[len(before) :] if whole.startswith(before) else tokenizer.decode([token])
        found[token] = text or str(tokenizer.convert_ids_to_tokens(token))
    return found


def _spread(material: Material) -> Json:
    return {"resamples": material.config.resamples, "seed": material.config.seed}


def _main_tables(material: Material, found: Sequence[Found]) -> dict[str, pl.DataFrame]:
    parts = [_named(one, labelled(one.main)) for one in found if one.main is not None]
    if not parts:
        return {}
    tokens = pl.concat(parts)
    texts = token_texts(material.tokenizer, tokens["token_id"].to_list())
    known = material.samples or [
        fact.sample(material.config.fact_prompts) for fact in material.facts
    ]
    about = pl.DataFrame(
        {
            "sample": range(len(known)),
            "text": [sample.name for sample in known],
            "domain": [sample.domain for sample in known],
        },
        schema={"sample": pl.Int64, "text": pl.String, "domain": pl.String},
    )
    tokens = tokens.join(about, on="sample", how="left", maintain_order="left").with_columns(
        token=pl.col("token_id").replace_strict(texts, return_dtype=pl.String)
    )
    first = ["tuned", "step", "text", "domain", "position", "token", "token_id"]
    tokens = tokens.select(*first, pl.exclude(*first))
    tables = {
        "summary": grouped_means(tokens, ["tuned", "step"], MEASURES, **_spread(material)),
        "drift": tokens,
        "texts": _texts(tokens),
        "token_types": _token_types(tokens),
    }
    if tokens["domain"].n_unique() > 1:
        by = ["tuned", "step", "domain"]
        tables["domains"] = grouped_means(tokens, by, MEASURES[:5], **_spread(material))
    return tables


def _named(one: Found, frame: pl.DataFrame) -> pl.DataFrame:
    step = pl.lit(one.step, dtype=pl.Int64).alias("step")
    return frame.select(pl.lit(one.name).alias("tuned"), step, pl.all())


def _label_table(found: Sequence[Found]) -> pl.DataFrame:
    """Give the labels that any tuned model has, beside its name."""
    rows = [{"tuned": one.name, **one.labels} for one in found]
    frame = pl.DataFrame(rows, infer_schema_length=None)
    return frame.select(c for c in frame.columns if frame[c].null_count() < len(frame))


def _texts(tokens: pl.DataFrame) -> pl.DataFrame:
    return tokens.group_by("tuned", "step", "text", "domain", maintain_order=True).agg(
        pl.len().cast(pl.Int64).alias("tokens"),
        *(pl.col(name).cast(pl.Float64).mean() for name in MEASURES),
        pl.col("kl").max().alias("kl_max"),
        pl.col("token").str.join("").str.slice(0, 200).alias("excerpt"),
    )


def _token_types(tokens: pl.DataFrame) -> pl.DataFrame:
    return (
        tokens.group_by("tuned", "step", "token", "token_id", maintain_order=True)
        .agg(
            pl.len().cast(pl.Int64).alias("count"),
            *(pl.col(name).cast(pl.Float64).mean() for name in MEASURES[:6]),
        )
        .filter(pl.col("count") >= MOST_MOVED)
        .sort("kl", descending=True, maintain_order=True)
    )


def _fact_tables(material: Material, found: Sequence[Found]) -> dict[str, pl.DataFrame]:
    parts = [_named(one, one.facts) for one in found if one.facts is not None]
    if not parts:
        return {}
    facts = pl.concat(parts).rename({"reverse_kl": "kl_tuned_base", "kl": "kl_base_tuned"})
    kept, known = facts.filter("near"), [name for name in FIRST if name in facts.columns]
    spread = _spread(material)
    return {
        "facts": facts.drop("sample"),
        "levels": grouped_means(kept, ["tuned", "step", "level"], known, **spread),
        "relations": grouped_means(kept, ["tuned", "step", "relation"], known, **spread),
    }


def _on_policy_tables(material: Material, found: Sequence[Found]) -> dict[str, pl.DataFrame]:
    parts = [_named(one, one.on_policy) for one in found if one.on_policy is not None]
    if not parts:
        return {}
    tokens = pl.concat(parts)
    texts = token_texts(material.tokenizer, tokens["token_id"].to_list())
    tokens = tokens.with_columns(
        token=pl.col("token_id").replace_strict(texts, return_dtype=pl.String)
    )
    whole = pl.concat(
        [_named(one, sequences(one.on_policy)) for one in found if one.on_policy is not None]
    )
    options = {"cluster": "prompt", **_spread(material)}
    each = [
        grouped_means(frame, ["tuned", "step"], SEQUENCE, **options).with_columns(
            pl.lit(per).alias("per")
        )
        for per, frame in (("token", tokens), ("sequence", whole))
    ]
    return {
        "on_policy": tokens,
        "on_policy_sequences": whole,
        "on_policy_summary": pl.concat(each).rename({"tokens": "count", "texts": "prompts"}),
    }


def _layer_table(_: Material, found: Sequence[Found]) -> dict[str, pl.DataFrame]:
    parts = [_named(one, one.layers) for one in found if one.layers is not None]
    return {"layers": pl.concat(parts)} if parts else {}


def _null_table(material: Material, last: Found, nulls: Sequence[Json]) -> pl.DataFrame:
    """Tell the random controls beside the tuned model and the base against itself."""
    spread, rows = _spread(material), []
    if last.main is None:
        return pl.DataFrame()
    for null in nulls:
        own = means(null["tokens"], ["kl"], **spread).row(0, named=True)
        gap, low, high = difference(last.main, null["tokens"], "kl", **spread)
        rows.append(
            {
                "tuned": last.name,
                "control": f"shuffled change {null['draw'] + 1}",
                "change_norm": null["norm"],
                "reached_norm": null["reached"],
                **{f"kl_{name}": own[name] for name in ("mean", "se", "low", "high")},
                "excess": gap,
                "excess_low": low,
                "excess_high": high,
            }
        )
    return pl.DataFrame(rows, infer_schema_length=None)


def _with_drift(accuracy: pl.DataFrame, tables: dict[str, pl.DataFrame]) -> pl.DataFrame:
    if "summary" not in tables:
        return accuracy
    drifts = tables["summary"].filter(pl.col("measure") == "kl").select("tuned", kl="mean")
    return accuracy.join(drifts, on="tuned", how="left", maintain_order="left")


def _json(
    material: Material,
    found: Sequence[Found],
    tables: dict[str, pl.DataFrame],
    words: str,
    findings: Sequence[Finding],
) -> Json:
    entries = [_entry(one, tables) for one in found]
    config = material.config
    return {
        "job": "drift",
        "format": 1,
        "imprint": importlib.metadata.version("imprint"),
        "headline": words,
        "base": str(material.models.base.reference),
        "direction": "kl: base‖tuned; reverse_kl: tuned‖base",
        "unit": "nats",
        "positions": config.positions,
        "prompts": [prompter.columns for prompter in material.prompters],
        "seed": config.seed,
        **entries[-1],
        "all_tuned": entries,
        "null": tables["null"].drop("tuned").to_dicts() if "null" in tables else [],
        "accuracy": tables["accuracy"].to_dicts() if "accuracy" in tables else [],
        "findings": [{"level": f.level, "check": f.check, "detail": f.detail} for f in findings],
    }


def _entry(one: Found, tables: dict[str, pl.DataFrame]) -> Json:
    own = {k: t.filter(pl.col("tuned") == one.name) for k, t in tables.items() if "tuned" in t}
    main = one.main
    told = _by_measure(own["summary"]) if "summary" in own else {}
    entry: Json = {
        "tuned": one.name,
        "step": one.step,
        "labels": one.labels,
        "tokens": 0 if main is None else len(main),
        "texts": 0 if main is None else main["sample"].n_unique(),
        **{name: told.get(name) for name in ("kl", "reverse_kl", "js")},
        "same_top1": told.get("top1_same"),
        "delta_logprob": told.get("delta_logprob"),
        "delta_p": told.get("delta_p"),
        "delta_p_rms": None if main is None else _rms(labelled(main)["delta_p"]),
        "ln_ppl_ratio": -told["delta_logprob"]["mean"] if told else None,
        "domains": _by_group(own.get("domains"), "domain"),
        "levels": _by_group(own.get("levels"), "level"),
        "relations": _by_group(own.get("relations"), "relation"),
        "first_token_top10": _first_token(own),
        "on_policy": _on_policy(own.get("on_policy_summary")),
        "layers": _layers(own.get("layers")),
    }
    return entry


def _by_measure(frame: pl.DataFrame) -> dict[str, Json]:
    return {row["measure"]: {n: row[n] for n in NUMBERS} for row in frame.iter_rows(named=True)}


def _by_group(frame: pl.DataFrame | None, by: str) -> list[Json]:
    if frame is None:
        return []
    found = []
    for (key,), rows in frame.group_by(by, maintain_order=True):
        counts = rows.row(0, named=True)
        told = {m: {n: v[n] for n in NUMBERS[:4]} for m, v in _by_measure(rows).items()}
        found.append({by: key, "tokens": counts["tokens"], "texts": counts["texts"], **told})
    return found


def _first_token(own: dict[str, pl.DataFrame]) -> Json | None:
    """Give the published measure, on the facts of the highest level there is."""
    levels = own.get("levels")
    if levels is None:
        return None
    rows = levels.filter(pl.col("measure") == "kl_tuned_base_top10")
    if rows.is_empty():
        return None
    best = rows.sort("level").row(-1, named=True)
    return {
        "direction": "tuned‖base",
        "level": best["level"],
        "facts": best["tokens"],
        **{name: best[name] for name in NUMBERS},
    }


def _on_policy(frame: pl.DataFrame | None) -> list[Json]:
    names = ("per", "measure", "count", "prompts", *NUMBERS[:4])
    return [] if frame is None else frame.select(names).to_dicts()


def _layers(frame: pl.DataFrame | None) -> list[Json]:
    names = ("layer", "measure", "mean", "se", "low", "high", "null")
    return [] if frame is None else frame.select(names).to_dicts()


def _rms(values: pl.Series) -> float:
    return float(np.sqrt(np.mean(np.square(values.to_numpy()))))
