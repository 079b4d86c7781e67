from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from imprint.errors import CheckpointError, ConfigError, DataError
from imprint.models import Loaded, load
from imprint.saes import open_sae, random_dictionary
from imprint.saes.hook import Hook
from imprint.saes.training import CheckConfig, TrainConfig, check_sae, train_sae
from imprint.saes.training.measure import measure
from imprint.saes.training.texts import Windows, cut, read_texts
from imprint.saes.training.trainer import default_rate
from models_support import letters_tokenizer, tiny, torch
from saes_support import assert_same

pytest.importorskip("sparsify", reason="eai-sparsify is not installed")

QUICK = TrainConfig(
    layer=1,
    latents=48,
    k=6,
    tokens=4000,
    batch_tokens=256,
    learning_rate=0.09,
    fit_tokens=600,
    window=16,
    quiet=True,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("model"), layers=3)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("texts") / "texts.txt"
    words = ["the cat sat on a mat", "birds sing at dawn", "a river runs deep", "we go home"]
    file.write_text("\n\n".join(" ".join(words[n % 4 :] + words[: n % 3]) for n in range(60)))
    return file


@pytest.fixture(scope="module")
def trained(model: Path, texts: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    out = tmp_path_factory.mktemp("runs") / "sae"
    return out, train_sae(str(model), texts, QUICK, out=out)


def test_an_sae_that_fits(trained: tuple[Path, Any], model: Path) -> None:
    out, result = trained
    sae = open_sae(out)
    assert (sae.width, sae.latents, sae.activation) == (16, 48, "topk")
    assert sae.hook == Hook(1, "resid_post", "model.layers.1")
    assert sae.prepends_bos is False
    assert sae.promise.l0 == 6
    assert sae.promise.fvu == pytest.approx(result.data["fit"]["fvu"])
    fit, null = result.data["fit"], result.data["null"]
    assert fit["fvu"] < 0.5 < null["fvu"]
    assert fit["fvu_low"] < fit["fvu"] < fit["fvu_high"]
    assert fit["l0"] <= 6
    assert [verdict.state for verdict in result.verdicts][1] == "holds"
    names = {path.name for path in out.iterdir()}
    page = {"result.json", "tables", "report.html", "summary.md", "manifest.json"}
    assert names == page | {"cfg.json", "sae_weights.safetensors"}
    assert len(pl.read_parquet(out / "tables" / "latents.parquet")) == 48


def test_the_same_command_gives_the_same_weights(
    trained: tuple[Path, Any], model: Path, texts: Path
) -> None:
    again = train_sae(str(model), texts, QUICK)
    assert again.files == trained[1].files


def test_training_leaves_model_and_generator_as_they_were(model: Path, texts: Path) -> None:
    from imprint.progress import Silent
    from imprint.saes.training.trainer import train

    loaded, state = load(model), torch.get_rng_state()
    before = loaded.model(torch.tensor([[5, 9, 3]])).logits
    windows = cut(loaded, read_texts(texts), 16, None)
    short = TrainConfig(layer=0, latents=20, k=3, tokens=1000, batch_tokens=256)
    train(loaded, windows.rows, short, Silent(), bos=windows.bos)
    assert torch.equal(torch.get_rng_state(), state)
    assert len(loaded.model.model.layers) == 3
    assert_same(loaded.model(torch.tensor([[5, 9, 3]])).logits, before)


def test_the_rate_is_less_for_small_batches() -> None:
    assert default_rate(1 << 14, 1 << 16) == default_rate(1 << 14, 1 << 20) == 5e-3
    assert default_rate(1 << 14, 1 << 13) == pytest.approx(2.5e-3)
    assert default_rate(1 << 12, 1 << 16) == pytest.approx(1e-2)


def test_small_activations_of_another_architecture(texts: Path, tmp_path: Path) -> None:
    import transformers

    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=32, n_positions=32, n_embd=16, n_layer=2, n_head=4)
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path)
    letters_tokenizer().save_pretrained(tmp_path)
    result = train_sae(str(tmp_path), texts, QUICK, layer=0)
    assert result.data["fit"]["fvu"] < 0.5
    assert result.data["sae"]["module"] == "transformer.h.0"


