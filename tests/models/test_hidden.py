"""Hidden states and the head on them give the model's own logits, in every architecture tried."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from imprint.errors import CheckpointError
from imprint.models.divergence import divergences
from imprint.models.hidden import Head, check_head, final_norm, hidden_states, layer_states
from imprint.models.load import Loaded, load
from models_support import tiny, torch, transformers

SMALL = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
    "pad_token_id": 0,
}
TEXTS = [[3, 4, 5, 6], [7, 8, 9, 10, 11, 12, 13]]


def made(kind: str, **options: Any) -> Loaded:
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**{**SMALL, **options})
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    return Loaded(model, None, Path("made"))


MODELS = {
    "llama": lambda: made("Llama"),
    "llama-tied": lambda: made("Llama", tie_word_embeddings=True),
    "gemma2-caps": lambda: made("Gemma2", head_dim=8, final_logit_softcapping=0.3),
    "granite-scale": lambda: made("Granite", logits_scaling=5.0),
    "cohere-scale": lambda: made("Cohere", logit_scale=0.2),
    "qwen3": lambda: made("Qwen3", head_dim=8),
    "mixtral": lambda: made("Mixtral", num_local_experts=2, num_experts_per_tok=1),
    "gpt2": lambda: made("GPT2", n_embd=16, n_layer=2, n_head=2),
    "neox": lambda: made("GPTNeoX"),
    "opt-projection": lambda: made("OPT", ffn_dim=24, word_embed_proj_dim=8),
    "phi-bias": lambda: made("Phi"),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_head_gives_the_models_logits(name: str) -> None:
    loaded = MODELS[name]()
    with torch.inference_mode():
        wanted = [loaded.model(input_ids=torch.tensor([ids])).logits[0] for ids in TEXTS]
    states = hidden_states(loaded, TEXTS)
    check_head(loaded, Head(loaded, keep=True), TEXTS[1])
    head = Head(loaded)
    for found, logits in zip(states, wanted, strict=True):
        torch.testing.assert_close(head(found), logits, atol=1e-5, rtol=1e-4)


def test_without_its_decoder_a_model_is_small() -> None:
    loaded = made("Llama", num_hidden_layers=6)
    before = sum(p.numel() for p in loaded.model.parameters())
    head = Head(loaded)
    assert sum(p.numel() for p in head.model.parameters()) == 40 * 16 < before


def test_a_kept_model_stays_whole() -> None:
    loaded = made("Llama")
    head = Head(loaded, keep=True)
    head(hidden_states(loaded, TEXTS)[0])
    check_head(loaded, head, TEXTS[0])


def test_a_head_that_does_not_fit_is_refused() -> None:
    loaded = made("Llama")
    head = Head(loaded, keep=True)

    def doubled(hidden: Any) -> Any:
        return 2 * head(hidden)

    with pytest.raises(CheckpointError, match="does not give the model's logits"):
        check_head(loaded, doubled, TEXTS[0])  # type: ignore[arg-type]


def test_layers_end_with_what_the_head_reads(tmp_path: Path) -> None:
    loaded = load(tiny(tmp_path / "m", layers=3))
    layers, last = layer_states(loaded, TEXTS), hidden_states(loaded, TEXTS)
    assert layers[1].shape == (4, 7, 16)
    torch.testing.assert_close(layers[1][-1], last[1])
    assert final_norm(loaded) is loaded.model.model.norm


def test_divergence_of_hidden_states_is_that_of_logits(tmp_path: Path) -> None:
    base, tuned = load(tiny(tmp_path / "a")), load(tiny(tmp_path / "b", near=tmp_path / "a"))
    ids = list(range(3, 30))
    with torch.inference_mode():
        p, q = (m.model(input_ids=torch.tensor([ids])).logits[0] for m in (base, tuned))
    plain = divergences(lambda a, b: p[a:b], lambda a, b: q[a:b], ids)
    states = [hidden_states(m, [ids])[0] for m in (base, tuned)]
    heads = Head(base), Head(tuned)
    found = divergences(
        lambda a, b: heads[0](states[0][a:b]), lambda a, b: heads[1](states[1][a:b]), ids
    )
    assert found.kl == pytest.approx(plain.kl, abs=1e-6)
    assert plain.kl.max() > 1e-4
