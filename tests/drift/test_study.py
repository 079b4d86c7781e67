"""The whole measurement on tiny models, beside a plain reference over full logits in float64."""

from __future__ import annotations

import json
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import polars as pl
import pytest

from imprint.drift import DriftConfig, DriftResult, drift
from imprint.drift import measure as measuring
from imprint.errors import CheckpointError, ConfigError, DataError
from imprint.findings import Finding
from models_support import letters_tokenizer, tiny, torch, transformers
from tests_support import HOSTILE

FAST: dict[str, Any] = {"resamples": 100, "quiet": True}


def logits(folder: Path, ids: list[int]) -> Any:
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    with torch.inference_mode():
        return model(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(-1)


def plain(pair: Any, text: str) -> dict[str, Any]:
    """Every measure of one short text, from both models' whole logits."""
    ids = [0, *letters_tokenizer()(text)["input_ids"]]
    p, q = (logits(folder, ids)[:-1] for folder in (pair.base, pair.tuned))
    seen = torch.tensor(ids[1:])[:, None]
    m = ((p.exp() + q.exp()) / 2).log()
    return {
        "kl": (p.exp() * (p - q)).sum(-1),
        "reverse_kl": (q.exp() * (q - p)).sum(-1),
        "js": ((p.exp() * (p - m)).sum(-1) + (q.exp() * (q - m)).sum(-1)) / 2,
        "base_logprob": p.gather(1, seen)[:, 0],
        "tuned_logprob": q.gather(1, seen)[:, 0],
        "base_rank": (p > p.gather(1, seen)).sum(-1) + 1,
        "tuned_rank": (q > q.gather(1, seen)).sum(-1) + 1,
        "top1_same": p.argmax(-1) == q.argmax(-1),
    }


@pytest.fixture(scope="module")
def found(pair: Any) -> DriftResult:
    return drift(pair.base, pair.tuned, texts=pair.texts, **FAST)


def test_every_position_agrees_with_the_plain_way(pair: Any, found: DriftResult) -> None:
    text = "a dog ran after it and barked at the moon."
    rows = found.tables["drift"].filter(pl.col("text") == "dog")
    wanted = {n: v.numpy() for n, v in plain(pair, text[:31]).items()}  # the first window
    for name, values in wanted.items():
        np.testing.assert_allclose(rows[name].to_numpy()[:31], values, atol=1e-5)
    assert rows["token_id"].to_list() == letters_tokenizer()(text)["input_ids"]
    assert rows["domain"].unique().to_list() == ["animals"]


def test_amounts_are_means_over_tokens(found: DriftResult) -> None:
    tokens, entry = found.tables["drift"], found.data
    assert entry["tokens"] == len(tokens)
    assert entry["kl"]["mean"] == pytest.approx(tokens["kl"].mean())
    assert entry["same_top1"]["mean"] == pytest.approx(tokens["top1_same"].mean())
    assert entry["kl"]["p95"] == pytest.approx(tokens["kl"].quantile(0.95, "linear"))
    gap = tokens["base_logprob"].mean() - tokens["tuned_logprob"].mean()  # type: ignore[operator]
    assert entry["ln_ppl_ratio"] == pytest.approx(gap)
    assert entry["kl"]["low"] < entry["kl"]["mean"] < entry["kl"]["high"]
    domains = {row["domain"]: row for row in entry["domains"]}
    assert domains["sky"]["kl"]["mean"] == pytest.approx(
        tokens.filter(pl.col("domain") == "sky")["kl"].mean()
    )
    # one text has no interval
    assert domains[None]["kl"]["low"] is None


def test_of_itself_there_is_no_drift(pair: Any, tmp_path: Path) -> None:
    same = shutil.copytree(pair.base, tmp_path / "same")
    result = drift(pair.base, same, texts=pair.texts, **FAST)
    assert result.data["kl"]["max"] == result.data["js"]["max"] == 0
    assert result.data["same_top1"]["mean"] == 1
    assert result.verdicts[0].state == "does_not_hold"


def test_one_model_at_a_time_gives_the_same_numbers(pair: Any, found: DriftResult) -> None:
    other = drift(pair.base, pair.tuned, texts=pair.texts, one_model=True, **FAST)
    assert other.tables["drift"].equals(found.tables["drift"])


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_half_precision_survives_the_disk(pair: Any, dtype: Any) -> None:
    ways = [
        drift(pair.base, pair.tuned, texts=pair.texts, dtype=dtype, one_model=way, **FAST)
        for way in (False, True)
    ]
    assert ways[0].tables["drift"].equals(ways[1].tables["drift"])


def test_only_one_model_is_in_memory_if_asked(pair: Any, monkeypatch: Any) -> None:
    from imprint.drift import memory as memories
    from imprint.models.hidden import Head

    alive: list[Any] = []

    def loading(*args: Any, **kwargs: Any) -> Any:
        import gc
        import weakref

        gc.collect()
        whole = [ref for ref in alive if ref() is not None]
        assert not whole, "another decoder is still in memory"
        loaded = original(*args, **kwargs)
        alive.append(weakref.ref(loaded.model.model.layers[0]))
        return loaded

    original = memories.load
    monkeypatch.setattr(memories, "load", loading)
    drift(pair.base, pair.tuned, texts=pair.texts, one_model=True, layers=True, null=1, **FAST)
    assert len(alive) == 3  # base, tuned, and the base whose changes are shuffled
    assert Head is not None


def test_the_result_fits_its_schema(found: DriftResult) -> None:
    schema = json.loads(files("imprint.drift").joinpath("drift.schema.json").read_text())
    jsonschema.validate(found.data, schema)


def test_a_trainers_folder_is_its_checkpoints_in_order(pair: Any, tmp_path: Path) -> None:
    for step, size in ((2, 0.01), (10, 0.03)):
        tiny(tmp_path / "run" / f"checkpoint-{step}", near=pair.base, seed=1, step=size)
    result = drift(pair.base, tmp_path / "run", texts=pair.texts, **FAST)
    assert [entry["step"] for entry in result.data["all_tuned"]] == [2, 10]
    first, last = (entry["kl"]["mean"] for entry in result.data["all_tuned"])
    assert first < last == result.data["kl"]["mean"]
    grew = next(v for v in result.verdicts if "grew" in v.text)
    assert grew.state == "holds"
    assert "Along training" in result.html()


def test_a_killed_run_resumes_with_the_same_numbers(
    pair: Any, tmp_path: Path, monkeypatch: Any, write: Any
) -> None:
    texts = write([{"text": "the cat sat on the mat" + " and so on" * n} for n in range(12)])
    monkeypatch.setattr(measuring, "chunks", lambda pieces: [[piece] for piece in pieces])
    options = {"texts": texts, "one_model": True, "layers": True, "null": 1, **FAST}
    whole = drift(pair.base, pair.tuned, out=tmp_path / "whole", **options)
    calls, original = [0], measuring.compared

    def dying(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] in (3, 9, 40):
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    monkeypatch.setattr(measuring, "compared", dying)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            drift(pair.base, pair.tuned, out=tmp_path / "killed", **options)
        assert not (tmp_path / "killed" / "result.json").exists()
    again = drift(pair.base, pair.tuned, out=tmp_path / "killed", **options)
    assert {**again.data, "fingerprint": 0} == {**whole.data, "fingerprint": 0}
    assert again.tables["drift"].equals(whole.tables["drift"])
    assert not (tmp_path / "killed" / ".work").exists()


def test_the_random_control_moves_as_far_and_differs(pair: Any) -> None:
    result = drift(pair.base, pair.tuned, texts=pair.texts, null=2, **FAST)
    rows = result.tables["null"]
    assert len(rows) == 2
    for row in rows.iter_rows(named=True):
        assert row["reached_norm"] == pytest.approx(row["change_norm"], rel=1e-5)
        assert row["kl_mean"] > 0
        gap = result.data["kl"]["mean"] - row["kl_mean"]
        assert row["excess"] == pytest.approx(gap)
    states = (transformers.AutoModelForCausalLM.from_pretrained(p).state_dict() for p in pair[:2])
    before, after = states
    norm = sum(float((after[n] - before[n]).double().square().sum()) for n in before) ** 0.5
    assert rows["change_norm"][0] == pytest.approx(norm, rel=1e-5)


def test_layers(pair: Any) -> None:
    result = drift(pair.base, pair.tuned, texts=pair.texts, layers=True, **FAST)
    rows = result.tables["layers"]
    assert rows["layer"].unique().to_list() == [0, 1, 2]
    last = rows.filter((pl.col("layer") == 2) & (pl.col("measure") == "lens_kl_base_tuned"))
    assert last["mean"][0] == pytest.approx(result.data["kl"]["mean"], rel=1e-5)
    values = dict(rows.filter(pl.col("layer") == 1).select("measure", "mean").iter_rows())
    assert 0 < values["cka"] < 1
    assert values["relative_change"] > 0
    assert -1 <= values["cosine"] <= 1
    assert rows.filter(pl.col("measure") == "cka")["null"].null_count() == 0


def test_on_policy_estimators_meet_the_exact_divergence(pair: Any, write: Any) -> None:
    prompts = write([{"prompt": p, "completion": "x"} for p in ("the cat", "a dog", "rain", "so")])
    result = drift(
        pair.base, pair.tuned, on_policy=prompts, samples=300, max_new_tokens=6, seed=3, **FAST
    )
    rows = result.tables["on_policy"]
    assert (rows["k3_tuned_base"] >= -1e-6).all()
    for name in ("k1_tuned_base", "k3_tuned_base"):
        noise = rows[name].std() / len(rows) ** 0.5  # type: ignore[operator]
        assert rows[name].mean() == pytest.approx(rows["kl_tuned_base"].mean(), abs=4 * noise)
    whole = result.tables["on_policy_sequences"]
    assert len(whole) == 4 * 300
    assert whole["tokens"].max() <= 6  # type: ignore[operator]
    again = drift(
        pair.base, pair.tuned, on_policy=prompts, samples=300, max_new_tokens=6, seed=3, **FAST
    )
    assert again.tables["on_policy"].equals(rows)


def test_scores_are_joined(pair: Any, write: Any, tmp_path: Path) -> None:
    for step in (1, 2, 3, 4, 5):
        tiny(tmp_path / "run" / f"checkpoint-{step}", near=pair.base, seed=1, step=0.01 * step)
    rows = [{"unit": "base", "benchmark": "arc", "accuracy": 0.6}]
    rows += [
        {"unit": f"checkpoint-{n}", "benchmark": "arc", "accuracy": 0.6 - 0.05 * n}
        for n in range(1, 6)
    ]
    result = drift(
        pair.base, tmp_path / "run", texts=pair.texts, scores=write(rows, "s.jsonl"), **FAST
    )
    table = result.tables["accuracy"]
    assert table["accuracy_change"].to_list() == pytest.approx([-0.05 * n for n in range(1, 6)])
    assert next(v for v in result.verdicts if "accuracy" in v.text).state == "holds"
    with pytest.raises(DataError, match="holds no score of the base"):
        drift(
            pair.base,
            pair.tuned,
            texts=pair.texts,
            scores=write([{"unit": "other", "benchmark": "b", "accuracy": 0.5}], "o.jsonl"),
            **FAST,
        )


@pytest.mark.filterwarnings("ignore::FutureWarning")  # peft asks for names about to be dropped
def test_an_adapter_is_a_tuned_model(pair: Any, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="peft is not installed")
    torch.manual_seed(0)
    base = transformers.AutoModelForCausalLM.from_pretrained(pair.base)
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    adapted = peft.get_peft_model(base, config)
    adapted.save_pretrained(tmp_path / "lora")
    adapted.merge_and_unload().save_pretrained(tmp_path / "merged")
    letters_tokenizer().save_pretrained(tmp_path / "merged")
    options = {"texts": pair.texts, "one_model": True, **FAST}
    one = drift(pair.base, f"{pair.base}+{tmp_path / 'lora'}", **options)
    other = drift(pair.base, tmp_path / "merged", **options)
    assert one.data["kl"]["mean"] > 0
    assert one.data["kl"]["mean"] == pytest.approx(other.data["kl"]["mean"], rel=1e-4)


def test_a_padded_vocabulary_is_said(pair: Any, tmp_path: Path) -> None:
    wide = shutil.copytree(pair.tuned, tmp_path / "wide")
    model = transformers.AutoModelForCausalLM.from_pretrained(pair.tuned)
    model.resize_token_embeddings(40, mean_resizing=False)
    model.save_pretrained(wide)
    result = drift(pair.base, wide, texts=pair.texts, **FAST)
    assert "vocabulary_sizes" in [finding.check for finding in result.findings]
    same = drift(pair.base, pair.tuned, texts=pair.texts, **FAST)
    assert result.data["kl"]["mean"] == pytest.approx(same.data["kl"]["mean"], rel=1e-5)


def test_hostile_texts_stay_texts(pair: Any, write: Any) -> None:
    rows = [{"id": f"{n} {text}", "domain": text, "text": text} for n, text in enumerate(HOSTILE)]
    result = drift(pair.base, pair.tuned, texts=write(rows), **FAST)
    page = result.html()
    assert "<script>alert(1)" not in page
    assert "<img src=x" not in page
    assert "<script>alert(1)" not in result.summary()


def test_a_longer_text_is_said(found: DriftResult) -> None:
    checks = [finding.check for finding in found.findings]
    assert checks == ["text_in_windows"]
    assert all(isinstance(finding, Finding) for finding in found.findings)


def test_what_makes_no_sense_is_refused(pair: Any, tmp_path: Path, write: Any) -> None:
    with pytest.raises(ConfigError, match="nothing is named"):
        drift(pair.base, pair.tuned)
    with pytest.raises(ConfigError, match="template or system prompt changes nothing"):
        drift(pair.base, pair.tuned, texts=pair.texts, system_prompt="hi")
    with pytest.raises(ConfigError, match="--window 99 is more than the 32 positions"):
        drift(pair.base, pair.tuned, texts=pair.texts, window=99)
    with pytest.raises(ConfigError, match="unknown key"):
        drift(pair.base, pair.tuned, texts=pair.texts, nonsense=1)
    with pytest.raises(ConfigError, match="named twice"):
        drift(pair.base, [pair.tuned, pair.tuned], texts=pair.texts)
    with pytest.raises(ConfigError, match="is less than"):
        DriftConfig(samples=0)
    bare = tiny(tmp_path / "bare", near=pair.base)
    for file in bare.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(DataError, match="has no tokenizer"):
        drift(pair.base, bare, texts=pair.texts)


def test_a_damaged_model_is_refused(pair: Any, tmp_path: Path) -> None:
    broken = shutil.copytree(pair.tuned, tmp_path / "broken")
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    with pytest.raises(CheckpointError):
        drift(pair.base, broken, texts=pair.texts)
