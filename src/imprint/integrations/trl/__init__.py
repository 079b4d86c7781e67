"""For training with TRL: a curriculum for GRPO, and a callback that follows any training.

``Band`` and ``Curriculum`` need numpy and scipy alone; ``CurriculumGRPOTrainer`` needs trl;
``ImprintCallback`` needs torch and transformers.
"""

from typing import TYPE_CHECKING, Any

from imprint.integrations.trl.curriculum import Band, Curriculum

if TYPE_CHECKING:
    from imprint.integrations.trl.callback import ImprintCallback
    from imprint.integrations.trl.sampler import BandSampler
    from imprint.integrations.trl.trainer import CurriculumGRPOTrainer

__all__ = ["Band", "BandSampler", "Curriculum", "CurriculumGRPOTrainer", "ImprintCallback"]


def __getattr__(name: str) -> Any:
    if name == "BandSampler":
        from imprint.integrations.trl import sampler

        return sampler.BandSampler
    if name == "CurriculumGRPOTrainer":
        from imprint.integrations.trl import trainer

        return trainer.CurriculumGRPOTrainer
    if name == "ImprintCallback":
        from imprint.integrations.trl import callback

        return callback.ImprintCallback
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
