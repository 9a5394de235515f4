"""The kept surface, and what samplers and stopping rules make of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.feather as feather
import pytest

from benchmark.api import run as run_suite
from benchmark.config.spec import Gate, Splits, Suite
from benchmark.datasets.shapes.dataset import Shapes
from benchmark.perf.surface import measure, world
from benchmark.perf.surface.samplers import SAMPLERS, Sampler, free, nearest
from benchmark.perf.surface.stopping import RULES, run
from benchmark.perf.surface.table import SCHEMA, Curves, Split, load, load_study, write
from benchmark.perf.surface.tables import sampler_lines, stop_lines
from benchmark.perf.surface.value import whole, worth
from benchmark.repairs.cleanclip import CleanCLIP
from benchmark.stages.keys import defend_key
from benchmark.stages.trial import epochs_of
from benchmark.store.artifacts import Store


@pytest.fixture(scope="module")
def models() -> list[Curves]:
    """The surface as it is kept."""
    return load()


def test_the_kept_surface_has_every_epoch_of_the_grid_for_both_objectives_and_seeds(models: list[Curves]) -> None:
    assert [(curves.objective, curves.seed) for curves in models] == [
        ("mmcl", 0),
        ("mmcl", 1),
        ("mmcl-ssl", 0),
        ("mmcl-ssl", 1),
    ]
    for curves in models:
        for split in (curves.validation, curves.test):
            assert split.points.shape == (len(world.grid()), world.EPOCHS, 2)
            assert np.nanmin(split.points) >= 0
            assert np.nanmax(split.points) <= 1
            assert split.start[1] > 0.6  # the attack is there before any repair


def test_it_is_the_grid_of_the_world(models: list[Curves]) -> None:
    table = feather.read_table(measure.FILE)
    rows = table.filter(np.asarray(table["trial"]) >= 0).to_pylist()
    assert {(row["trial"], row["learning_rate"], row["ssl_weight"]) for row in rows} == {
        (number, *point) for number, point in enumerate(world.grid())
    }


def test_repair_has_a_price_after_both_objectives_or_a_search_could_not_be_told_from_another(
    models: list[Curves],
) -> None:
    for curves in models:
        met = curves.validation.points[..., 1] <= 0.05
        assert 0.1 < met.mean() < 0.6
        assert 0.5 < worth(curves, whole(curves)).test < 1.0


def test_more_epochs_of_more_trials_are_never_worth_less_where_they_are_chosen(models: list[Curves]) -> None:
    for curves in models:
        few = dict.fromkeys(range(0, curves.num_trials, 9), 3)
        more = few | dict.fromkeys(range(0, curves.num_trials, 3), 5)
        # at most twelve epochs stand on a front, which may cost a hair
        assert worth(curves, few).validation <= worth(curves, more).validation + 1e-3
        assert worth(curves, more).validation <= worth(curves, whole(curves)).validation + 1e-3


def made_up(*trials: list[tuple[float, float]]) -> Curves:
    """A model that starts at CA 0.8 and net ASR 1."""
    split = Split(np.array([0.8, 1.0]), np.array(trials, float))
    return Curves("mmcl", 0, split, split)


def test_the_worth_of_a_search_by_hand() -> None:
    found = worth(made_up([(0.6, 0.5), (0.4, 0.0)], [(0.7, 0.04), (0.1, 0.0)]), {0: 2, 1: 2})
    # 0.4 beyond 0.04 and 0.7 up to 1; 0.1 has collapsed; (0.6, 0.5) is beaten
    assert found.validation == pytest.approx((0.7 * 0.96 + 0.4 * 0.04) / 0.8)
    assert found.test == found.validation
    assert found.cut == pytest.approx((0.7 - 0.8) / 0.8)
    assert worth(made_up([(0.6, 0.5)]), {0: 1}).cut == -1.0


def test_what_validation_chose_is_read_on_test() -> None:
    curves = made_up([(0.6, 0.5), (0.7, 0.2)])
    other = Split(np.array([0.9, 1.0]), np.array([[(0.9, 0.0), (0.5, 0.1)]]))
    found = worth(curves._replace(test=other), {0: 2})
    assert found.test == pytest.approx(0.5 * 0.9 / 0.9)  # the epoch that is better on test was not chosen


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: sampler.name)
def test_a_sampler_draws_points_of_the_grid_that_its_seed_decides(sampler: Sampler, models: list[Curves]) -> None:
    first, again, other = (sampler.draw(models[0], 12, seed) for seed in (1, 1, 2))
    assert len(set(first)) == 12
    assert set(first) <= set(range(models[0].num_trials))
    assert first == again != other
    if sampler.anytime:
        assert sampler.draw(models[0], 8, 1) == first[:8]


def test_a_proposal_is_the_nearest_point_that_was_not_run() -> None:
    points = world.grid()
    assert all(free(*nearest(*point), ()) == number for number, point in enumerate(points))
    assert free(*nearest(1e9, 1e-9), ()) == points.index((world.HIGHEST_RATE, world.LOWEST_WEIGHT))
    middle = free(4, 4, ())
    around = [free(4, 4, {middle}), free(4, 4, {middle, middle - world.SSL_WEIGHTS})]
    assert around == [middle - world.SSL_WEIGHTS, middle - 1]


def test_the_table_of_samplers_ends_with_the_whole_grid(models: list[Curves], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmark.perf.surface.tables.SAMPLERS", SAMPLERS[:1])
    monkeypatch.setattr("benchmark.perf.surface.tables.BUDGETS", (8, 64))
    few, many, all_of_it = sampler_lines(models, 6)
    assert (few.sampler, few.trials, few.redraws) == ("random", 8, 6)
    assert few.low <= few.validation < many.validation < 1
    assert few.gap_deviation > many.gap_deviation > 0
    assert (all_of_it.validation, all_of_it.test, all_of_it.reached, all_of_it.gap_deviation) == (1, 1, 1, 0)
    areas = [worth(curves, whole(curves)).test for curves in models]
    assert all_of_it.gap == pytest.approx(np.mean(areas[:2]) - np.mean(areas[2:]))


def test_a_stopping_rule_runs_fewer_epochs_of_as_many_trials_or_more_trials_for_as_many_epochs(
    models: list[Curves],
) -> None:
    few = list(stop_lines(models[:1], 2, trials=16, equal="trials"))
    assert [line.trials for line in few] == [16] * len(RULES)
    assert few[0].epochs == pytest.approx(16 / models[0].num_trials)
    assert all(line.epochs < few[0].epochs and line.validation <= few[0].validation + 1e-3 for line in few[1:])
    equal = list(stop_lines(models[:1], 2, trials=16, equal="epochs"))
    assert all(line.trials > 16 for line in equal[1:])
    assert all(line.epochs < few[0].epochs + 8 / 1024 for line in equal)


def test_a_trial_that_is_no_number_any_more_ends_without_being_asked(models: list[Curves]) -> None:
    nan = float("nan")
    curves = made_up([(0.6, 0.5), (nan, nan)], [(nan, nan), (nan, nan)], [(0.7, 0.2), (0.7, 0.1)])
    assert run(curves, [0, 1, 2], RULES[0], epochs=99, seed=0) == {0: 1, 1: 0, 2: 2}


def test_the_studys_curves_are_read(tmp_path: Path) -> None:
    file = tmp_path / "cleaning.csv"
    head = "pretrain_data,pretrain_objective,clean_pairs,cleaning_objective,trial,evaluation,clean_accuracy,asr"
    rows = ["0,0,0.2,0.99", "0,1,0.1,0.5", "0,2,0.15,0.2", "1,0,0.2,0.99", "1,1,0.05,0.1", "1,2,0.06,0.0"]
    file.write_text("\n".join([head, *(f"cc3m,mmcl,100000,mmcl+ssl,{row}" for row in rows)]))
    (curves,) = load_study(file)
    assert curves.objective == "mmcl, cleaned with mmcl+ssl"
    np.testing.assert_allclose(curves.test.start, [0.2, 0.99])
    np.testing.assert_allclose(curves.validation.points, [[[0.1, 0.5], [0.15, 0.2]], [[0.05, 0.1], [0.06, 0.0]]])


def test_a_surface_that_lacks_a_point_is_not_joined(tmp_path: Path) -> None:
    write([dict.fromkeys(SCHEMA.names)], tmp_path / "mmcl-0-3.arrow")
    with pytest.raises(ValueError, match="1 of 516 points are measured"):
        measure.gather(tmp_path, tmp_path / "surface.arrow")
    assert not (tmp_path / "surface.arrow").exists()


def few() -> Suite:
    """The world with one objective, one seed and one epoch of everything."""
    found = world.suite()
    return found.model_copy(
        update={
            "data": Shapes(num_rows=700),
            "splits": Splits(pretrain=300, clean=128, validation=80, test=100),
            "pretrain": found.pretrain.model_copy(update={"epochs": 1}),
            "objectives": found.objectives[:1],
            "repairs": (CleanCLIP(epochs=2, learning_rate=1e-3, ssl_weight=1.0, warmup_steps=1),),
            "gate": Gate(min_asr=0, max_accuracy_drop=1),
            "seeds": (0,),
        }
    )


@pytest.mark.slow
def test_points_are_measured_once_and_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "suite", few)
    monkeypatch.setattr(measure, "grid", lambda: [(1e-3, 1.0), (1e3, 1.0)])
    file, store, points = tmp_path / "few.json", tmp_path / "store", tmp_path / "points"
    file.write_text(json.dumps(few().to_dict()))
    run_suite(str(file), store=store, local=True, quiet=True)
    measure.measure(Store(store), points, part=1, parts=2)
    (alone,) = points.glob("*.arrow")
    before = alone.stat().st_mtime_ns
    measure.measure(Store(store), points)
    assert alone.stat().st_mtime_ns == before  # what is there is left alone
    assert measure.gather(points, tmp_path / "surface.arrow") == 1 + 2 + 2
    (curves,) = load(tmp_path / "surface.arrow")
    assert np.isnan(curves.test.points[1]).all()  # its weights are no numbers
    assert 0 < curves.validation.points[0, 0, 0] < 1
    # the first point is the repair at its defaults, which the run has measured itself
    (cell,) = measure.cells()
    repair = cell.experiment.repair
    assert repair is not None
    rows = epochs_of(Store(store), defend_key(cell, repair))
    np.testing.assert_allclose(curves.validation.points[0, :, 0], [row["validation_accuracy"] for row in rows])
    own = feather.read_table(points / "mmcl-0-0.arrow").to_pylist()
    np.testing.assert_allclose([row["validation_asr"] for row in own], [row["validation_asr"] for row in rows])
