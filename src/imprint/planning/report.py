"""The report of a plan: verdicts, rates, sets beside their controls, balance, evidence, method."""

from __future__ import annotations

import numpy as np
import polars as pl
from scipy.special import betaincinv
from scipy.stats import betabinom

from imprint.planning.evidence import CONFLICT, EVIDENCE, SIZES
from imprint.planning.rates import LEVEL, wilson
from imprint.planning.result import PlanResult
from imprint.report import Page, Section, manifest_section, summary_html
from imprint.report import summary as markdown
from imprint.report.figures import bars, curve, forest

TITLE = "What to train on"
WORDS = {"holds": "holds", "does_not_hold": "does not hold"}
SHARES = (
    *("pass_rate", "ci_low", "ci_high", "shrunk_rate", "shrunk_low", "shrunk_high", "in_band"),
    *("rate", "rate_low", "rate_high", "share", "target", "zero_variance", "zero_variance_low"),
    *("zero_variance_high", "all_fail", "all_fail_low", "all_fail_high", "learnability", "weight"),
    *("all_pass", "all_pass_low", "all_pass_high", "mean"),
)
FORMATS = {**dict.fromkeys(SHARES, ".3f"), "length": ",.1f", "total_length": ",.0f", "a": ".3f",
           "b": ".3f", "state": "state"}  # fmt: skip
BALANCE = [
    *("domain", "prompts", "share", "target", "rate", "rate_low", "rate_high", "unsolved"),
    *("solved", "zero_variance", "all_fail", "all_fail_low", "all_fail_high", "nll", "nll_low"),
    *("nll_high", "indicator"),
]
NAMES = {
    "sft_hard": "SFT, chosen",
    "sft_random": "SFT, random control",
    "rl_band": "RL, chosen",
    "rl_random": "RL, random control",
}
BINS = 20
DRAWN = 17
DOMAINS = 40  # drawn


def render(result: PlanResult) -> str:
    """Render the result as one HTML page."""
    pool = result.data["pool"]
    page = Page(TITLE, f"{pool['prompts']:,} prompts, {pool['rollouts']:,} rollouts")
    page.verdicts(result.verdicts, headline=result.headline)
    for add in (_rates, _sets, _balance, _findings, _evidence, _method):
        add(page, result)
    return page.render()


def summary(result: PlanResult) -> str:
    """Write the result as Markdown."""
    tables = {
        "Sets": result.tables["sets"],
        "Domains": _shown(result.tables["balance"], BALANCE),
        "Why rows are in no set": result.tables["reasons"],
    }
    warned = [(f.check, f.detail) for f in result.findings if f.level != "info"]
    if warned:
        tables["Findings"] = pl.DataFrame(warned, schema=["check", "detail"], orient="row")
    return markdown(TITLE, result.verdicts, tables, formats=FORMATS, headline=result.headline)


def fragment(result: PlanResult) -> str:
    """Show the result in a notebook."""
    return summary_html(result.headline, result.verdicts, _shown(result.tables["balance"], BALANCE))


def _rates(page: Page, result: PlanResult) -> None:
    section = page.section(
        "How hard the prompts are",
        "Pass rates of verified rollouts of this model. A prompt's own share of passes says little "
        "from few rollouts; it is drawn towards its pool (or its domain, where that is large), and "
        "rows are ranked by the shrunk rate.",
    )
    if "rates" not in result.tables:
        section.text(
            "There are no rollouts. Likelihoods of references rank prompts within a domain; they "
            "give no pass rate, no interval and no RL band."
        )
        return
    cost = result.data["pool"]["generated_tokens"]
    if cost is not None:
        section.text(f"The rollouts cost {cost:,} generated tokens.")
    rates = result.tables["rates"]
    section.figure(
        bars(_histogram(rates, result.data["settings"]["band"]), title="Prompts"),
        "Prompts by shrunk pass rate, in twentieths.",
        wide=True,
    )
    section.figure(
        forest(_drawn(result), title="Pass rate", domain=(0.0, 1.0), zero=None),
        "What a count of passes says: Wilson's interval of the count alone, and the rate as the "
        "distribution of the whole pool shrinks it, with its posterior interval.",
        wide=True,
    )
    section.figure(
        curve(_fit(result), x_title="Passes", y_title="Prompts"),
        "Does the fit hold? Prompts by their passes, beside what the fitted distributions expect.",
    )
    _list(section, rates, "Every count of passes")
    priors = result.tables["priors"].with_columns(pl.col("domain").fill_null("whole pool"))
    _list(section, priors, "Beta distributions of the pass rates")