def test_a_kill_after_training_does_not_train_again(
    model: Path,
    texts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trained: tuple[Path, Any],
) -> None:
    from imprint.saes.training import made, work

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(work, "measure", killed)
        with pytest.raises(KeyboardInterrupt):
            train_sae(str(model), texts, QUICK, out=tmp_path / "run")
    monkeypatch.setattr(made, "train", killed)
    result = train_sae(str(model), texts, QUICK, out=tmp_path / "run")
    assert result.files == trained[1].files
    assert result.data["fit"] == trained[1].data["fit"]
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["resumed"] == ["trained"]


def test_an_sae_that_does_not_fit_is_refused(
    model: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imprint.saes.training import made

    def bad(*_: object, **__: object) -> dict[str, Any]:
        drawn = random_dictionary(16, 48, seed=0)
        return {
            "W_enc": 9 * drawn.w_enc.contiguous(),
            "b_enc": drawn.b_enc,
            "W_dec": 9 * drawn.w_dec,
            "b_dec": drawn.b_dec,
        }

    monkeypatch.setattr(made, "train", bad)
    with pytest.raises(CheckpointError, match="does not fit") as refused:
        train_sae(str(model), texts, QUICK, out=tmp_path / "run")
    assert "--tokens" in str(refused.value)
    assert not (tmp_path / "run" / "cfg.json").exists()
    kept = train_sae(str(model), texts, QUICK, out=tmp_path / "run", accept_bad_fit=True)
    assert kept.verdicts[0].state == "does_not_hold"
    assert "does not fit" in kept.headline


def test_the_check_gives_the_same_fit(trained: tuple[Path, Any], model: Path, texts: Path) -> None:
    result = check_sae(str(model), trained[0], texts, fit_tokens=600, window=16, quiet=True)
    assert result.data["fit"]["fvu"] < 0.5
    assert result.verdicts[0].state != "does_not_hold"
    assert result.data["training"] is None
    assert "fits" in result.html()


def test_the_check_at_another_layer_does_not_fit(
    trained: tuple[Path, Any], model: Path, texts: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    for name in ("cfg.json", "sae_weights.safetensors"):
        (folder / name).write_bytes((trained[0] / name).read_bytes())
    cfg = json.loads((folder / "cfg.json").read_text())
    cfg["metadata"] |= {"hook_name": "blocks.0.hook_resid_pre", "hf_hook_name": None}
    (folder / "cfg.json").write_text(json.dumps(cfg))
    result = check_sae(str(model), folder, texts, fit_tokens=600, window=16, quiet=True)
    assert result.verdicts[0].state == "does_not_hold"
    assert result.data["fit"]["fvu"] > trained[1].data["fit"]["fvu"] + 0.2


def test_measured_numbers_are_those_of_whole_hidden_states(
    trained: tuple[Path, Any], model: Path, texts: Path
) -> None:
    from imprint.progress import Silent

    loaded, sae = load(model), open_sae(trained[0])
    windows = cut(loaded, read_texts(texts), 16, 500)
    with torch.no_grad():
        states = loaded.model(torch.tensor(windows.rows), output_hidden_states=True).hidden_states
    x = states[2].flatten(0, 1)
    x = x[x.norm(dim=-1) <= 10 * x.norm(dim=-1).median()]
    off = (x - sae.reconstruct(x)).square().sum() / (x - x.mean(0)).square().sum()
    found = measure(loaded, sae, windows, 0, Silent())
    assert found.fit.fvu == pytest.approx(float(off), rel=1e-4)
    values = torch.linalg.eigvalsh(torch.cov(x.T.double())).flip(0)
    k = round(found.fit.l0)
    assert found.components == pytest.approx(float(values[k:].sum() / values.sum()), rel=1e-4)


def test_outliers_and_bos_are_left_out(model: Path) -> None:
    from imprint.progress import Silent

    loaded = load(model)
    sae = random_dictionary(16, 30, seed=0)
    windows = Windows([[0, 5, 6, 7]] * 4, bos=True, length=4)
    from dataclasses import replace

    hooked = replace(sae, hook=Hook(1))
    assert measure(loaded, hooked, windows, 0, Silent()).fit.tokens == 12
    embedding = loaded.model.model.embed_tokens.weight
    with torch.no_grad():
        embedding[6] *= 1000
    found = measure(loaded, replace(sae, hook=Hook(None, "embedding")), windows, 0, Silent())
    assert (found.fit.tokens, found.outliers) == (8, 4)


def test_windows(model: Path) -> None:
    loaded = load(model)
    windows = cut(loaded, ["abcdefgh", "ij"], 8, None)
    assert [len(row) for row in windows.rows] == [8]
    with_bos = Loaded(loaded.model, letters_tokenizer(), loaded.folder)
    assert not cut(with_bos, ["abcdefghij"], 8, None).bos
    inner = with_bos.tokenizer
    from tokenizers.processors import TemplateProcessing

    inner._tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    cutting = cut(with_bos, ["abcdefghijklmnop"], 8, None)
    assert cutting.bos
    assert [row[0] for row in cutting.rows] == [0, 0]
    assert cutting.tokens == 14
    assert cut(loaded, ["abc"], 8, None).rows == [[3, 4, 5]]
    with pytest.raises(ConfigError, match="more than the model's context of 32"):
        cut(loaded, ["abc"], 64, None)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", "one\nline\n\n\ntwo\n", ["one\nline\n\n", "two\n\n"]),
        ("a.jsonl", '{"text": "x"}\n{"text": "y"}', ["x\n\n", "y\n\n"]),
        ("a.jsonl", '{"prompt": "x", "completion": "y"}', ["x\ny\n\n"]),
        ("a.csv", "question,answer\nx,y\n", ["x\ny\n\n"]),
    ],
)
def test_texts(tmp_path: Path, name: str, content: str, expected: list[str]) -> None:
    (tmp_path / name).write_text(content)
    assert read_texts(tmp_path / name) == expected


