"""A curriculum for TRL's GRPO: prompts stay in a band of pass rates as training moves.

``Band`` and ``Curriculum`` need numpy and scipy alone; ``CurriculumGRPOTrainer`` needs trl.
"""

from typing import TYPE_CHECKING, Any

from imprint.integrations.trl.curriculum import Band, Curriculum

if TYPE_CHECKING:
    from imprint.integrations.trl.sampler import BandSampler
    from imprint.integrations.trl.trainer import CurriculumGRPOTrainer

__all__ = ["Band", "BandSampler", "Curriculum", "CurriculumGRPOTrainer"]


def __getattr__(name: str) -> Any:
    if name == "BandSampler":
        from imprint.integrations.trl import sampler

        return sampler.BandSampler
    if name == "CurriculumGRPOTrainer":
        from imprint.integrations.trl import trainer

        return trainer.CurriculumGRPOTrainer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
