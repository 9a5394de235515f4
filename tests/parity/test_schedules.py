"""Learning rates, and which pairs SafeCLIP holds for safe, against released code."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from benchmark.objectives.safeclip import SafeCLIP, safe_posteriors
from benchmark.repairs.invertune.tuning import released_rate
from benchmark.repairs.par import scheduled
from benchmark.training.optimizer import learning_rate
from benchmark.types import Augmentation, Pass, Training
from tests.parity.golden import Golden, agree, golden

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("case", range(5))
@pytest.mark.parametrize("schedule", ["cosine", "as_released"])
def test_every_rate_of_a_run_is_that_of_the_released_scheduler(schedule: Any, case: int) -> None:
    """`cosine` counts from step 0; `as_released` under the released loop, whose epochs count from 1."""
    data = golden("schedules")
    warmup, steps, epochs = map(int, data["cases"][case])
    peak = float(data["peak"])
    training = Training(epochs=epochs, learning_rate=peak, warmup_steps=warmup, schedule=schedule)
    rates = [learning_rate(training, step, steps_per_epoch=steps) for step in range(epochs * steps)]
    agree(rates, data[f"{schedule}_{case}"], 1e-9 * peak)


def test_par_ramps_down_and_then_follows_a_cosine() -> None:
    """The released ramp reaches its end one step sooner, so that rates agree to 2e-3 of the first and no better."""
    data = golden("par")
    total = int(data["rate_epochs"] * data["rate_steps_per_epoch"])
    start, middle, end = data["rate_start_base_final"]
    rates = [scheduled(step / total, start, middle, end) for step in range(total)]
    agree(rates, data["rates"], 2e-3 * start)


def test_invertune_released_rate_climbs_again() -> None:
    data = golden("invertune")
    peak, epochs = float(data["rate_peak"]), len(data["rates"])
    agree([released_rate(peak, epoch, epochs) for epoch in range(epochs)], data["rates"], 1e-9 * peak)


def test_safeclip_mixture_gives_the_released_posteriors() -> None:
    data = golden("mixture")
    agree(safe_posteriors(data["cosines"]), data["posterior"], 1e-9)


class Scored(NamedTuple):
    """As much of a plan's context as SafeCLIP asks for."""

    num_rows: int
    training: Training
    scores: np.ndarray
    seed: int = 0

    def similarities(self, augmentation: Augmentation = "none") -> torch.Tensor:
        return torch.from_numpy(self.scores)


class Planned(NamedTuple):
    """What SafeCLIP would do in every epoch."""

    warmup: list[float]
    slow: list[float]
    unimodal: list[list[float]]  # one list an epoch
    crossmodal: list[list[float]]
    safe: list[np.ndarray]  # rows, by epoch


def rates(one: Pass, steps: int) -> list[float]:
    """The rate at each step of a pass."""
    if callable(one.learning_rate):
        return [one.learning_rate(step / steps) for step in range(steps)]
    assert one.learning_rate is not None
    return [one.learning_rate] * steps


def planned(data: Golden) -> Planned:
    """Plans all epochs with the golden similarities."""
    rows, batch, epochs, warmup, unimodal, slow = map(int, data["settings"])
    peak, slow_rate = data["peak_slow"]
    growth, cap, threshold = data["growth_cap_threshold"]
    objective = SafeCLIP(
        variant="as_released",
        unimodal_epochs=unimodal,
        slow_epochs=slow,
        slow_learning_rate=slow_rate,
        safe_posterior=threshold,
        growth_rate=growth,
        max_safe_rate=cap,
    )
    training = Training(epochs=epochs, batch_size=batch, learning_rate=peak, warmup_steps=warmup)
    found, state = Planned([], [], [], [], []), objective.initial_state(embed_dim=4, seed=0)
    for epoch in range(epochs):
        at = epoch - unimodal - slow
        ctx = Scored(rows, training, data["similarities"][max(0, at)])
        passes, state = objective.plan(epoch, state, ctx)
        if at < 0:
            (found.warmup if epoch < unimodal else found.slow).extend(rates(passes[0], rows // batch))
            continue
        by_loss: dict[str, Pass] = {one.loss.__name__: one for one in passes}
        for name, into in (("unimodal", found.unimodal), ("crossmodal", found.crossmodal)):
            one = by_loss.get(name)
            into.append([] if one is None or one.rows is None else rates(one, len(one.rows) // batch))
        safe = by_loss["crossmodal"].rows
        assert safe is not None
        found.safe.append(safe)
    return found


@pytest.fixture(scope="module")
def safeclip() -> tuple[Planned, Golden]:
    data = golden("safeclip_rates")
    return planned(data), data


@pytest.mark.parametrize("name", ["warmup", "slow", "unimodal", "crossmodal"])
def test_safeclip_rates_of_each_kind_of_pass(name: str, safeclip: tuple[Planned, Golden]) -> None:
    found, data = safeclip
    ours = getattr(found, name)
    flat = ours if name in ("warmup", "slow") else [rate for epoch in ours for rate in epoch]
    agree(flat, data[f"{name}_rates"], 1e-6 * data["peak_slow"][0])


@pytest.mark.parametrize("name", ["unimodal", "crossmodal"])
def test_safeclip_steps_of_each_epoch(name: str, safeclip: tuple[Planned, Golden]) -> None:
    found, data = safeclip
    agree([len(epoch) for epoch in getattr(found, name)], data[f"{name}_steps"], 0)


def test_safeclip_safe_pairs_grow_to_their_cap(safeclip: tuple[Planned, Golden]) -> None:
    found, data = safeclip
    agree([len(rows) for rows in found.safe], data["safe_sizes"], 0)
    chosen = np.zeros_like(data["safe_rows"])
    for epoch, rows in enumerate(found.safe):
        chosen[epoch, rows] = True
    agree(chosen, data["safe_rows"], 0)
