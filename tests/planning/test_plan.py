from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import polars as pl
import pytest

import imprint
from imprint.errors import ConfigError, DataError
from plan_support import RATES, rows, write

SCHEMA = Path(imprint.__file__).parent / "planning" / "plan.schema.json"


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> tuple[imprint.PlanResult, Path]:
    folder = tmp_path_factory.mktemp("plan")
    path = write(folder / "own.jsonl", rows())
    out = folder / "run"
    result = imprint.plan(path, kind="skill", size=60, resamples=200, out=out)
    return result, out


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_result_follows_its_schema(planned: tuple[imprint.PlanResult, Path]) -> None:
    result, out = planned
    jsonschema.validate(json.loads(result.json()), json.loads(SCHEMA.read_text()))
    assert json.loads((out / "result.json").read_text()) == json.loads(result.json())


def test_sft_rows_are_the_hardest(planned: tuple[imprint.PlanResult, Path]) -> None:
    _, out = planned
    pool = {row["id"]: row for row in read(out / "pool.jsonl")}
    chosen = [pool[row["id"]] for row in read(out / "sft_hard.jsonl")]
    assert len(chosen) == 60
    assert all(row["shrunk_rate"] <= 0.25 and row["c"] < row["n"] for row in chosen)
    assert all(row["sft"] and row["sft_reason"] == "chosen" for row in chosen)
    # at most twice an equal share of a domain: of two hard domains all
    beyond = [r["shrunk_rate"] for r in pool.values() if r["sft_reason"] == "beyond the size"]
    assert not beyond or max(row["shrunk_rate"] for row in chosen) <= max(beyond)


def test_every_row_is_accounted_for(planned: tuple[imprint.PlanResult, Path]) -> None:
    result, _ = planned
    totals = result.tables["reasons"].group_by("set").agg(pl.col("rows").sum())
    assert dict(totals.iter_rows()) == {"sft": 600, "rl": 600}


@pytest.mark.parametrize(
    ("ours", "control"), [("sft_hard", "sft_random"), ("rl_band", "rl_random")]
)
def test_control_has_size_domains_and_length_of_the_set(
    planned: tuple[imprint.PlanResult, Path], ours: str, control: str
) -> None:
    result, _ = planned
    one, other = result.sets[ours], result.sets[control]
    assert len(one) == len(other)
    assert one["id"].n_unique() == len(one)
    assert other["id"].n_unique() == len(other)
    by = result.tables["domains_of_sets"]
    assert by[ours].to_list() == by[control].to_list()
    total = dict(result.tables["sets"].select("set", "total_length").iter_rows())
    assert total[control] == pytest.approx(total[ours], rel=0.01)
    assert set(one["id"]) != set(other["id"])


def test_band_is_likely_and_its_tails_are_a_tenth(
    planned: tuple[imprint.PlanResult, Path],
) -> None:
    result, _ = planned
    band = result.sets["rl_band"]
    parts = dict(band["part"].value_counts().iter_rows())
    assert parts["hard tail"] == pytest.approx(len(band) / 10, abs=1)
    assert parts["easy tail"] == pytest.approx(len(band) / 10, abs=1)
    rates = result.tables["rates"]
    assert result.data["rl"]["truly_in_band"]["share"] >= 0.5
    assert rates["weight"].is_between(0, 0.25).all()
    groups = result.data["rl"]
    assert groups["groups"]["high"] < groups["pool_groups"]["low"]


def test_expected_groups_are_those_that_training_would_meet(tmp_path: Path) -> None:
    import numpy as np

    content = rows(3000, seed=3)
    result = imprint.plan(
        write(tmp_path / "own.jsonl", content), kind="skill", size=60, resamples=400
    )
    rng = np.random.default_rng(9)
    rates = np.concatenate([rng.beta(*RATES[d], 200_000) for d in RATES])
    truth = float((rates**8 + (1 - rates) ** 8).mean())
    found = result.data["rl"]["pool_groups"]
    assert found["low"] <= truth <= found["high"]
    assert found["high"] - found["low"] < 0.06


def test_blocked_domains_are_named(planned: tuple[imprint.PlanResult, Path]) -> None:
    result, out = planned
    table = {row["domain"]: row for row in result.tables["balance"].iter_rows(named=True)}
    assert table["sort"]["indicator"] == "blocked"
    assert table["add"]["indicator"] == "partly learned"
    assert "stall in sort" in result.headline
    assert "| sort | 200 |" in (out / "balance.md").read_text()


