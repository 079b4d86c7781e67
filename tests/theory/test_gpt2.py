"""The transformer: layout, causality, stages, and the same numbers after a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imprint.errors import CheckpointError, ConfigError, DependencyError
from imprint.theory import theory
from imprint.theory.config import TheoryConfig
from imprint.theory.covariance import Covariance
from imprint.theory.gpt2 import model as model_module
from imprint.theory.gpt2.prompts import examples, targets, tokens

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from imprint.theory.gpt2.model import Predictor, Shape  # noqa: E402
from imprint.theory.gpt2.stages import Stages  # noqa: E402
from imprint.theory.gpt2.training import train  # noqa: E402

TINY: dict[str, Any] = {
    "d": 3,
    "weak": 0.34,
    "target_rate": 0.5,
    "n": (4,),
    "sizes": (2, 6),
    "cot": (2, 1),
    "seeds": 1,
    "batch": 4,
    "layers": 1,
    "heads": 2,
    "width": 16,
    "pretrain_steps": 6,
    "sft_steps": 3,
    "os_steps": 3,
    "test_prompts": 5,
    "quiet": True,
}


def predictor(seed: int = 0) -> Predictor:
    return Predictor(Shape(3, 20, 1, 2, 16), seed=seed, device="cpu")


def test_layout_of_a_prompt() -> None:
    inputs, tasks = examples(Covariance(np.ones(3)), 4, 2, 1)
    laid = tokens(inputs, tasks)
    assert laid.shape == (2, 8, 4)
    np.testing.assert_array_equal(laid[:, 0::2, :3], inputs)
    np.testing.assert_allclose(laid[1, 3, 0], inputs[1, 1] @ tasks[1], rtol=1e-5)
    assert not laid[:, 1::2, 1:].any()
    assert not laid[..., -1].any()


def test_larger_sets_hold_smaller_ones() -> None:
    few, many = (examples(Covariance(np.ones(3)), 4, count, 1) for count in (2, 5))
    np.testing.assert_array_equal(few[0], many[0][:2])
    np.testing.assert_array_equal(few[1], many[1][:2])


def test_inputs_have_their_covariance() -> None:
    inputs, tasks = examples(Covariance(np.array([4.0, 1.0, 0.0])), 5, 4000, 1)
    np.testing.assert_allclose(inputs.reshape(-1, 3).var(axis=0), [4, 1, 0], rtol=0.05)
    np.testing.assert_allclose(tasks.var(axis=0), 1, rtol=0.1)


def test_a_curriculum_leaves_coordinates_out() -> None:
    inputs, tasks = examples(Covariance(np.ones(3)), 4, 2, 1, active=1)
    assert not inputs[..., 1:].any()
    assert not tasks[:, 1:].any()


def test_targets_go_a_share_of_the_way_each_step() -> None:
    found = targets(np.array([[8.0]], np.float32), 3, 0.5)
    np.testing.assert_array_equal(found[0, :, 0], [0, 4, 6, 7])


def test_a_prediction_sees_no_later_estimate() -> None:
    model = predictor()
    prompt, states = torch.randn(2, 8, 4), torch.randn(2, 3, 3)
    changed = states.clone()
    changed[:, 2] += 5
    one, other = (model.next_estimates(prompt, given) for given in (states, changed))
    torch.testing.assert_close(one[:, :2], other[:, :2])
    assert not torch.allclose(one[:, 2], other[:, 2])


def test_a_rollout_reads_its_own_estimates() -> None:
    model = predictor()
    prompt = torch.randn(2, 8, 4)
    states = torch.zeros(2, 1, 3)
    for _ in range(3):
        states = torch.cat([states, model.next_estimates(prompt, states)[:, -1:]], dim=1)
    torch.testing.assert_close(model.rollout(prompt, 3), states[:, -1])


def test_building_a_model_leaves_the_random_state_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    predictor()
    torch.testing.assert_close(torch.rand(1), expected)


def test_training_goes_on_from_a_checkpoint_with_the_same_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imprint.theory.gpt2.training.EVERY", 2)

    def loss(model: Predictor, step: int) -> Any:
        if step == stop:
            raise KeyboardInterrupt
        prompt = torch.randn(2, 8, 4, generator=torch.Generator().manual_seed(step))
        return model.rollout(prompt, 2).square().mean()

    whole, cut = predictor(), predictor()
    stop = -1
    train(whole, loss, steps=7, learning_rate=1e-2, checkpoint=tmp_path / "whole.safetensors")
    stop, place = 5, tmp_path / "cut.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train(cut, loss, steps=7, learning_rate=1e-2, checkpoint=place)
    stop, again = -1, predictor(seed=9)
    train(again, loss, steps=7, learning_rate=1e-2, checkpoint=place)
    for one, other in zip(whole.parts.parameters(), again.parts.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_stages_move_the_pretrained_model(tmp_path: Path) -> None:
    config = TheoryConfig(**{k: v for k, v in TINY.items() if k != "quiet"})
    stages = Stages(config, tmp_path)
    before = stages.pretrained()
    for stage in ("SFT", "OS"):
        after = stages.post_trained(stage, 6, 2, seed=3)  # type: ignore[arg-type]
        pairs = zip(before.parts.parameters(), after.parts.parameters(), strict=True)
        assert any(not torch.equal(one, other) for one, other in pairs)
    kept = [path.name for path in (tmp_path / "checkpoints").iterdir()]
    assert len(kept) == 1
    assert kept[0].startswith("pretrained-")


def test_supervision_learns_its_prompts(tmp_path: Path) -> None:
    settings = {**TINY, "sft_steps": 150, "os_steps": 150, "learning_rate": 1e-2, "width": 32}
    config = TheoryConfig(**{k: v for k, v in settings.items() if k != "quiet"})
    stages = Stages(config, tmp_path)
    inputs, tasks = examples(stages.test, stages.n, 2, 3)
    prompt, wanted = torch.from_numpy(tokens(inputs, tasks)), torch.from_numpy(tasks)
    for stage, share in (("SFT", 0.75), ("OS", 1.0)):
        model = stages.post_trained(stage, 2, 2, seed=3)  # type: ignore[arg-type]
        with torch.no_grad():
            gap = (model.rollout(prompt, 2) - share * wanted).square().mean()
        assert float(gap) < 0.05 * float(wanted.square().mean())


def test_a_run_and_its_repetition(tmp_path: Path) -> None:
    one = theory("gpt2", tmp_path / "run", **TINY)
    other = theory("gpt2", **TINY)
    assert one.tables["points"].equals(other.tables["points"])
    assert {verdict.state for verdict in one.verdicts} == {"undetermined"}
    assert "One pretrained model" in one.html()
    assert list((tmp_path / "run" / "checkpoints").glob("pretrained-*.safetensors"))


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    stages = Stages(TheoryConfig(**{k: v for k, v in TINY.items() if k != "quiet"}), tmp_path)
    stages.pretrained()
    kept = next((tmp_path / "checkpoints").iterdir())
    kept.write_bytes(b"\xff" * 20)
    with pytest.raises(CheckpointError, match="trained again"):
        stages.pretrained()


def test_a_device_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--device 'nowhere' cannot be used"):
        Stages(TheoryConfig(device="nowhere"), tmp_path)


def test_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(module: str, extra: str) -> Any:
        raise DependencyError(f"{module} of {extra}")

    monkeypatch.setattr(model_module, "require", absent)
    with pytest.raises(DependencyError, match="torch of models"):
        predictor()


def test_pretraining_in_parts_has_the_same_numbers(tmp_path: Path) -> None:
    config = TheoryConfig(**{k: v for k, v in TINY.items() if k != "quiet"})
    whole, parts = Stages(config, tmp_path / "whole"), Stages(config, tmp_path / "parts")
    for steps in (2, 3, 5):
        parts.pretrained(steps)
    pairs = zip(
        whole.pretrained().parts.parameters(), parts.pretrained().parts.parameters(), strict=True
    )
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=0, atol=0)
