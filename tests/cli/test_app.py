"""The command, as a user meets it: what it offers, a whole miniature run, and what it says to bad input."""

from __future__ import annotations

import errno
import gc
import json
from pathlib import Path

import pytest
from typer.main import get_command

from benchmark.cli import app
from benchmark.cli import plan as planning
from benchmark.engine.probe import Pace
from benchmark.store.artifact import Draft
from benchmark.store.artifacts import Store
from tests.cli.conftest import Call
from tests.helpers.miniature import PLUGIN, WORDS, is_undisturbed, records, run

COMMANDS = {
    "list": {"--plugin", "--json"},
    "show": {"--set", "--plugin", "--add", "--store", "--from", "--trust-plugins"},
    "plan": {
        "--set",
        "--plugin",
        "--add",
        "--only",
        "--limit",
        "--store",
        "--from",
        "--trust-plugins",
        "--no-probe",
        "--views-per-s",
        "--json",
    },
    "run": {
        *("--set", "--plugin", "--add", "--only", "--limit", "--store", "--from", "--json", "--local", "--workers"),
        *("--trust-plugins", "--concurrency", "--cpus", "--gpus", "--micro-batch", "--address", "--quiet", "--verbose"),
        "--time-limit",
    },
    "status": {"--only", "--store", "--from", "--json"},
    "check": {"--json"},
    "board": {"--out", "--store", "--from"},
    "studies": {"--storage", "--set", "--plugin", "--add", "--store", "--from", "--trust-plugins", "--json"},
    "audit": {
        *("--data", "--classes", "--model", "--detector", "--repair", "--set", "--out", "--seed", "--store"),
        *("--plugin", "--json"),
    },
    "doctor": {"--store", "--json"},
    "store ls": {"--store", "--json"},
    "store verify": {"--store", "--drop", "--json"},
    "store gc": {"--store", "--dry-run", "--older-than", "--logs", "--trials", "--json"},
    "store publish": {"--from", "--store", "--out", "--weights", "--json"},
    "store pull": {"--from", "--store", "--stage", "--json"},
}


