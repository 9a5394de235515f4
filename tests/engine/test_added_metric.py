"""`--add metric=`: a metric of one outside file over cells that are finished; no model, no Ray, no record touched."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import benchmark as bm
from benchmark.cli import app
from benchmark.config import registry
from benchmark.config.plugins import load_files
from benchmark.evaluation.measure import shipped_metrics
from benchmark.store.artifacts import Store
from reports.board import write_board
from tests.helpers.finished import finish

pytestmark = pytest.mark.unit
METRIC = '''"""A metric."""
from benchmark.types import Card, Measure, Metric, proportion


class TopThree(Metric):
    """Share of triggered images of other classes with the target among the first `places`."""
    name = "top-three"
    card = Card(title="T", citation="C", access="outputs", summary="S")
    places: int = 3

    def measure(self, table, *, target):
        rows = table[table["condition"].str.startswith("badnet") & (table["true_class"] != target)]
        if target is None or not len(rows):
            return []
        return [proportion("in_first", "zero_shot", int((rows["target_rank"] < self.places).sum()), len(rows))]


class Spread(Metric):
    """Between the highest score of a poisoned pair and that of a clean one."""
    name = "spread"
    of = "scores"
    unit = "score"
    bounds = (-1.0, 1.0)
    card = Card(title="T", citation="C", access="outputs", summary="S")

    def measure(self, table, *, target):
        tops = table.groupby("positive")["score"].max()
        return [Measure("spread", "scores", float(tops[True] - tops[False]), -1, len(table))]


class Twice(Metric):
    """The same number twice."""
    name = "twice"
    card = Card(title="T", citation="C", access="outputs", summary="S")

    def measure(self, table, *, target):
        return [proportion("hits", "zero_shot", hits, 2) for hits in (1, 2)]


class Usurper(Metric):
    """A number under the name of another metric's."""
    name = "usurper"
    version = 9
    card = Card(title="T", citation="C", access="outputs", summary="S")

    def measure(self, table, *, target):
        return [proportion("clean_accuracy", "zero_shot", 2, 2)]


class Broken(Metric):
    """Raises."""
    name = "broken"
    card = Card(title="T", citation="C", access="outputs", summary="S")

    def measure(self, table, *, target):
        raise KeyError("no such column")
'''
# the command, and at its end which heavy libraries it has loaded
COMMAND = """
import sys
from benchmark.cli.app import main
try:
    main()
finally:
    print([name for name in ("torch", "ray", "open_clip") if name in sys.modules], file=sys.stderr)
"""


class Tried:
    """A finished store, a plugin with metrics, and the command on both."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self.root, self.store, self.suite = root, root / "store", finish(root)
        self._capsys, self._patch = capsys, patch
        patch.setattr(registry, "_PLUGINS", {})
        self.plugin(METRIC)

    def plugin(self, source: str) -> None:
        (self.root / "metrics.py").write_text(source)

    def words(self, *metrics: str) -> list[str]:
        added = [word for metric in metrics for word in ("--add", f"metric={metric}")]
        plugin = str(self.root / "metrics.py")
        return ["run", str(self.suite), "--plugin", plugin, *added, "--store", str(self.store)]

    def run(self, *metrics: str, code: int = 0) -> tuple[str, str]:
        self._patch.setattr(sys, "argv", ["backstop", *self.words(*metrics)])
        with pytest.raises(SystemExit) as end:
            app.main()
        assert int(end.value.code or 0) == code
        return self._capsys.readouterr()

    def numbers(self, name: str) -> Any:
        table = bm.load_results(self.store, "made-up").measures
        return table[table["name"] == name]

    def records(self) -> dict[str, bytes]:
        return {str(file): file.read_bytes() for file in (self.store / "record").rglob("*") if file.is_file()}

    def measures(self) -> list[str]:
        return sorted(file.parent.name for file in self.store.glob("measure/*/manifest.json"))


@pytest.fixture
def tried(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Tried:
    return Tried(tmp_path, capsys, monkeypatch)


def test_a_metric_reaches_the_board_of_finished_cells_and_leaves_their_records(tried: Tried) -> None:
    before = tried.records()
    whole = [sys.executable, "-c", COMMAND, *tried.words("TopThree")]
    done = subprocess.run(whole, capture_output=True, text=True, check=True)
    assert "measures: 3 ok" in done.stdout
    assert done.stderr.splitlines()[-1] == "[]"  # neither torch nor Ray
    page = write_board(Store(tried.store), "made-up", tried.root / "board").read_text()
    assert "In first" in page
    table = pd.read_csv(tried.root / "board" / "measures.csv")
    (row,) = table[table["name"] == "in_first"].to_dict("records")
    assert (row["value"], row["count"], row["total"], row["metric"]) == (0.75, 3, 4, "top-three")
    assert row["source"].removeprefix("measure/") in tried.measures()
    assert tried.records() == before


def test_a_metric_is_applied_once_and_a_changed_one_again(tried: Tried) -> None:
    tried.run("top-three")
    first = tried.measures()
    tried.run("top-three")
    assert tried.measures() == first
    tried.run("top-three:places=2")
    assert tried.numbers("in_first")["value"].tolist() == [0.5]  # the other form is not the suite's any more
    tried.plugin(METRIC.replace('name = "top-three"', 'name = "top-three"\n    version = 2'))
    tried.run("top-three")
    tried.plugin(METRIC.replace("self.places).sum()", "self.places - 2).sum()"))
    tried.run("top-three")
    assert tried.numbers("in_first")["value"].tolist() == [0.25]
    assert len(tried.measures()) == 4 * len(first)
    tried.plugin(METRIC)  # as it was at first: its numbers are there, and stand again
    tried.run("top-three")
    assert tried.numbers("in_first")["value"].tolist() == [0.75]
    assert len(tried.measures()) == 4 * len(first)


def test_a_metric_of_scores_reduces_what_a_detector_scored(tried: Tried) -> None:
    tried.run("spread")
    (row,) = tried.numbers("spread").to_dict("records")
    assert row["value"] == pytest.approx(0.6)
    assert (row["total"], row["readout"], row["upper"]) == (5, "scores", 1.0)


def test_a_metric_that_fails_is_said_and_ends_with_one(tried: Tried) -> None:
    out, err = tried.run("broken", "top-three", code=1)
    assert "measures: 4 ok, 2 failed" in out
    assert "KeyError: 'no such column'" in err
    assert "2 failed: KeyError: 'no such column'" in out.splitlines()  # also where progress is not shown
    assert len(tried.numbers("in_first")) == 1


FAULTS = {
    "twice": "metric twice must give each number of a read-out once, got ('hits', 'zero_shot') twice",
    "usurper": "metric usurper must give numbers that records do not hold already, got clean_accuracy of clean",
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_number_that_would_hide_another_is_refused(name: str, tried: Tried) -> None:
    _, err = tried.run(name, code=1)
    assert FAULTS[name] in err
    assert set(bm.load_results(tried.store, "made-up").measures["source"]) == {"record"}


def test_a_metric_that_every_record_holds_is_not_added_again(tried: Tried) -> None:
    _, err = tried.run("auroc", code=2)
    assert "--add metric=auroc must add a metric, got one that suite made-up has already; leave it out" in err


def test_a_loaded_plugin_alone_changes_no_record(tried: Tried) -> None:
    before = shipped_metrics()
    load_files([tried.root / "metrics.py"])
    assert "top-three" in registry.names("metric")
    assert shipped_metrics() == before