def test_same_seed_same_plan_other_seed_other_draws(tmp_path: Path) -> None:
    path = write(tmp_path / "own.jsonl", rows(300))
    settings: dict[str, Any] = {"kind": "skill", "size": 30, "resamples": 100}
    first, again = (imprint.plan(path, **settings) for _ in range(2))
    other = imprint.plan(path, seed=1, **settings)
    assert first.json() == again.json()
    for name in first.sets:
        assert first.sets[name].equals(again.sets[name])
    assert not first.sets["sft_random"].equals(other.sets["sft_random"])


def test_a_frame_is_planned_as_its_file(tmp_path: Path) -> None:
    path = write(tmp_path / "own.jsonl", rows(150))
    settings: dict[str, Any] = {"kind": "skill", "size": 20, "resamples": 100}
    from_file = imprint.plan(path, **settings)
    out = tmp_path / "run"
    from_frame = imprint.plan(pl.read_ndjson(path), out=out, **settings)
    for name, frame in from_file.sets.items():
        assert from_frame.sets[name].equals(frame)
    assert len(json.loads((out / "manifest.json").read_text())["settings"]["frame"]) == 64
    with pytest.raises(DataError, match=r"the frame, row 1: .* neither 0 nor 1"):
        imprint.plan(pl.DataFrame({"prompt": ["p"], "correct": [[0.5]]}), kind="skill")


def test_facts_are_of_middling_mastery(tmp_path: Path) -> None:
    content = [
        {"id": f"f{i}", "domain": "capital", "prompt": f"Capital of {i}?", "answer": "x",
         "c": i % 21, "n": 20} for i in range(210)
    ]  # fmt: skip
    result = imprint.plan(write(tmp_path / "f.jsonl", content), kind="fact", size=70,
                          resamples=100)  # fmt: skip
    counts = [round(rate * 20) for rate in result.sets["sft_hard"]["pass_rate"]]
    assert set(counts[:50]) == set(range(6, 11))  # level 2: more than a quarter, at most a half
    assert set(counts[50:]) <= set(range(11, 16))
    reasons = dict(result.tables["reasons"].filter(set="sft").select("reason", "rows").iter_rows())
    assert reasons["mastery level 0"] == 10


def test_likelihoods_alone_rank_and_plan_no_rl(tmp_path: Path) -> None:
    content = [
        {"id": str(i), "domain": "ab"[i % 2], "prompt": f"p {i}", "reference": "r",
         "ref_nll": i / 10 + 5 * (i % 2), "reference_verified": True} for i in range(40)
    ]  # fmt: skip
    result = imprint.plan(write(tmp_path / "n.jsonl", content), kind="skill", size=10)
    assert result.data["rl"] is None
    assert set(result.sets) == {"sft_hard", "sft_random"}
    assert set(result.sets["sft_hard"]["id"]) == {str(i) for i in range(30, 40)}
    assert "no rollouts" in result.headline
    assert {row["indicator"] for row in result.data["balance"]} == {"unknown"}


def test_id_prompt_and_correct_are_enough_for_rl(tmp_path: Path) -> None:
    content = [{k: row[k] for k in ("id", "prompt", "correct")} for row in rows(90)]
    out = tmp_path / "run"
    result = imprint.plan(
        write(tmp_path / "b.jsonl", content), kind="skill", resamples=100, out=out
    )
    assert len(result.sets["rl_band"])
    assert "answer" not in result.sets["rl_band"].columns
    assert not (out / "sft_hard.jsonl").exists()
    told = " ".join(f.detail for f in result.findings)
    assert "no row has a reference answer" in told
    assert "your verifier must know them by id" in told


def test_kind_must_be_said(tmp_path: Path) -> None:
    path = write(tmp_path / "own.jsonl", rows(30))
    with pytest.raises(ConfigError, match="what is SFT to teach"):
        imprint.plan(path)


def test_all_solved_gives_no_sets_and_says_so(tmp_path: Path) -> None:
    content = [{**row, "correct": [1] * 8} for row in rows(50)]
    result = imprint.plan(write(tmp_path / "s.jsonl", content), kind="skill", resamples=100)
    assert len(result.sets["sft_hard"]) == 0
    assert "no usable row has a shrunk pass rate" in " ".join(f.detail for f in result.findings)
    assert result.data["sft"]["rows"] == 0
    assert "SFT: no row qualifies" in result.headline
    assert result.html()


def test_all_unsolved_is_chosen_only_with_checked_references(tmp_path: Path) -> None:
    content = [{**row, "correct": [0] * 8, "reference": "long trace"} for row in rows(50)]
    path = write(tmp_path / "u.jsonl", content)
    result = imprint.plan(path, kind="skill", size=10, resamples=100)
    assert len(result.sets["sft_hard"]) == 0
    assert "unverified_references" in {f.check for f in result.findings}
    checked = imprint.plan(path, kind="skill", size=10, references_verified=True, resamples=100)
    assert len(checked.sets["sft_hard"]) == 10
    assert "all_hard" in {f.check for f in checked.findings}
    assert len(checked.sets["rl_band"]) == 0


