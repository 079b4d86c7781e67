"""The result of a plan: sets with their controls, tables, verdicts, files and result.json."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import polars as pl

from imprint.findings import Finding
from imprint.planning.adapters import adapted, lines
from imprint.planning.balance import balance
from imprint.planning.config import SIZES, PlanConfig
from imprint.planning.evidence import CONFLICT, EVIDENCE
from imprint.planning.groups import band_share, group_shares
from imprint.planning.pool import Estimated
from imprint.planning.rates import wilson
from imprint.planning.sets import rl_rows, sft_rows, shuffled, with_control
from imprint.planning.sft import Chosen
from imprint.planning.verdicts import judge
from imprint.planning.writing import balance_markdown, pool_rows
from imprint.report import Shown, Verdict
from imprint.runs import Content, dump_json

Json = dict[str, Any]
ESTIMATES = (
    *("pass_rate", "ci_low", "ci_high", "shrunk_rate", "shrunk_low", "shrunk_high", "in_band"),
    *("below_band", "learnability", "weight", "all_fail", "all_pass"),
)
MEASURED = ("row", "domain", "n", "c", "ref_nll", "tokens", "length")
MORE = 32  # rollouts that a prompt near an edge is worth


@dataclass(repr=False, frozen=True)
class PlanResult(Shown):
    """What to train on, and why.

    Attributes:
        tables: ``balance`` (domains), ``rates`` (distinct counts with intervals and shrunk rates),
            ``priors``, ``reasons`` (rows by set and reason), ``sets``, ``domains_of_sets``,
            ``findings``.
        headline: the verdict in a few sentences.
        verdicts: the claims, each with its state.
        findings: what was noticed.
        data: the content of ``result.json``.
        sets: ``sft_hard``, ``sft_random``, ``rl_band``, ``rl_random``: frames as they are written.
        files: further files of the run folder.
        notes: settings for the method section.
    """

    pages: ClassVar[str] = "imprint.planning.report"

    tables: dict[str, pl.DataFrame]
    headline: str
    verdicts: list[Verdict]
    findings: list[Finding]
    data: Json
    sets: dict[str, pl.DataFrame]
    files: dict[str, Content]
    notes: Json = field(default_factory=dict)


def assemble(
    pool: Estimated,
    sft: Chosen,
    rl: Chosen | None,
    read: Sequence[Finding],
    config: PlanConfig,
    hashes: Sequence[Json],
) -> PlanResult:
    """Draw the controls, make tables and verdicts, and prepare the files."""
    findings = [*read, *pool.findings, *sft.findings, *(rl.findings if rl else [])]
    drawn = _rows(pool, sft, rl, config)
    sets = _frames(pool, drawn, rl)
    table = balance(pool, config)
    about = {"sft": _about_sft(pool, sft, drawn, config), "rl": _about_rl(pool, rl, drawn, config)}
    verdicts = judge(about, table, config)
    tables = {
        "balance": table,
        **_rate_tables(pool),
        "reasons": _reasons(sft, rl),
        "sets": _set_table(pool, drawn),
        "domains_of_sets": _domain_table(pool, drawn),
        "findings": pl.DataFrame(
            [{"level": f.level, "check": f.check, "detail": f.detail} for f in findings],
            schema={"level": pl.String, "check": pl.String, "detail": pl.String},
        ),
    }
    data = _json(pool, about, tables, verdicts, config, hashes)
    full = {name: frame for name, frame in sets.items() if len(frame)}
    files = {
        **{f"{name}.jsonl": lines(frame) for name, frame in full.items()},
        **_curve(pool, sft, config),
        **adapted(full, config, hashes),
        "pool.jsonl": lines(pool_rows(pool, sft, rl)),
        "balance.json": dump_json(table.to_dicts()),
        "balance.md": balance_markdown(table, config),
    }
    return PlanResult(tables, data["headline"], verdicts, findings, data, sets, files)


def _rows(
    pool: Estimated, sft: Chosen, rl: Chosen | None, config: PlanConfig
) -> dict[str, pl.Series]:
    found = {
        "sft_hard": sft.rows,
        "sft_random": with_control(pool, sft, seed=[config.seed, 4]),
    }
    if rl is not None:
        found["rl_band"] = shuffled(rl.rows, seed=[config.seed, 6])
        found["rl_random"] = with_control(pool, rl, seed=[config.seed, 5])
    return found


def _frames(
    pool: Estimated, drawn: dict[str, pl.Series], rl: Chosen | None
) -> dict[str, pl.DataFrame]:
    sets = {name: sft_rows(pool, drawn[name]) for name in ("sft_hard", "sft_random")}
    if rl is not None:
        sets["rl_band"] = rl_rows(pool, drawn["rl_band"], rl.reasons)
        sets["rl_random"] = rl_rows(pool, drawn["rl_random"])
    return sets


def _curve(pool: Estimated, sft: Chosen, config: PlanConfig) -> dict[str, Content]:
    """Write nested smaller sets, each with a control of its own size."""
    files: dict[str, Content] = {}
    for size in sorted({size for size in config.sizes if size < len(sft.rows)}):
        part = Chosen(sft.rows.head(size), sft.eligible, sft.reasons, [])
        control = with_control(pool, part, seed=[config.seed, 4, size])
        files[f"sizes/sft_hard-{size}.jsonl"] = lines(sft_rows(pool, part.rows))
        files[f"sizes/sft_random-{size}.jsonl"] = lines(sft_rows(pool, control))
    return files


def _about_sft(
    pool: Estimated, sft: Chosen, drawn: dict[str, pl.Series], config: PlanConfig
) -> Json:
    ours, control = (_taken(pool, drawn[name]) for name in ("sft_hard", "sft_random"))
    return {
        "kind": config.kind,
        "rows": len(ours),
        "asked": config.size or SIZES[config.kind or "skill"],
        "pass_rate": _mean(ours, "shrunk_rate"),
        "control_pass_rate": _mean(control, "shrunk_rate"),
        "length": _mean(ours, "length"),
        "control_length": _mean(control, "length"),
        "length_unit": pool.unit,
        "eligible": len(sft.eligible),
        "domains": ours["domain"].n_unique(),
    }


def _about_rl(
    pool: Estimated, rl: Chosen | None, drawn: dict[str, pl.Series], config: PlanConfig
) -> Json | None:
    if rl is None:
        return None
    ours, control = (_taken(pool, drawn[name]) for name in ("rl_band", "rl_random"))
    parts = dict(rl.reasons["reason"].value_counts().iter_rows())
    inside = _taken(pool, rl.reasons.filter(pl.col("reason") == "in the band")["row"])
    edges = [(pl.col("ci_low") < edge) & (pl.col("ci_high") > edge) for edge in config.band]
    unsure = pool.frame.select("n", "ci_low", "ci_high").filter(
        pl.any_horizontal(edges), pl.col("n") < MORE
    )
    truly = (
        band_share(
            inside, pool.priors, band=config.band, resamples=config.resamples, seed=config.seed
        )
        if len(inside)
        else None
    )
    tokens = _mean(pool.frame, "tokens")
    more = int((MORE - unsure["n"]).sum())
    return {
        "rows": len(ours),
        "band": parts.get("in the band", 0),
        "easy": parts.get("easy tail", 0),
        "hard": parts.get("hard tail", 0),
        "truly_in_band": truly,
        "learnability": _mean(ours, "learnability"),
        "control_learnability": _mean(control, "learnability"),
        "weight": _mean(ours, "weight"),
        "control_weight": _mean(control, "weight"),
        "group_size": config.group_size,
        "groups": _groups(ours, pool, config),
        "control_groups": _groups(control, pool, config),
        "pool_groups": _groups(pool.frame.select("domain", "n", "c"), pool, config),
        "open": len(unsure),
        "more_rollouts": more,
        "more_tokens": None if tokens is None else round(more * tokens),
    }


def _groups(frame: pl.DataFrame, pool: Estimated, config: PlanConfig) -> Json | None:
    if not (frame["n"] > 0).any():
        return None
    found = group_shares(
        frame, pool.priors, group=config.group_size, resamples=config.resamples, seed=config.seed
    )
    return {**found["zero_variance"], "all_fail": found["all_fail"], "all_pass": found["all_pass"]}


def _taken(pool: Estimated, rows: pl.Series) -> pl.DataFrame:
    names = [n for n in (*MEASURED, *ESTIMATES) if n in pool.frame.columns]
    return pool.frame.lazy().select(names).filter(pl.col("row").is_in(rows.implode())).collect()


def _mean(frame: pl.DataFrame, name: str) -> float | None:
    if name not in frame.columns:
        return None
    found = frame[name].mean()
    return float(found) if isinstance(found, float) else None


def _rate_tables(pool: Estimated) -> dict[str, pl.DataFrame]:
    if not pool.rolled:
        return {}
    priors = pl.DataFrame(
        [
            {"domain": p.domain, "a": p.a, "b": p.b, "mean": p.mean, "prompts": p.prompts,
             "fitted": p.fitted}
            for p in pool.priors
        ],
        schema={"domain": pl.String, "a": pl.Float64, "b": pl.Float64, "mean": pl.Float64,
                "prompts": pl.Int64, "fitted": pl.Boolean},
    )  # fmt: skip
    own = pl.Series([p.domain for p in pool.priors[1:]], dtype=pl.String)
    keyed = pool.frame.drop_nulls(["n", "c"]).with_columns(
        prior=pl.when(pl.col("domain").is_in(own.implode())).then("domain")
    )
    rates = keyed.group_by("prior", "n", "c").agg(
        pl.len().cast(pl.Int64).alias("prompts"), pl.col(ESTIMATES).first()
    )
    return {"priors": priors, "rates": rates.sort("prior", "n", "c")}


def _reasons(sft: Chosen, rl: Chosen | None) -> pl.DataFrame:
    parts = [("sft", sft), *([("rl", rl)] if rl else [])]
    found = [
        chosen.reasons.group_by("reason").len("rows").select(pl.lit(name).alias("set"), pl.all())
        for name, chosen in parts
    ]
    return (
        pl.concat(found)
        .cast({"rows": pl.Int64})
        .sort("set", "rows", "reason", descending=[True, True, False])
    )


def _set_table(pool: Estimated, drawn: dict[str, pl.Series]) -> pl.DataFrame:
    rows = []
    for name, chosen in drawn.items():
        frame = _taken(pool, chosen)
        measures = ("pass_rate", "shrunk_rate", "learnability", "ref_nll", "length")
        means = {m: _mean(frame, m) for m in measures}
        total = float(frame["length"].sum())
        rows.append({"set": name, "rows": len(frame), **means, "total_length": total,
                     "domains": frame["domain"].n_unique()})  # fmt: skip
    return pl.DataFrame(rows, infer_schema_length=None)


def _domain_table(pool: Estimated, drawn: dict[str, pl.Series]) -> pl.DataFrame:
    found = pool.frame.group_by("domain").agg(pool=pl.len().cast(pl.Int64))
    for name, chosen in drawn.items():
        counted = _taken(pool, chosen).group_by("domain").agg(pl.len().cast(pl.Int64).alias(name))
        found = found.join(counted, on="domain", how="left")
    return found.fill_null(0).sort("pool", "domain", descending=[True, False])


def _json(
    pool: Estimated,
    about: Json,
    tables: dict[str, pl.DataFrame],
    verdicts: Sequence[Verdict],
    config: PlanConfig,
    hashes: Sequence[Json],
) -> Json:
    n = pool.frame["n"].drop_nulls()
    rolled: Json = {"prompts": len(pool.frame), "rollouts": int(n.sum()) if len(n) else 0}
    if pool.rolled:
        least = int(n.filter(n > 0).min())  # type: ignore[arg-type]
        rolled |= {
            "least": int(n.min()),  # type: ignore[arg-type]
            "most": int(n.max()),  # type: ignore[arg-type]
            "unsolved": int((pool.frame["c"] == 0).sum()),
            "unsolved_up_to": float(wilson([0], [least])[1, 0]),
            "pass_rate": _mean(pool.frame, "pass_rate"),
            "generated_tokens": _generated(pool),
        }
    return {
        "job": "plan",
        "format": 1,
        "imprint": importlib.metadata.version("imprint"),
        "headline": _headline(rolled, about, tables["balance"], config),
        "seed": config.seed,
        "settings": config.settings,
        "pool": rolled,
        **about,
        "priors": tables["priors"].to_dicts() if "priors" in tables else [],
        "balance": tables["balance"].to_dicts(),
        "reasons": tables["reasons"].to_dicts(),
        "sets": tables["sets"].to_dicts(),
        "verdicts": [{"text": v.text, "state": v.state, "detail": v.detail} for v in verdicts],
        "findings": tables["findings"].to_dicts(),
        "evidence": {
            "conflict": list(CONFLICT),
            "published": [
                {"side": e.side, "about": e.about, "source": e.source, "says": e.says}
                for e in EVIDENCE
            ],
        },
        "inputs": list(hashes),
    }


def _generated(pool: Estimated) -> int | None:
    """Give what the rollouts cost: prompts times rollouts times their mean length."""
    spent = pool.frame.select((pl.col("n") * pl.col("tokens")).sum()).item()
    return round(spent) if pool.frame["tokens"].null_count() < len(pool.frame) else None


def _headline(rolled: Json, about: Json, table: pl.DataFrame, config: PlanConfig) -> str:
    sft, rl = about["sft"], about["rl"]
    told = []
    if sft["rows"]:
        asked = f" of {sft['asked']:,} asked for" if sft["rows"] < sft["asked"] else ""
        rate = (
            ""
            if sft["pass_rate"] is None
            else f", mean shrunk pass rate {sft['pass_rate']:.2f} against "
            f"{sft['control_pass_rate']:.2f} of their random control"
        )
        what = "facts of middling mastery" if config.kind == "fact" else "hard rows"
        told.append(f"SFT: {sft['rows']:,} {what}{asked}{rate}.")
    else:
        told.append("SFT: no row qualifies.")
    if rl is None:
        told.append("RL: not planned, since there are no rollouts.")
    elif rl["groups"] is None:
        told.append("RL: no prompt is likely enough to lie in the band.")
    else:
        ours, all_ = rl["groups"], rl["pool_groups"]
        told.append(
            f"RL: {rl['rows']:,} prompts; {ours['share']:.0%} of their groups of "
            f"{config.group_size} are expected without signal, against {all_['share']:.0%} in the "
            "whole pool."
        )
    blocked = table.filter(pl.col("indicator") == "blocked")["domain"].to_list()
    if blocked:
        named = ", ".join(blocked[:5]) + (f" and {len(blocked) - 5} more" if blocked[5:] else "")
        told.append(f"Outcome rewards are expected to stall in {named}.")
    if rolled.get("unsolved"):
        told.append(
            f"{rolled['unsolved']:,} of {rolled['prompts']:,} prompts are unsolved in "
            f"{rolled['least'] if rolled['least'] == rolled['most'] else 'their'} rollouts, which "
            f"allows pass rates up to {rolled['unsolved_up_to']:.2f}."
        )
    return " ".join(told)
