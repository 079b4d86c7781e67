"""The order of prompts as TRL's trainers want it, chosen by a curriculum."""

from __future__ import annotations

from collections.abc import Iterator

from torch.utils.data import Sampler

from imprint.errors import DataError
from imprint.integrations.trl.curriculum import Curriculum


class BandSampler(Sampler[int]):
    """Stands in for TRL's ``RepeatSampler``, with its arguments and the same repetitions.

    Each generation batch has ``batch_size`` different prompts, each ``mini_repeat_count`` times in
    a row, the whole ``repeat_count`` times. An epoch has as many batches as there; in place of
    every prompt once come those that the curriculum draws, some often and some never.

    A batch is drawn when it is asked for, so it knows of all groups finished by then: a data
    loader looks ahead, which leaves out the last one or two.

    Args:
        curriculum: draws the prompts.
        mini_repeat_count: generations per prompt.
        batch_size: prompts per generation batch.
        repeat_count: how often a generation batch is used.
    """

    def __init__(
        self,
        curriculum: Curriculum,
        mini_repeat_count: int,
        batch_size: int = 1,
        repeat_count: int = 1,
    ):
        self.curriculum = curriculum
        self.mini_repeat_count = mini_repeat_count
        self.batch_size = batch_size
        self.repeat_count = repeat_count
        self.batches = curriculum.size // batch_size
        self.replay = False
        if not self.batches:
            raise DataError(
                f"a generation batch takes {batch_size} prompts, and there are {curriculum.size}",
                remedy="more prompts, a smaller batch, or more generations per prompt.",
            )

    def __iter__(self) -> Iterator[int]:
        # a resumed trainer walks through the batches it had drawn before it goes on
        earlier = self.curriculum.epoch if self.replay else []
        self.replay, self.curriculum.epoch = False, list(earlier)
        for at in range(self.batches):
            known = at < len(earlier)
            chosen = earlier[at] if known else self.curriculum.draw(self.batch_size)
            for _ in range(self.repeat_count):
                for prompt in chosen:
                    for _ in range(self.mini_repeat_count):
                        yield prompt

    def __len__(self) -> int:
        return self.batches * self.batch_size * self.mini_repeat_count * self.repeat_count
