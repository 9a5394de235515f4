"""A repair that hangs is given up at its stage's limit, at its defaults and in a search; all else goes on."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmark.store.artifacts import Store
from tests.helpers.miniature import SMALLEST, start

PLUGIN = Path(__file__).parents[1] / "plugin" / "hanging_repair.py"
SUITE = [word for text in (*SMALLEST, 'attacks=["badnet:target=ring,poison_rate=0.1"]') for word in ("--set", text)]
SEARCHED = (
    *("--set", 'searched=["hanging"]', "--set", 'spaces={"hanging": {"share": [0.0, 1.0]}}'),
    *("--set", "search.trials=4", "--set", "search.quasi_random=4"),
)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", [("--local",), pytest.param(("--concurrency", "2"), marks=pytest.mark.ray)])
@pytest.mark.parametrize("searched", [False, True], ids=["at its defaults", "searched"])
def test_what_hangs_is_timed_out_and_nothing_else(tmp_path: Path, how: tuple[str, ...], searched: bool) -> None:
    added = ("--add", "repair=hanging", *SEARCHED) if searched else ("--add", "repair=hanging:share=0.75")
    limit = ("--time-limit", "defend=5s", "--time-limit", "10m")
    process = start(tmp_path, *SUITE, "--plugin", str(PLUGIN), *added, "--only", "attack=badnet", *how, *limit)
    printed, complaints = process.communicate()
    assert process.returncode == (0 if searched else 1), printed + complaints
    assert "Traceback" not in printed + complaints

    rows = {(row["repair"], row["selection"]): row for row in _rows(Store(tmp_path))}
    assert rows["none", "undefended"]["status"] == "ok"
    assert next(row for (name, _), row in rows.items() if name.startswith("fine-tuning"))["status"] == "ok"
    mine = {rule: row for (name, rule), row in rows.items() if name.startswith("hanging")}
    if not searched:
        assert mine["default"]["status"] == "timed_out"
        assert "no result within 5 s" in mine["default"]["reason"]
        return
    assert mine["default"]["status"] == "ok"
    counts = {item["status"]: item["count"] for item in mine["oracle"]["trial_statuses"]}
    assert counts == {"ok": 3, "timed_out": 2}  # of five trials, those whose share is above a half
    assert "3 of 5 trials ended" in mine["oracle"]["reason"]


def _rows(store: Store) -> list[dict[str, object]]:
    found = []
    for key in store.keys("record"):
        record = store.find("record", key)
        assert record is not None
        found += pq.read_table(record.path("records.parquet")).to_pylist()
    return found
