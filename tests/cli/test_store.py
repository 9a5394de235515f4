"""`backstop store`: what lies in a store, whether it is whole, what nobody needs, and copies from others."""

from __future__ import annotations

import json
import os
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmark.store.artifacts import Store
from benchmark.store.schemas import SOURCE
from tests.cli.conftest import Call

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("cache")]
LONG_AGO = time.time() - 48 * 3600


@pytest.fixture(params=["local", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "store") if request.param == "local" else f"memory://{uuid.uuid4().hex}/store"


def write(store: Store, stage: str, key: str, *, base: str | None = None, text: str = "weights") -> None:
    draft = store.draft(stage, key)
    draft.path("model.safetensors").write_text(text)
    draft.path("model.json").write_text(json.dumps({"base": {"artifact": base} if base else {}}))
    draft.commit({"wall_s": 1.0})


def files(root: str) -> set[str]:
    fs, base = fsspec.core.url_to_fs(root)
    return {path.removeprefix(base).lstrip("/") for path in fs.find(base)}


def put(root: str, name: str, text: str = "x") -> None:
    """A file that has lain there for two days."""
    fs, base = fsspec.core.url_to_fs(root)
    fs.makedirs(f"{base}/{name}".rpartition("/")[0], exist_ok=True)
    fs.pipe_file(f"{base}/{name}", text.encode())
    if "://" in root:
        fs.store[f"{base}/{name}"].created = datetime.fromtimestamp(LONG_AGO, UTC)
    else:
        for path in (Path(root) / name, (Path(root) / name).parent):
            os.utime(path, (LONG_AGO, LONG_AGO))


def test_ls_counts_what_there_is(root: str, call: Call) -> None:
    write(Store(root), "pretrain", "k1")
    write(Store(root), "pretrain", "k1", text="again")
    put(root, "defend/k2/20250101T000000-0123abcd/model.json")
    code, out, _ = call("store", "ls", "--store", root, "--json")
    assert code == 0
    defend, pretrain = json.loads(out)
    assert [defend[name] for name in ("stage", "artifacts", "unfinished", "attempts", "size")] == ["defend", 0, 1, 1, 1]
    assert [pretrain[name] for name in ("artifacts", "unfinished", "attempts")] == [1, 0, 1]
    assert "1 artifacts" in call("store", "ls", "--store", root)[1]


def test_verify_reads_every_file_anew(root: str, call: Call) -> None:
    write(Store(root), "pretrain", "k1")
    write(Store(root), "pretrain", "k2")
    assert call("store", "verify", "--store", root)[:2] == (0, "2 artifacts: all are as they were written\n")
    fs, base = fsspec.core.url_to_fs(root)
    (model,) = (path for path in fs.find(base) if "/k2/" in path and path.endswith("model.safetensors"))
    fs.pipe_file(model, b"weightz")
    code, out, _ = call("store", "verify", "--store", root)
    assert code == 1
    assert "pretrain/k2: model.safetensors is not what was written (its sha256 differs)" in out
    assert "1 damaged; have them made again with --drop" in out
    code, out, _ = call("store", "verify", "--drop", "--store", root, "--json")
    assert (code, json.loads(out)["damaged"][0]["key"]) == (1, "k2")
    assert call("store", "verify", "--store", root)[0] == 0
    assert not Store(root).has("pretrain", "k2")
    assert Store(root).has("pretrain", "k1")


GARBAGE = (
    "defend/k9/20250101T000000-0123abcd/model.json",  # never got a manifest
    "pretrain/k1/20250101T000000-0123abcd/model.safetensors",  # another one stands
    "scratch/pretrain/k1/checkpoint.safetensors",  # of a training that has ended
    "scratch/tune/host-1/trial.json",
    "suites/.smoke.json.0123abcd",
    "claims/pretrain/k7.json",
    "claims/owners/0123abcd.json",  # who died two days ago
)
KEPT = ("scratch/pretrain/k8/checkpoint.safetensors", "suites/smoke.json", "logs/defend-k9.txt", "board/smoke/x.html")


def test_gc_removes_what_nobody_needs_and_nothing_else(root: str, call: Call) -> None:
    write(Store(root), "pretrain", "k1")
    before = files(root)
    for name in (*GARBAGE, *KEPT):
        put(root, name)
    code, out, _ = call("store", "gc", "--dry-run", "--store", root, "--json")
    told = json.loads(out)
    assert (code, told["dry_run"], told["size"]) == (0, True, len(GARBAGE))
    assert files(root) == before | set(GARBAGE) | set(KEPT)
    assert f"{len(GARBAGE)} things, {len(GARBAGE)} B, removed" in call("store", "gc", "--store", root)[1]
    assert files(root) == before | set(KEPT)
    assert Store(root).has("pretrain", "k1")
    call("store", "gc", "--logs", "--store", root)
    assert files(root) == before | set(KEPT) - {"logs/defend-k9.txt"}


def test_gc_leaves_what_a_run_may_be_writing(root: str, call: Call) -> None:
    store = Store(root)
    store.draft("pretrain", "k1").path("model.safetensors").write_text("half")
    fs, base = fsspec.core.url_to_fs(root)
    fs.makedirs(f"{base}/pretrain/k1/20250101T000000-0123abcd", exist_ok=True)
    fs.pipe_file(f"{base}/pretrain/k1/20250101T000000-0123abcd/model.json", b"half")
    before = files(root)
    call("store", "gc", "--store", root)
    assert files(root) == before
    call("store", "gc", "--older-than", "0", "--store", root)
    assert files(root) == {"format.json"}


def test_gc_passes_over_the_empty_folders_that_a_run_on_ray_leaves(root: str, call: Call) -> None:
    fs, base = fsspec.core.url_to_fs(root)
    write(Store(root), "pretrain", "k1")
    fs.makedirs(f"{base}/scratch/tune", exist_ok=True)
    code, out, _ = call("store", "gc", "--older-than", "0", "--store", root, "--json")
    assert (code, json.loads(out)["removed"]) == (0, [])


def searched(store: Store, record: str, trials: dict[str, list[int]], chosen: tuple[str, int], **more: object) -> None:
    """A record, and its trials with the epochs whose weights each has."""
    for key, epochs in trials.items():
        if not store.has("defend", key):
            draft = store.draft("defend", key)
            for name in ("epochs.parquet", *(f"epoch-{epoch:04d}.safetensors" for epoch in epochs)):
                draft.path(name).write_text("x")
            draft.commit({"status": "ok"})
    facts = {"final": True, "front_strips": 8} | more
    source = dict.fromkeys(SOURCE.names) | {"model_stage": "defend", "model": chosen[0], "epoch": chosen[1]}
    specification = json.dumps({"search": {"front_strips": facts.pop("front_strips")}})
    draft = store.draft("record", record)
    table = pa.table({"sources": pa.array([[source]], pa.list_(SOURCE)), "specification": [specification]})
    pq.write_table(table, draft.path("records.parquet"))
    pq.write_table(pa.table({"artifact": [*trials]}), draft.path("trials.parquet"))
    draft.commit(facts)


def test_gc_takes_weights_from_finished_searches_that_no_record_stands_on_where_asked(root: str, call: Call) -> None:
    store = Store(root)
    searched(store, "r1", {"t0": [1, 3], "t1": [1, 2]}, ("t1", 2))
    searched(store, "r2", {"t1": [], "t2": [1]}, ("t1", 1))  # of another suite, which stands on another epoch
    searched(store, "r3", {"t3": [1]}, ("t9", 1), final=False)  # is tried again
    searched(store, "r4", {"t4": [1]}, ("t9", 1), front_strips=0)  # a larger search may choose it
    words = ("store", "gc", "--older-than", "0", "--store", root, "--json")
    assert json.loads(call(*words)[1])["removed"] == []
    gone = {"t0/epoch-0001", "t0/epoch-0003", "t2/epoch-0001"}
    dry = json.loads(call(*words, "--trials", "--dry-run")[1])["removed"]
    assert {f"{name.split('/')[1]}/{name.split('/')[3][:10]}" for name in (item["name"] for item in dry)} == gone
    before = files(root)
    assert json.loads(call(*words, "--trials")[1])["removed"] == dry
    assert before - files(root) == {item["name"] for item in dry}
    assert call("store", "verify", "--store", root)[0] == 0
    assert [*Store(root).find("defend", "t0").hashes] == ["epochs.parquet"]  # type: ignore[union-attr]


def test_gc_leaves_all_weights_while_a_run_is_alive(root: str, call: Call) -> None:
    store = Store(root)
    searched(store, "r1", {"t0": [1]}, ("t1", 2))
    store.claim("defend", "t5")
    words = ("store", "gc", "--older-than", "0", "--store", root, "--json", "--trials")
    assert json.loads(call(*words)[1])["removed"] == []
    store.claims.close()
    assert len(json.loads(call(*words)[1])["removed"]) == 1


def test_gc_passes_over_empty_folders_of_claims_and_logs_that_runs_have_left(tmp_path: Path, call: Call) -> None:
    store = Store(tmp_path / "store")
    write(store, "pretrain", "k1")
    store.claim("pretrain", "k2")
    store.claims.close()
    (tmp_path / "store" / "logs").mkdir()
    for folder in (tmp_path / "store").glob("[cl]*/**"):
        os.utime(folder, (LONG_AGO, LONG_AGO))
    code, out, _ = call("store", "gc", "--logs", "--store", store.root, "--json")
    assert (code, json.loads(out)["removed"]) == (0, [])


def test_pull_copies_a_key_with_the_model_that_it_differs_from(root: str, tmp_path: Path, call: Call) -> None:
    theirs, mine = Store(root), str(tmp_path / "mine")
    write(theirs, "pretrain", "k1")
    write(theirs, "defend", "k2", base="k1", text="repaired")
    write(theirs, "defend", "k3")
    words = ("store", "pull", "k2", "--store", mine, "--from", root)
    assert call(*words)[1].startswith("2 of 2 artifacts copied")
    found = Store(mine).find("defend", "k2")
    assert found is not None
    assert (found.facts, found.path("model.safetensors").read_text()) == ({"wall_s": 1.0}, "repaired")
    assert Store(mine).has("pretrain", "k1")
    assert not Store(mine).has("defend", "k3")
    assert call(*words)[1].startswith("0 of 2 artifacts copied")


def test_pull_copies_a_suite_from_several_stores(root: str, tmp_path: Path, call: Call) -> None:
    first, second, mine = Store(tmp_path / "first"), Store(root), str(tmp_path / "mine")
    write(first, "pretrain", "k1")
    write(second, "record", "r1")
    cell = {"record": "r1", "nodes": [["pretrain", "k1"], ["data", "d1"], ["record", "r1"]], "seed": 0}
    cell |= {"objective": "mmcl", "attack": "none", "repair": "none"}
    second.write_json("suites/tiny.json", {"suite": "tiny", "specification": {}, "cells": [cell]})
    words = ("--store", mine, "--from", str(tmp_path / "first"), "--from", root, "--json")
    code, out, _ = call("store", "pull", "tiny", "--stage", "record", *words)
    assert (code, [item["stage"] for item in json.loads(out)["copied"]]) == (0, ["record"])
    code, out, _ = call("store", "pull", "tiny", *words)
    assert [item["stage"] for item in json.loads(out)["copied"]] == ["pretrain"]
    assert Store(mine).read_json("suites/tiny.json") == second.read_json("suites/tiny.json")


def test_pull_copies_what_a_search_chose_too_and_the_outcomes_behind_it(root: str, tmp_path: Path, call: Call) -> None:
    theirs, mine = Store(root), str(tmp_path / "mine")
    for stage, key in (("evaluate", "e1"), ("evaluate", "e2"), ("defend", "t0"), ("defend", "t1"), ("defend", "other")):
        write(theirs, stage, key)
    behind = dict.fromkeys(SOURCE.names) | {"stage": "evaluate", "model_stage": "defend", "model": "t1"}
    draft = theirs.draft("record", "r1")
    for name, key in (("records", "e1"), ("front", "e2")):
        table = pa.table({"sources": pa.array([[behind | {"key": key}]], pa.list_(SOURCE))})
        pq.write_table(table, draft.path(f"{name}.parquet"))
    pq.write_table(pa.table({"artifact": ["t0", "t0", "t1", None]}), draft.path("trials.parquet"))
    draft.commit({"final": True})
    cell = {"record": "r1", "nodes": [], "seed": 0, "objective": "mmcl", "attack": "badnet", "repair": "cleanclip"}
    theirs.write_json("suites/tiny.json", {"suite": "tiny", "specification": {}, "cells": [cell]})
    assert call("store", "pull", "tiny", "--store", mine, "--from", root)[0] == 0
    copied = {(stage, key) for stage in ("evaluate", "defend", "record") for key in Store(mine).keys(stage)}
    assert copied == {("evaluate", "e1"), ("evaluate", "e2"), ("defend", "t0"), ("defend", "t1"), ("record", "r1")}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("pull", "k1"), "pull must be given the store to copy from"),
        (("pull", "nosuch", "--from", "THEIRS"), "unknown suite or key 'nosuch'"),
        (("pull", "tiny", "--from", "THEIRS", "--stage", "recrod"), "unknown stage 'recrod'; did you mean record or"),
        (("pull", "k9", "--from", "THEIRS", "--stage", "record"), "--stage must be given with a suite"),
        (("ls", "--store", "NOWHERE"), "must be a store, got no format.json there; check the address"),
        (("verify", "--store", "NOWHERE"), "must be a store, got no format.json there"),
        (("gc", "--dry-run", "--store", "NOWHERE"), "must be a store, got no format.json there"),
        (("ls", "--store", "nosuch://x"), "unknown protocol 'nosuch'"),
        (("gc", "--store", "FILE"), "must be a folder or a URL, got a file"),
    ],
)
def test_a_mistake_is_one_line(words: tuple[str, ...], told: str, tmp_path: Path, call: Call) -> None:
    theirs = Store(tmp_path / "theirs")
    write(theirs, "pretrain", "k9")
    theirs.write_json("suites/tiny.json", {"suite": "tiny", "specification": {}, "cells": []})
    (tmp_path / "file").write_text("")
    places = {"THEIRS": str(tmp_path / "theirs"), "FILE": str(tmp_path / "file"), "NOWHERE": "/nowhere"}
    words = tuple(places.get(word, word) for word in words)
    code, _, err = call("store", *words, *(() if "--store" in words else ("--store", str(tmp_path / "mine"))))
    assert code == 2
    assert told in err
    assert err.count("\n") == 1
