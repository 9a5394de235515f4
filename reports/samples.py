"""What other test images and another draw of trials would do to the areas of searched cells, and what flatters them.

None of it says what another seed would give.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from benchmark.stats import front_area
from benchmark.store.artifacts import Store
from reports.areas import Searched
from reports.compile import Frame
from reports.outcomes import Outcomes, image_draws, outcomes_of
from reports.statistics import Where

DRAWS = 400
MOST = 24  # cells whose outcomes are read: those of a large suite would take minutes


class Spread(NamedTuple):
    """One attack and seed under both objectives."""

    images: tuple[float, float]  # 95 % of the gap under other test images (paired bootstrap)
    trials: float  # standard deviation of the gap under another draw of the same number of trials, on validation


class Samples(NamedTuple):
    """What is owed to samples."""

    spreads: dict[tuple[str, int], Spread]  # by attack and seed; {} with several seeds, whose spread says more
    optimism: dict[str, float]  # by objective: of the area, from halves of the test images; mean over cells


def samples_of(store: Store, searched: Mapping[Where, Searched], trials: Frame, objectives: tuple[str, str]) -> Samples:
    """Measures both on at most `MOST` cells, the first ones; a cell whose outcomes are not there is left out.

    Args:
        store: where the outcomes are.
        searched: of `areas.searched_cells`.
        trials: the frame of `compile.Results`.
        objectives: labels of the two pre-training objectives.
    """
    found: dict[Where, Outcomes] = {}
    for where in [where for where, cell in searched.items() if not cell.reason][:MOST]:
        cell = searched[where]
        # tables that are no outcomes, or not of the same images, say nothing; the board does not hang on them
        with contextlib.suppress(OSError, KeyError, ValueError, pa.ArrowException):
            own = outcomes_of(store, cell.keys.get("poison"), cell.sources, list(cell.points["sources"]))
            found |= {where: own} if own else {}
    optimism = {
        name: float(np.mean(values))
        for name in objectives
        if (values := [outcomes.optimism() for where, outcomes in found.items() if where[0] == name])
    }
    alone = len({seed for _, _, seed in searched}) == 1
    return Samples(_spreads(found, searched, trials, objectives) if alone else {}, optimism)


def _spreads(
    found: Mapping[Where, Outcomes], searched: Mapping[Where, Searched], trials: Frame, objectives: tuple[str, str]
) -> dict[tuple[str, int], Spread]:
    own = {(name, attack, seed): rows for (name, attack, seed), rows in trials.groupby(["objective", "attack", "seed"])}
    spreads = {}
    for place in dict.fromkeys((attack, seed) for _, attack, seed in found):
        first, second = ((name, *place) for name in objectives)
        if first in found and second in found:
            # each search is drawn by itself, though their quasi-random points are the same
            redrawn = [_redrawn(own[where], searched[where].net, seed=i) for i, where in enumerate((first, second))]
            spreads[place] = Spread(
                _images(found[first], found[second]), float(np.std(redrawn[0] - redrawn[1], ddof=1))
            )
    return spreads


def _images(first: Outcomes, second: Outcomes) -> tuple[float, float]:
    """Both models look at the same images, so that they are drawn together."""
    weights = image_draws(len(first.ids), DRAWS, seed=0)
    low, high = np.percentile(first.areas(weights) - second.areas(weights), [2.5, 97.5])
    return float(low), float(high)


def _redrawn(trials: Frame, start_net: float, *, seed: int) -> np.ndarray:
    """(DRAWS,) areas on validation of as many trials, drawn with replacement; the start's net ASR is that on test."""
    kept = trials[~trials["collapsed"]].dropna(subset=["validation_accuracy", "validation_asr"])
    accuracy = kept["validation_accuracy"].to_numpy(float)
    net = (kept["validation_asr"] - kept["validation_floor"].fillna(0.0)).to_numpy(float)
    start = (float(trials["validation_start"].iloc[0]), start_net)
    names = trials["trial"].unique()
    rows = [np.flatnonzero(kept["trial"].to_numpy() == name) for name in names]
    rng = np.random.default_rng(seed)
    areas = []
    for drawn in rng.integers(0, len(names), (DRAWS, len(names))):
        chosen = np.concatenate([rows[place] for place in np.unique(drawn)])
        areas.append(front_area(start, np.c_[accuracy[chosen], net[chosen]]))
    return np.array(areas)
