"""What is owed to test images and to trials: by hand, and from the outcomes of a store that was really run."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pyarrow as pa
import pytest

from benchmark.store.artifacts import Store
from reports.areas import Bound, searched_cells
from reports.compile import Results, compile_suite
from reports.outcomes import Outcomes, image_draws, outcomes_of
from reports.samples import DRAWS, samples_of
from tests.helpers.fake_suite import OBJECTIVES


def outcomes(right: list[list[int]], hit: list[list[int]], *, counts: list[int] | None = None) -> Outcomes:
    """A cell of few images, all of which count for ASR unless said else; the twin is never hit."""
    number = len(right[0])
    own = np.array([1] * number if counts is None else counts, float)
    return Outcomes(np.arange(number), np.array(right, float), np.array(hit, float) * own, np.zeros(number), own)


def test_numbers_under_weights_by_hand() -> None:
    cell = outcomes([[1, 1, 1, 0], [1, 0, 1, 0]], [[1, 1, 1, 1], [0, 1, 0, 1]], counts=[1, 1, 1, 0])
    accuracy, net = cell.numbers(np.array([[1.0, 2.0], [1.0, 0.0], [1.0, 1.0], [1.0, 1.0]]))
    assert accuracy.tolist() == [[0.75, 0.75], [0.5, 0.75]]
    assert net.ravel().tolist() == pytest.approx([1.0, 1.0, 1 / 3, 0.0])


def test_the_area_of_the_whole_split_is_that_of_its_numbers() -> None:
    cell = outcomes([[1, 1, 1, 0], [1, 0, 1, 0]], [[1, 1, 1, 1], [0, 1, 0, 1]])
    # start (.75, 1), point (.5, .5): half of the ASR axis at .5
    assert cell.areas(np.ones((4, 1))) == pytest.approx([0.5 * 0.5 / 0.75])


def test_points_that_differ_by_chance_alone_flatter_and_equal_ones_do_not() -> None:
    rng = np.random.default_rng(2)
    right, hit = rng.random((13, 400)) < 0.7, np.zeros((13, 400))
    hit[0] = 1
    assert outcomes(right.tolist(), hit.tolist()).optimism() > 0.01
    same = [[1, 1, 0, 0] * 10] * 3
    assert outcomes(same, [[1] * 40, [0] * 40, [0] * 40]).optimism() == 0


def test_draws_of_images_keep_their_number() -> None:
    weights = image_draws(50, 20, seed=3)
    assert weights.shape == (50, 20) and (weights.sum(axis=0) == 50).all()
    assert (weights != image_draws(50, 20, seed=4)).any() and (weights == image_draws(50, 20, seed=3)).all()


def test_made_up_records_without_outcomes_say_nothing(results: Results, tmp_path: Path) -> None:
    bound = Bound(0.05, net=True)
    found = searched_cells(
        results.cells, results.fronts, results.trials, repair="cleanclip", objectives=OBJECTIVES, bound=bound
    )
    assert samples_of(Store(tmp_path), found, results.trials, OBJECTIVES) == ({}, {})


def test_outcomes_that_are_none_break_no_board(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = searched_cells(
        results.cells,
        results.fronts,
        results.trials,
        repair="cleanclip",
        objectives=OBJECTIVES,
        bound=Bound(0.05, True),
    )
    for error in (OSError("torn"), KeyError("id"), ValueError("duplicate labels"), pa.ArrowInvalid("no Parquet")):
        monkeypatch.setattr("reports.samples.outcomes_of", Mock(side_effect=error))
        assert samples_of(Store(tmp_path), found, results.trials, OBJECTIVES) == ({}, {})


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_outcomes_give_the_areas_of_the_records(miniature_store: Path) -> None:
    store = Store(miniature_store)
    results = compile_suite(store, "smoke")
    (pair,) = {tuple(dict.fromkeys(results.cells["objective"]))}
    searched = searched_cells(
        results.cells, results.fronts, results.trials, repair=_repair(results), objectives=pair, bound=Bound(0.05, True)
    )
    spreads = []
    for cell in searched.values():
        if not cell.reason:
            read = outcomes_of(store, cell.keys["poison"], cell.sources, list(cell.points["sources"]))
            assert read is not None
            assert read.areas(np.ones((len(read.ids), 1))) == pytest.approx([cell.area], abs=1e-12)
            spreads.append(np.std(read.areas(image_draws(len(read.ids), DRAWS, seed=0))))
    assert len(spreads) == 4 and max(spreads) > 0


def _repair(results: Results) -> str:
    return str(results.cells.loc[results.cells["searched"].astype(bool), "repair"].iloc[0])
