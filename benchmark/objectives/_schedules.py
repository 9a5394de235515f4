"""Learning rates for some of a training's passes: a warm-up and a cosine that run over all of these together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from benchmark.types import Training


class Cosine(NamedTuple):
    """A learning rate over the share of a pass that is done: part of a linear warm-up and a cosine over many passes."""

    training: Training  # peak and warm-up
    total: float  # steps of the schedule
    start: int  # its step at which the pass begins
    steps: int  # of the pass
    clamped: bool = True  # stays at 0 after `total`; else it climbs again

    def __call__(self, share: float) -> float:
        """The rate at a share in [0, 1) of the pass."""
        step, warmup, peak = self.start + share * self.steps, self.training.warmup_steps, self.training.learning_rate
        if step < warmup:
            return peak * min(1, (step + 1) / warmup)
        done = (step - warmup) / max(1, self.total - warmup)
        return peak * 0.5 * (1 + math.cos(math.pi * (min(done, 1) if self.clamped else done)))


def own_counter(steps: Sequence[int], at: int, training: Training) -> Cosine:
    """The rate of one of several passes with these steps, when no other steps are counted: 0 after the last one."""
    return Cosine(training, sum(steps), start=sum(steps[:at]), steps=steps[at])