def test_duplicates_and_uneven_counts_are_said(tmp_path: Path) -> None:
    content = rows(60)
    content[1]["prompt"] = content[0]["prompt"].upper() + "  "
    content[2]["correct"] = content[2]["correct"][:3]
    result = imprint.plan(write(tmp_path / "d.jsonl", content), kind="skill", resamples=100)
    told = {f.check: f.detail for f in result.findings}
    assert told["duplicate_prompts"].startswith("1 prompts repeat")
    assert "3 to 8 rollouts" in told["unequal_rollouts"]
    assert "traces that show how" in told["bare_answers"]
    assert "unsolved in 3 may pass up to" in told["few_rollouts"]


def test_rl_from_another_model_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "m.jsonl", [{**row, "model": "base"} for row in rows(30)])
    with pytest.raises(ConfigError, match="the rollouts are of base"):
        imprint.plan(path, kind="skill", rl_from="tuned")
    imprint.plan(path, kind="skill", rl_from="base", resamples=100)


def test_sizes_nest(tmp_path: Path) -> None:
    path, out = write(tmp_path / "own.jsonl", rows(300)), tmp_path / "run"
    imprint.plan(path, kind="skill", size=40, sizes=(10, 20), resamples=100, out=out)
    ids = [row["id"] for row in read(out / "sft_hard.jsonl")]
    for size in (10, 20):
        assert [r["id"] for r in read(out / f"sizes/sft_hard-{size}.jsonl")] == ids[:size]
        assert len(read(out / f"sizes/sft_random-{size}.jsonl")) == size


def test_limit_takes_so_many_of_each_domain(tmp_path: Path) -> None:
    path = write(tmp_path / "own.jsonl", rows(300))
    result = imprint.plan(path, kind="skill", limit=20, resamples=100)
    assert result.tables["balance"]["prompts"].to_list() == [20, 20, 20]


def test_references_join_by_id(tmp_path: Path) -> None:
    content = rows(90)
    traces = [{"id": row["id"], "reference": f"trace {row['id']}", "reference_verified": True}
              for row in content[:60]]  # fmt: skip
    result = imprint.plan(
        write(tmp_path / "own.jsonl", content), kind="skill", size=10, resamples=100,
        references=write(tmp_path / "traces.jsonl", traces),
    )  # fmt: skip
    for row in result.sets["sft_hard"].iter_rows(named=True):
        assert row["completion"] == f" trace {row['id']}"
    assert "bare_answers" not in {f.check for f in result.findings}
    reasons = dict(result.tables["reasons"].filter(set="sft").select("reason", "rows").iter_rows())
    assert reasons["no reference answer"] == 30
    with pytest.raises(DataError, match="no column id"):
        imprint.plan(
            tmp_path / "own.jsonl", kind="skill",
            references=write(tmp_path / "t.jsonl", [{"idd": "q1", "reference": "x"}]),
        )  # fmt: skip


@pytest.mark.parametrize(
    "settings", [{"pass_at": float("nan")}, {"pass_at": float("inf")}, {"metric": 'a"\n[b]'}]
)
def test_settings_that_cannot_be_written_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        imprint.plan(pl.DataFrame({"prompt": ["q"]}), kind="skill", **settings)


def test_references_that_are_not_there_are_named(tmp_path: Path) -> None:
    pool = write(tmp_path / "pool.jsonl", rows(9))
    with pytest.raises(DataError, match=r"none\.csv"):
        imprint.plan(pool, kind="skill", references=tmp_path / "none.csv", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_target_without_prompts_is_said(tmp_path: Path) -> None:
    pool = write(tmp_path / "pool.jsonl", rows(30))
    found = imprint.plan(pool, kind="skill", targets={"add": 1.0, "poems": 2.0}, resamples=100)
    told = {finding.check: finding.detail for finding in found.findings}
    assert "poems" in told["target_without_prompts"]


def test_intervals_of_shares_hold_their_estimate(tmp_path: Path) -> None:
    pool = write(tmp_path / "pool.jsonl", rows(30))
    balance = imprint.plan(pool, kind="skill", resamples=100).tables["balance"]
    for kind in ("zero_variance", "all_fail", "all_pass"):
        assert (balance[f"{kind}_low"] <= balance[kind]).all()
        assert (balance[kind] <= balance[f"{kind}_high"]).all()