def _sets(page: Page, result: PlanResult) -> None:
    section = page.section(
        "The sets, each beside its random control",
        "A control has as many rows of the same domains, about as long, drawn at random. Train on "
        "both, with several seeds, before believing the choice.",
    )
    sets = result.tables["sets"].with_columns(pl.col("set").replace(NAMES))
    _list(section, sets, "Means of the sets")
    if result.data["rl"] is not None:
        _groups(section, result)
    mix = result.tables["domains_of_sets"]
    section.details("Domains of the sets").table(mix, "Rows by domain")
    section.table(result.tables["reasons"], "Every row and why it is, or is not, in a set")


def _groups(section: Section, result: PlanResult) -> None:
    rl = result.data["rl"]
    named = {"groups": "RL set", "control_groups": "random control", "pool_groups": "whole pool"}
    rows = [
        {"label": label, "estimate": rl[key]["share"], "low": rl[key]["low"],
         "high": rl[key]["high"]}
        for key, label in named.items() if rl[key] is not None
    ]  # fmt: skip
    if not rows:
        return
    section.figure(
        forest(pl.DataFrame(rows), title="Share of groups", domain=(0.0, 1.0), zero=None),
        f"Groups of {rl['group_size']} rollouts expected without signal (all pass or all fail), in "
        "one pass over the set, with 95 % intervals of the posterior prediction.",
        wide=True,
    )
    more = "" if rl["more_tokens"] is None else f", about {rl['more_tokens']:,} tokens"
    if rl["truly_in_band"]:
        section.text(
            f"{rl['truly_in_band']['share']:.0%} of the {rl['band']:,} prompts chosen for the band "
            "are expected to lie in it."
        )
    section.text(
        f"{rl['open']:,} prompts of the pool have an interval across one of the band's edges; "
        f"bringing them to 32 rollouts each would cost {rl['more_rollouts']:,} rollouts{more}. Fix "
        "beforehand how often you look: repeated looks widen true intervals.",
        "The band belongs to the checkpoint that wrote the rollouts. If SFT comes in between, roll "
        "out again from the tuned model; during training, watch the share of groups without "
        "signal and measure again every few hundred steps. Rates of chosen prompts regress to the "
        "mean: report them on fresh rollouts.",
    )


def _balance(page: Page, result: PlanResult) -> None:
    section = page.section(
        "What pretraining covers, by domain",
        "Where outcome rewards have something to rank. The theory's indicator compares a shift "
        "with what pretraining covered (below 1: partly learned); of a language model neither side "
        "is known, and the share of groups that all fail stands in for it.",
    )
    table = result.tables["balance"]
    drawn = table.drop_nulls("rate").head(DOMAINS)
    if len(drawn):
        rows = drawn.select(
            label="domain", estimate="rate", low="rate_low", high="rate_high", state="state"
        )
        section.figure(
            forest(rows, title="Mean pass rate", domain=(0.0, 1.0), zero=None),
            "Mean pass rate over prompts with 95 % intervals, clustered by source where it is "
            "known. The state says whether outcome rewards can move the domain.",
            wide=True,
        )
    _list(section, _shown(table, BALANCE), "Domains")
    for name, words in table.select("indicator", "words").unique(maintain_order=True).iter_rows():
        section.text(f"{name}: {words}.")


def _findings(page: Page, result: PlanResult) -> None:
    if result.findings:
        section = page.section("Findings")
        for finding in result.findings:
            section.text(f"{finding.check}: {finding.detail}")


def _evidence(page: Page, result: PlanResult) -> None:
    section = page.section("What is published for and against", "In our words, with sources.")
    section.text(*CONFLICT, SIZES)
    for side, about in (("for", "sft"), ("against", "sft"), ("for", "rl"), ("against", "rl")):
        told = [f"{e.source}: {e.says}." for e in EVIDENCE if (e.side, e.about) == (side, about)]
        section.text(f"{about.upper()}, {side} choosing by difficulty:", *told)


