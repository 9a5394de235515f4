"""What `status` says of cells in the middle of a run and after a kill; what the nodes of a suite are listed from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from benchmark.config import registry
from benchmark.config.compute_options import ComputeOptions
from benchmark.engine import journal, running
from benchmark.engine.graph import nodes_of
from benchmark.engine.journal import Journal, last_run
from benchmark.engine.standing import standings
from benchmark.engine.suites import Resolved, resolve
from benchmark.errors import UserError
from benchmark.stages import keys
from benchmark.stages.every import STAGES
from benchmark.stages.keys import cells_of, stage_key
from benchmark.stages.node import Ended, Node, Ref
from benchmark.stages.prepare import row_counter
from benchmark.store.artifacts import Store
from benchmark.store.suites import suite_document

pytestmark = pytest.mark.unit
KEYS = {"data": "d" * 32, "pretrain": "a" * 32, "defend": "b" * 32}
ENTRIES: list[dict[str, Any]] = [{"record": "c" * 32, "nodes": [list(item) for item in KEYS.items()]}]


def finished(store: Store, stage: str, key: str, facts: dict[str, Any] | None = None) -> None:
    draft = store.draft(stage, key)
    draft.path("file").write_text("x")
    draft.commit(facts or {})


def test_a_cell_without_a_record_waits_for_the_first_stage_that_is_not_there(tmp_path: Path) -> None:
    store = Store(tmp_path)
    finished(store, "data", KEYS["data"])
    store.draft("pretrain", KEYS["pretrain"])  # begun, and never finished
    (one,) = standings(store, ENTRIES, last_run(store, "s"))
    assert (one.state, one.what) == ("waiting", "pre-train")
    for stage in ("pretrain", "defend"):
        finished(store, stage, KEYS[stage])
    (one,) = standings(store, ENTRIES, last_run(store, "s"))  # for others: a part of the grid was run
    assert (one.state, one.what) == ("waiting", "a run that asks for its record")


@pytest.mark.parametrize("text", [None, "xx"])
def test_a_record_whose_file_is_lost_or_of_another_size_is_no_record(
    text: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path)
    finished(store, "record", "c" * 32, {"statuses": {"default": "ok"}, "final": True})
    (one,) = standings(store, ENTRIES, last_run(store, "s"))
    assert one.state == "done"
    (file,) = tmp_path.glob("record/*/*/file")
    file.unlink() if text is None else file.write_text(text)
    (one,) = standings(Store(tmp_path), ENTRIES, last_run(store, "s"))
    assert (one.state, one.statuses) == ("waiting", {})
    assert "it counts as absent and is made again when it is needed" in caplog.text


def test_what_runs_and_what_failed_is_known_from_the_journal_until_the_run_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, stages = Store(tmp_path), {stage.name: stage for stage in STAGES}
    with Journal(store, "s") as written:
        written.running([Node(stages["pretrain"], KEYS["pretrain"], "mmcl · clean")])
        written._write()
        alive = last_run(store, "s")
        (one,) = standings(store, ENTRIES, alive)
        assert (alive.state, alive.process) == ("alive", os.getpid())
        assert (one.state, one.what) == ("running", "pre-train: mmcl · clean")
        monkeypatch.setattr(journal, "is_process", lambda number: False)
        (one,) = standings(store, ENTRIES, last_run(store, "s"))
        assert (last_run(store, "s").state, one.state) == ("died", "waiting")
        written.failed(Ref("pretrain", KEYS["pretrain"]), Ended("failed", "KeyError: 'x'"))
    (one,) = standings(store, ENTRIES, last_run(store, "s"))
    assert last_run(store, "s").state == "ended"
    assert (one.state, one.what) == ("failed", "failed: KeyError: 'x'")


def test_a_final_record_says_what_a_cell_came_to(tmp_path: Path) -> None:
    store = Store(tmp_path)
    finished(store, "record", "c" * 32, {"statuses": {"default": "ok"}, "final": True})
    (one,) = standings(store, ENTRIES, last_run(store, "s"))
    assert (one.state, one.statuses) == ("done", {"default": "ok"})


@pytest.mark.parametrize("name", ["smoke", "kinds"])
def test_what_all_defenses_of_a_model_share_is_listed_once_and_nothing_is_lost(name: str) -> None:
    cells, known = cells_of(registry.suite(name)()), row_counter(Store("memory://nowhere"))
    every = [node for cell in cells for stage in STAGES for node in stage.nodes(cell, known)]
    listed = [node for _, node in nodes_of(cells, STAGES, known)]
    assert {(node.ref, node.inputs, node.after, node.work) for node in listed} == {
        (node.ref, node.inputs, node.after, node.work) for node in every
    }
    assert len(listed) < len(every)


def test_a_pretraining_is_hashed_once_for_all_cells_that_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []

    def counted(stage: str, spec: Any, inputs: list[str]) -> str:
        hashed.append(stage)
        return stage_key(stage, spec, inputs)

    monkeypatch.setattr(keys, "stage_key", counted)
    found = cells_of(registry.suite("smoke")())
    assert hashed.count("data") == 1
    assert hashed.count("pretrain") == len({cell.keys.pretrain for cell in found})
    assert hashed.count("record") == len(found)


def test_a_suite_is_known_and_its_run_alive_while_ray_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_resolved: Resolved, store: Store, *_rest: object) -> None:
        assert len(suite_document(store, "smoke")["cells"]) == 24
        assert last_run(store, "smoke").state == "alive"
        raise UserError("Ray did not start")

    monkeypatch.setattr(running, "_executor", start)
    store = Store(tmp_path)
    with pytest.raises(UserError, match="Ray did not start"):
        running.run(resolve("smoke", store=store), store, ComputeOptions(), running.Wanted(quiet=True))
    assert last_run(store, "smoke").state == "ended"