def test_a_folder_of_texts(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "1.txt").write_text("two")
    (tmp_path / "a.txt").write_text("one")
    assert read_texts(tmp_path) == ["one\n\n", "two\n\n"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "holds no text"),
        ("a.txt", b"\xff\xfe", "not UTF-8"),
        ("a.jsonl", b'{"words": "x"}', "neither 'text' nor"),
        ("a.jsonl", b'{"text": "x"}\n{"text": " "}', "line 2: 'text' is no text"),
        ("a.jsonl", b'{"text": ["x"]}', "line 1"),
    ],
)
def test_texts_that_are_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_texts(tmp_path / name)


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no \.txt"):
        read_texts(tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layer": 3}, "the model has 3 layers, 0 to 2"),
        ({"latents": 4, "k": 5}, "--k 5 is more than --latents 4"),
        ({"k": 200}, "--k 200 is more than the 128 latents"),
        ({"tokens": 10}, "--tokens 10 is less than 1000"),
        ({"held_out": 1.0}, "--held-out"),
        ({"learning_rate": -1.0}, "--learning-rate"),
    ],
)
def test_settings_that_make_no_sense(
    model: Path, texts: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        train_sae(str(model), texts, **settings)


def test_too_little_text(model: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a few words")
    with pytest.raises(DataError, match="a training needs 8 at least"):
        train_sae(str(model), tmp_path / "a.txt", QUICK)


def test_an_sae_of_another_width(model: Path, texts: Path, tmp_path: Path) -> None:
    from saes_support import sae_lens

    with pytest.raises(CheckpointError, match="width 6, and the model's are 16 wide"):
        check_sae(str(model), sae_lens(tmp_path), texts, CheckConfig(window=16, quiet=True))


def test_sae_lens_reads_what_was_trained(trained: tuple[Path, Any]) -> None:
    pytest.importorskip("sae_lens", reason="sae-lens is not installed", exc_type=ImportError)
    from sae_lens import SAE

    theirs, ours = SAE.load_from_disk(trained[0]), open_sae(trained[0])
    x = torch.randn(20, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert_same(ours.encode(x), theirs.encode(x))
        assert_same(ours.reconstruct(x), theirs(x))


@pytest.mark.shared
def test_a_real_model(shared: Path, tmp_path: Path) -> None:
    result = train_sae(
        str(shared / "models" / "stories260K"),
        shared / "text" / "tinyshakespeare" / "input.txt",
        layer=2,
        tokens=30_000,
        fit_tokens=5000,
        limit=1000,
        window=64,
        batch_tokens=512,
        quiet=True,
        out=tmp_path,
    )
    assert result.data["fit"]["fvu"] < result.data["principal_components"]["fvu"] < 1
    assert result.data["null"]["fvu"] > 1