def _method(page: Page, result: PlanResult) -> None:
    section = page.section("Method")
    settings = result.data["settings"]
    low, high = settings["band"]
    section.text(
        "A prompt's rate has Wilson's 95 % interval. A beta-binomial distribution is fitted to all "
        "counts by maximum likelihood, and to each domain of at least 200 prompts by itself; "
        "posterior means and quantiles follow. Prompts count as exchangeable, which those of one "
        "source are not quite.",
        "SFT rows have a reference that is marked as right (or is what the verifier compares "
        "with), are not solved, and have a shrunk rate of at most "
        f"{settings['hard_below']:g}; lowest first, at most a share per domain, near-duplicates "
        "out. Facts are taken from mastery level 2, then 3, never from level 0.",
        f"The RL band holds prompts whose rate lies in [{low:g}, {high:g}] with a posterior "
        f"probability of at least {settings['band_probability']:g}, and tails from both sides. "
        "Weights are the posterior mean of p(1 − p); learnability is its unbiased estimate from "
        "the counts alone.",
        "A group carries no signal where all its rollouts pass or all fail; its chance is that of "
        "the posterior, its interval that of the fitted distribution's parameters and of the "
        "groups themselves.",
        "Controls are drawn without replacement within domains. Where chosen rows are longer than "
        "others, draws lean to longer rows just enough to meet the same total length.",
    )
    section.facts(settings)
    manifest_section(page, result)


def _histogram(rates: pl.DataFrame, band: tuple[float, float]) -> pl.DataFrame:
    binned = rates.with_columns(
        bin=(pl.col("shrunk_rate") * BINS).floor().clip(0, BINS - 1).cast(pl.Int64)
    )
    counted = binned.group_by("bin").agg(value=pl.col("prompts").sum())
    every = pl.DataFrame({"bin": range(BINS)}, schema={"bin": pl.Int64})
    found = every.join(counted, on="bin", how="left").fill_null(0)
    labels = [f"{at / BINS:.2f} to {(at + 1) / BINS:.2f}" for at in range(BINS)]
    low, high = band
    group = (
        pl.when((pl.col("bin") + 1) / BINS <= low)
        .then(pl.lit("harder than the band"))
        .when(pl.col("bin") / BINS >= high)
        .then(pl.lit("easier than the band"))
        .otherwise(pl.lit("in or across the band"))
    )
    return found.select(pl.Series("label", labels), "value", group.alias("group"))


def _usual(rates: pl.DataFrame) -> int:
    """Give the number of rollouts that most prompts have."""
    counted = rates.filter(pl.col("n") > 0).group_by("n").agg(pl.col("prompts").sum())
    return int(counted.sort("prompts", "n", descending=True)["n"][0])


def _drawn(result: PlanResult) -> pl.DataFrame:
    """Give counts of the usual number of rollouts, at most 17 of them, alone and shrunk."""
    n, pool = _usual(result.tables["rates"]), result.tables["priors"].row(0, named=True)
    c = np.unique(np.linspace(0, n, min(n + 1, DRAWN)).round())
    labels = [f"{count:.0f} of {n}" for count in c]
    low, high = wilson(c, np.full(len(c), n))
    alpha, beta = pool["a"] + c, pool["b"] + n - c
    ends = (betaincinv(alpha, beta, share) for share in ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    alone = {"label": labels, "estimate": c / n, "low": low, "high": high}
    shrunk = dict(zip(("low", "high"), ends, strict=True))
    shrunk |= {"estimate": alpha / (alpha + beta), "label": labels}
    return pl.concat(
        [
            pl.DataFrame(part).select(
                "label", "estimate", "low", "high", group=pl.lit(group, dtype=pl.String)
            )
            for group, part in (("its own rollouts", alone), ("shrunk", shrunk))
        ]
    )


def _fit(result: PlanResult) -> pl.DataFrame:
    """Give prompts by passes, observed and expected, of the usual number of rollouts."""
    rates, n = result.tables["rates"], _usual(result.tables["rates"])
    usual = rates.filter(pl.col("n") == n)
    c = np.arange(n + 1)
    seen = dict(usual.group_by("c").agg(pl.col("prompts").sum()).iter_rows())
    expected = np.zeros(n + 1)
    for row in result.tables["priors"].iter_rows(named=True):
        own = usual.filter(pl.col("prior").eq_missing(pl.lit(row["domain"])))
        expected += own["prompts"].sum() * betabinom.pmf(c, n, row["a"], row["b"])
    parts = {"observed": [float(seen.get(int(at), 0)) for at in c], "expected": expected}
    return pl.concat(
        [
            pl.DataFrame({"x": c.astype(float), "y": y}).with_columns(series=pl.lit(series))
            for series, y in parts.items()
        ]
    )


def _shown(frame: pl.DataFrame, columns: list[str]) -> pl.DataFrame:
    """Leave out columns that hold nothing."""
    kept = [c for c in (columns or frame.columns) if c in frame.columns]
    return frame.select([c for c in kept if frame[c].null_count() < len(frame)])


def _list(section: Section, frame: pl.DataFrame, caption: str) -> None:
    shown = _shown(frame, [])
    formats = {name: spec for name, spec in FORMATS.items() if name in shown.columns}
    section.table(shown, caption, formats=formats)