def test_the_command_line_is_frozen() -> None:
    commands = dict(get_command(app.app).commands)  # type: ignore[attr-defined]
    commands |= {f"store {name}": command for name, command in commands.pop("store").commands.items()}
    found = {
        name: {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
        for name, command in commands.items()
    }
    assert {name: options - {"--help"} for name, options in found.items()} == COMMANDS


ONE_ATTACK = 'attacks=["badnet:target=ring,poison_rate=0.035,size=5,pattern=checkerboard"]'
CHANGED = ["--set", ONE_ATTACK, "--plugin", str(PLUGIN), "--add", "defense=Interpolated:epochs=1"]
GROWN = ["smoke", *WORDS, *CHANGED]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which the miniature, of one attack and with an outside repair, has run to the end in one process."""
    store = tmp_path_factory.mktemp("finished")
    assert "20 cells" in run(store, "--local", *CHANGED)
    return store


@pytest.mark.timeout(600)
def test_a_run_ends_in_records_with_a_status_each(finished: Path) -> None:
    rows = [row for row in records(finished) if "selection" in row]
    assert len(rows) == 20 + 2 * 2  # two searched cells have two more rules
    assert {row["status"] for row in rows} <= {"ok", "repair_failed"}
    outside = [row for row in rows if str(row["repair"]).startswith("interpolated")]
    assert len(outside) == 4
    assert all(row["measures"] for row in outside)


def test_a_finished_suite_is_done(finished: Path, call: Call) -> None:
    code, out, _ = call("plan", *GROWN, "--store", str(finished), "--json")
    plan = json.loads(out)
    assert (code, plan["cells"], plan["to_do"], plan["disk_bytes"]) == (0, 20, 0, 0)
    before = sorted((path, path.stat().st_mtime_ns) for path in finished.rglob("*") if path.is_file())
    code, out, _ = call("run", *GROWN, "--store", str(finished), "--json")
    assert (code, json.loads(out)["cells"]) == (0, 20)
    assert sorted((path, path.stat().st_mtime_ns) for path in finished.rglob("*") if path.is_file()) == before


@pytest.mark.parametrize("place", [1, 5, 19])
def test_a_record_alone_shows_its_cell_and_the_cell_runs_to_the_same_record(
    place: int, finished: Path, tmp_path: Path, call: Call
) -> None:
    record = (Store(finished).read_json("suites/smoke.json") or {})["cells"][place]["record"]
    store = ["--store", str(finished)]
    code, out, err = call("show", record[:12], "--plugin", str(PLUGIN), *store)
    assert (code, err) == (0, "")
    file = tmp_path / "cell.json"
    file.write_text(out)
    code, out, _ = call("plan", str(file), *store, "--json")
    assert (code, json.loads(out)["suite"], json.loads(out)["to_do"]) == (0, f"smoke-{record[:8]}", 0)
    code, _, _ = call("run", str(file), *store, "--json")
    _, out, _ = call("status", str(file), *store, "--json")
    assert record in [cell["record"] for cell in json.loads(out)["cells"]]


def test_status_and_board_show_the_run(finished: Path, tmp_path: Path, call: Call) -> None:
    code, out, _ = call("status", "smoke", "--store", str(finished), "--json")
    assert code == 0
    assert {cell["status"] for cell in json.loads(out)["cells"]} <= {"ok", "repair_failed"}
    code, out, _ = call("board", "smoke", "--store", str(finished), "--out", str(tmp_path))
    assert code == 0
    assert "interpolated" in (tmp_path / "index.html").read_text().lower()
    assert (tmp_path / "figures" / "scatter.pdf").stat().st_size > 1000


def test_a_part_of_the_grid_leaves_the_suite_whole(tmp_path: Path, call: Call) -> None:
    """One cell, whose twin is made as its input; the suite's document names all 24."""
    store, only = ["--store", str(tmp_path)], ["--only", "objective=mmcl,attack=badnet"]
    words = ["run", "smoke", *WORDS, *store, *only, "--limit", "1", "--local", "--quiet"]
    code, out, _ = call(*words)
    assert code == 0
    assert out.startswith("smoke: 1 of 24 cells, 1 record (1 ok) in ")
    assert len(list((tmp_path / "pretrain").iterdir())) == 2
    code, out, _ = call("status", "smoke", *store, "--json")
    assert [cell["status"] for cell in json.loads(out)["cells"]].count("missing") == 23
    code, out, _ = call("status", "smoke", *store, *only, "--json")
    assert [cell["status"] for cell in json.loads(out)["cells"]] == ["ok", "missing", "missing", "missing"]


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(600)
def test_ray_leaves_the_records_of_one_process(finished: Path, tmp_path: Path) -> None:
    run(tmp_path, *CHANGED, "--only", "objective=mmcl")
    assert is_undisturbed(tmp_path, finished, cells=10)


BAD = {
    "unknown suite": (["run", "smok"], "unknown suite 'smok'; did you mean smoke?"),
    "unknown field": (["plan", "smoke", "--set", "pretrain.epoch=3"], "unknown field 'epoch'; did you mean epochs"),
    "out of range": (["plan", "smoke", "--set", "pretrain.epochs=-3"], "pretrain.epochs must be greater than"),
    "unknown method": (["plan", "smoke", "--add", "attack=badnt"], "unknown attack 'badnt'; did you mean badnet"),
    "unknown kind": (["plan", "smoke", "--add", "atack=badnet"], "unknown kind 'atack'; did you mean attack"),
    "unknown model": (["plan", "smoke", "--set", "model.name=tiny-resne"], "did you mean tiny-resnet"),
    "no equals": (["plan", "smoke", "--set", "epochs"], "--set must be FIELD=VALUE, got 'epochs'"),
    "no plugin": (["plan", "smoke", "--plugin", "/none/such.py"], "must be a Python file, got none there"),
    "no data": (["run", "cifar10", "--local", "--set", "data.path=/none/such"], "no such path"),
    "no target": (["run", "smoke", "--local", "--set", "attacks.badnet.target=rng"], "did you mean ring"),
    "patch too large": (["run", "smoke", "--local", "--set", "attacks.badnet.size=40"], "badnet.size must be at most"),
    "batch too large": (
        ["run", "smoke", "--local", "--set", "splits.pretrain=100"],
        "pretrain.batch_size must be at most the 100 pre-training pairs, got 128",
    ),
    "no target, planned": (["plan", "smoke", "--set", "attacks.badnet.target=rng"], "did you mean ring"),
    "batch too large, planned": (["plan", "smoke", "--set", "splits.pretrain=100"], "must be at most the 100"),
    "workers": (["run", "smoke", "--workers", "3"], "--workers must be a divisor of pretrain.batch_size 128, got 3"),
    "workers on BatchNorm": (
        ["run", "smoke", "--workers", "2"],
        "pretrain.norm_group must be a divisor of the 64 pairs",
    ),
    "local workers": (["run", "smoke", "--local", "--workers", "2"], "--workers must be given without --local"),
    "local slots": (["run", "smoke", "--local", "--cpus", "2"], "--cpus must be given without --local"),
    "nobody there": (["run", "smoke", "--address", "localhost:1"], "--address must be that of a running Ray cluster"),
    "no kind": (["list", "repiars"], "unknown kind or suite 'repiars'; did you mean repairs"),
    "nothing to show": (["board"], "there must be a suite to show, got none"),
    "never run": (["status", "smoke"], "unknown suite 'smoke'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_exit_code_two(
    case: str, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, expected = BAD[case]
    monkeypatch.setenv("BACKSTOP_STORE", str(tmp_path))
    code, _, err = call(*words, *(["--quiet"] if words[0] == "run" else []))
    last = err.strip().splitlines()[-1]
    assert code == 2
    assert last.startswith("backstop: ")
    assert expected in last


def test_a_plan_without_past_records_gives_the_time_of_a_probe(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int]] = []

    def told(model: str, batch_size: int) -> Pace:
        asked.append((model, batch_size))
        return Pace(1000.0, "cpu", 2)

    monkeypatch.setattr(planning, "pace_of", told)
    words = ["plan", "smoke", "--store", str(tmp_path)]
    _, out, _ = call(*words, "--json")
    plan = json.loads(out)
    assert asked == [("tiny-resnet", 128)]
    assert plan["seconds"] == pytest.approx(sum(stage["work"] for stage in plan["stages"]) / 1000)
    assert plan["probe"]["tiny-resnet"]["views_per_s"] == 1000.0
    _, out, _ = call(*words)
    assert "estimated from a 2 s probe" in " ".join(out.split())
    _, out, _ = call(*words, "--no-probe")
    assert len(asked) == 2
    hours = sum(stage["work"] for stage in plan["stages"]) / 50 / 3600
    _, told_hours, _ = call(*words, "--views-per-s", "50")
    assert f"{hours:.1f} GPU-hours, at 50 images trained on a second" in " ".join(told_hours.split())
    assert len(asked) == 2  # what is given is not tried out
    assert "no probe was made" in " ".join(out.split())


def test_a_list_can_be_of_one_kind_or_of_one_suite(call: Call) -> None:
    def listed(*words: str) -> dict[str, set[str]]:
        _, out, _ = call("list", *words, "--json")
        found = json.loads(out)
        return {kind: set(names) for kind, names in found["methods"].items()} | {"suite": set(found["suites"])}

    everything = listed()
    assert listed("repairs") == {"repair": everything["repair"], "suite": set()}
    assert listed("suites") == {"suite": everything["suite"]}
    smoke = listed("smoke")
    assert smoke["suite"] == {"smoke"}
    assert smoke["dataset"] == {"shapes"}
    assert smoke["repair"] == {"fine-tuning", "batch-norm-only", "cleanclip"}
    assert set(smoke) == {"suite", "dataset", "objective", "attack", "repair"}


def test_a_full_disk_is_one_line(tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Draft, facts: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(self.folder))

    monkeypatch.setattr(Draft, "commit", full)
    words = ["run", "smoke", "--local", "--quiet", "--store", str(tmp_path), *WORDS]
    code, _, err = call(*words)
    assert code == 2
    assert "there must be space left on the device" in err.strip().splitlines()[-1]
    assert not list(tmp_path.glob("*/*/manifest.json"))


def test_pre_training_may_start_from_a_finished_model(finished: Path) -> None:
    """The fine-tune-poison track: the base is another artifact, and its key is part of the new model's."""
    import torch

    from benchmark.engine.suites import resolve
    from benchmark.stages.keys import cells_of
    from benchmark.stages.work.pretrain import start_model
    from benchmark.stages.work.weights import load_pretrained

    store = Store(finished)
    key = json.loads(str(next(row for row in records(finished) if "artifacts" in row)["artifacts"]))["pretrain"]
    fresh = resolve("smoke", [], [], []).suite
    based = resolve("smoke", [f'model.start_from="{key}"'], [], []).suite
    model = start_model(store, based.experiments()[0])
    expected = load_pretrained(store, key).network.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.network.state_dict().items())
    assert cells_of(based)[0].keys.pretrain != cells_of(fresh)[0].keys.pretrain


def test_commands_that_only_build_tables_look_for_no_garbage_and_leave_the_process_as_it_was() -> None:
    from benchmark.cli.collecting import uncollected

    seen: list[bool] = []

    @uncollected()
    def fails() -> None:
        seen.append(gc.isenabled())
        raise KeyError("x")

    with pytest.raises(KeyError):
        fails()
    assert seen == [False] and gc.isenabled()
