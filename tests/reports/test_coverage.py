"""In made-up worlds: how often intervals hold the truth, and how often the page claims a direction that is not there.

A world has two objectives, two attacks and a number of seeds. A seed moves both attacks of an objective alike, each
cell scatters by itself, the images of the test split move every cell alike, and a share of cells stands under the
−100 % rule, which no t-distribution knows of.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import binomtest

from reports.answer import reading
from reports.grid import Names
from reports.ranking import Scored, rank
from reports.statistics import Change, RepairGap, paired_gap

OBJECTIVES, ATTACKS = ("mmcl", "mmcl-ssl"), ("badnet", "blended")
NAMES = Names(dict(zip(OBJECTIVES, ("MMCL", "MMCL+SSL"), strict=True)), {name: name for name in ATTACKS}, {"r": "R"})
REPEATS = 2000
SCATTER, IMAGES = 0.02, 0.01  # of a cell by itself; of the test images, which all cells share


def draw(rng: np.random.Generator, *, seeds: int, deviation: float, ruled: float, gap: float) -> RepairGap:
    """One run of a suite in a world whose true gap is `gap` for cells that no rule sets."""
    seed_effects = rng.normal(0, deviation / math.sqrt(2), (seeds, 2, 1))  # of a difference: `deviation`
    cells = -0.3 + seed_effects + rng.normal(0, SCATTER, (seeds, 2, 2)) + rng.normal(0, IMAGES)
    cells[:, 0] += gap
    cells[rng.random((seeds, 2, 2)) < ruled] = -1.0
    values = {
        (OBJECTIVES[objective], ATTACKS[attack], seed): Change(float(cells[seed, objective, attack]), 1e-4, False, "")
        for seed, attack, objective in itertools.product(range(seeds), range(2), range(2))
    }
    return paired_gap(values, repair="r", objectives=OBJECTIVES, selection="oracle")


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("deviation", [0.02, 0.10, 0.30])
@pytest.mark.parametrize("ruled", [0.0, 0.15, 0.5])
def test_intervals_over_seeds_hold_the_truth(ruled: float, deviation: float, seeds: int) -> None:
    rng = np.random.default_rng([seeds, int(100 * deviation), int(100 * ruled)])
    gap = 0.1
    truth = (1 - ruled) * gap
    held = total = 0
    for _ in range(REPEATS):
        interval = draw(rng, seeds=seeds, deviation=deviation, ruled=ruled, gap=gap).overall.interval
        total += interval is not None
        held += interval is not None and interval.low <= truth <= interval.high
    assert total == REPEATS
    assert 0.92 <= held / total <= 0.99


def claims(gap: RepairGap) -> bool:
    """Whether the page's sentences give a direction."""
    return any(word in sentence for sentence in reading(gap, NAMES) for word in ("harder", "easier"))


@pytest.mark.slow
@pytest.mark.parametrize("deviation", [0.02, 0.10, 0.30])
@pytest.mark.parametrize("ruled", [0.0, 0.15, 0.5])
def test_where_there_is_no_gap_the_page_claims_one_at_most_once_in_twenty(ruled: float, deviation: float) -> None:
    """No more often than chance lets a rate of one in twenty look, once in a thousand tests."""
    for seeds in (3, 5, 10):
        rng = np.random.default_rng([7, seeds, int(100 * deviation), int(100 * ruled)])
        found = sum(claims(draw(rng, seeds=seeds, deviation=deviation, ruled=ruled, gap=0.0)) for _ in range(REPEATS))
        assert binomtest(found, REPEATS, 0.05, alternative="greater").pvalue > 1e-3, (seeds, found)


@pytest.mark.slow
def test_one_seed_never_claims_and_several_do_where_there_is_a_gap() -> None:
    rng = np.random.default_rng(1)
    assert not any(claims(draw(rng, seeds=1, deviation=0.02, ruled=0.0, gap=0.3)) for _ in range(200))
    found = sum(claims(draw(rng, seeds=5, deviation=0.02, ruled=0.0, gap=0.3)) for _ in range(200))
    assert found > 190


def scored_rows(rng: np.random.Generator, *, rows: int, seeds: int, better: float) -> list[Scored]:
    """Repairs on two cells a seed, which seeds move alike; the first leaves `better` less of the attacks."""
    common = rng.normal(0.5, 0.1, (seeds, 2))
    made = []
    for place in range(rows):
        net = (common + rng.normal(0, 0.05, (seeds, 2)) - (better if place == 0 else 0)).clip(0, 1)
        made.append(Scored(f"row {place}", net, np.zeros_like(net), net, 2 * seeds, 2 * seeds))
    return made


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
@pytest.mark.parametrize("rows", [2, 5, 9])
def test_equal_repairs_share_one_rank_in_nineteen_boards_of_twenty(rows: int, seeds: int) -> None:
    rng = np.random.default_rng([rows, seeds])
    boards = 600
    found = sum(max(rank(scored_rows(rng, rows=rows, seeds=seeds, better=0.0))[0]) > 1 for _ in range(boards))
    assert binomtest(found, boards, 0.05, alternative="greater").pvalue > 1e-3, found


@pytest.mark.slow
def test_a_better_repair_gets_the_first_rank_for_itself_where_seeds_suffice() -> None:
    rng = np.random.default_rng(9)
    ranks = [rank(scored_rows(rng, rows=5, seeds=10, better=0.25))[0] for _ in range(100)]
    assert sum(found == [1, 2, 2, 2, 2] for found in ranks) > 90
