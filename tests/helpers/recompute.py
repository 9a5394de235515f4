"""Computes every number of a board again from the files of its store: `recompute.py STORE SUITE BOARD`.

A second reading of the protocol with pandas alone: it imports nothing of this repository and follows only keys that it
finds in files. Prints how many numbers it compared as JSON; ends with 1 and the first difference otherwise.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

CLASSES = ("zero_shot", "probe", "knn")
COUNTS: Counter[str] = Counter()
Numbers = dict[tuple[str, str], tuple[float, int, int]]  # (name, read-out) -> (value, count, total)


def same(what: str, found: Any, expected: Any) -> None:
    """Counts a comparison; ends the process where it fails."""
    COUNTS[what.split(":")[0]] += 1
    if found is None or expected is None or isinstance(found, (str, dict, list)):
        equal = found == expected
    else:
        equal = np.isclose(float(found), float(expected), rtol=1e-9, atol=1e-12, equal_nan=True)
    if not equal:
        sys.exit(f"{what}: the board has {found}, the files give {expected}")


class Files:
    """A store as files: `<stage>/<key>/manifest.json` names the attempt that holds them."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def manifest(self, stage: str, key: str) -> dict[str, Any]:
        return json.loads((self.root / stage / key / "manifest.json").read_text())

    def table(self, stage: str, key: str, file: str) -> pd.DataFrame:
        return pd.read_parquet(self.root / stage / key / self.manifest(stage, key)["attempt"] / file)


def share(hits: Any) -> tuple[float, int, int]:
    """(value, count, total)."""
    return float(np.mean(hits)), int(np.sum(hits)), len(hits)


def clean_numbers(rows: pd.DataFrame, target: int | None) -> Numbers:
    """What is measured without a trigger."""
    found = {}
    for readout, own in rows.groupby("readout"):
        if readout in CLASSES:
            right = own["predicted"] == own["true_class"]
            found["clean_accuracy", readout] = share(right)
            by_class = {k: share(part) for k, part in right.groupby(own["true_class"])}
            found |= {(f"class_accuracy/{k}", readout): part for k, part in by_class.items()}
            found["worst_class_accuracy", readout] = min(by_class.values(), key=lambda part: part[0])
            if target is not None:
                others = own[own["true_class"] != target]
                found["target_rate", readout] = share(others["predicted"] == target)
        elif readout in ("retrieval_image_to_text", "retrieval_text_to_image"):
            found |= {(f"recall_at_{k}", readout): share(own["target_rank"] < k) for k in (1, 5, 10)}
    return found


def triggered_numbers(clean: pd.DataFrame, rows: pd.DataFrame, target: int) -> Numbers:
    """What is measured under a trigger with one target class."""
    found = {}
    for readout, own in rows.groupby("readout"):
        if readout in CLASSES:
            others = own[own["true_class"] != target]
            found["attack_success_rate", readout] = share(others["predicted"] == target)
            found["attack_success_rate_inclusive", readout] = share(own["predicted"] == target)
            found["poisoned_accuracy", readout] = share(others["predicted"] == others["true_class"])
        elif readout == "retrieval_target":
            found |= {(f"retrieval_asr_at_{k}", readout): share(own["target_rank"] < k) for k in (1, 5, 10)}
            found["retrieval_asr_majority_at_10", readout] = share(own["score"] >= 0.5)
    return found | z_scores(clean, rows)


def z_scores(clean: pd.DataFrame, rows: pd.DataFrame) -> Numbers:
    """How much closer triggered images lie to one another, as the pairs' moments say."""

    def moments(table: pd.DataFrame) -> np.ndarray:
        parts = [table.loc[table["readout"] == name, "score"] for name in ("similarity", "similarity_square")]
        return np.stack([part.to_numpy(np.float64) for part in parts])

    before, after = moments(clean), moments(rows)
    if before.shape[1] < 2 or after.shape[1] < 2:
        return {}
    total = before.shape[1]
    variance = np.mean(before[1]) - np.mean(before[0]) ** 2
    whole, moved = (((table.shape[1] - 1) * table + 1) / table.shape[1] for table in (before, after))
    spread = np.mean(whole[1]) - np.mean(whole[0]) ** 2
    return {
        ("backdoor_z_score", "similarity"): (float((after[0].mean() - before[0].mean()) / variance**0.5), -1, total),
        ("backdoor_z_score_variance", "similarity"): (float((moved[0].mean() - whole[0].mean()) / spread), -1, total),
    }


def source_tables(files: Files, row: Any) -> dict[str, pd.DataFrame]:
    """role -> table of a record row, after its manifest was compared with what the record says of it."""
    found = {}
    for source in row.sources:
        what = f"manifest:{row.cell} {source['role']}"
        manifest = files.manifest(source["stage"], source["key"])
        if source["stage"] == "evaluate":
            facts = manifest["facts"]
            model = {"stage": source["model_stage"], "key": source["model"], "epoch": source["epoch"]}
            same(what, facts["model"], model)
            same(what, facts["split"], source["split"])
            same(what, (facts["attack"] is not None), source["role"].endswith(("_triggered", "floor")))
            files.manifest(source["model_stage"], source["model"])  # the model that it names is there
        found[source["role"]] = files.table(source["stage"], source["key"], source["file"])
    return found


def target_of(files: Files, row: Any) -> int | None:
    """Class index of the attack's target, from the manifest of the triggered outcomes."""
    keys = {source["role"]: source["key"] for source in row.sources}
    return files.manifest("evaluate", keys["own_triggered"])["facts"]["target"] if "own_triggered" in keys else None


def numbers_of(files: Files, row: Any, tables: dict[str, pd.DataFrame]) -> Numbers:
    """Every measure of a record row."""
    target = target_of(files, row)
    if target is None:
        return clean_numbers(tables["own_clean"], None)
    found = clean_numbers(tables["own_clean"], target)
    found |= triggered_numbers(tables["own_clean"], tables["own_triggered"], target)
    for name, role in (("floor", "twin_triggered"), ("repaired_floor", "repaired_twin_triggered")):
        if role in tables:
            rates = triggered_numbers(tables["own_clean"], tables[role], target)
            found |= {(name, readout): rates["attack_success_rate", readout] for readout in CLASSES}
    for readout in CLASSES:
        value, _, total = found["attack_success_rate", readout]
        found["net_asr", readout] = value - found["floor", readout][0], -1, total
    return found


def check_selection(row: Any, trials: pd.DataFrame, tables: dict[str, pd.DataFrame], target: int | None) -> None:
    """The rule's trial and epoch, its budget and its counts, from the epochs of the trials on validation."""
    search = json.loads(row.specification)["search"]
    phases = {"default": ["default"], "trigger_blind": ["default", "quasi_random"]}.get(row.selection)
    behind = trials[trials["phase"].isin(phases)] if phases else trials
    once, what = behind.drop_duplicates("trial"), f"rule:{row.cell} {row.selection}"
    same(what, row.trials_behind_rule, len(once))
    same(what, row.wall_s, once["wall_s"].sum())
    counts = {one["status"]: one["count"] for one in row.trial_statuses}
    same(what, counts, once["status"].value_counts().to_dict())
    epochs = behind[behind["epoch"].notna()]
    same(what, row.epochs_measured, len(epochs))
    start = clean_numbers(tables["validation_start"], None)["clean_accuracy", "zero_shot"][0]
    twin = tables["validation_floor"]
    twin = twin[(twin["readout"] == "zero_shot") & (twin["true_class"] != target)]
    floor = (twin["predicted"] == target).mean()
    same(what, trials["validation_start"].iloc[0], start)
    same(what, trials["validation_floor"].iloc[0], floor)
    alive = epochs[epochs["validation_accuracy"] >= search["collapse"] * start]
    rate = alive["validation_asr"] - (floor if search["bound_on"] == "net" else 0)
    within = alive[rate <= search["asr_bound"] + 1e-9]
    same(what, row.epochs_within_bound, len(within))
    if row.status == "ok":
        same(what, [row.trial, row.epoch], chosen(row.selection, epochs, alive, within, start, search))


def chosen(
    rule: str, epochs: pd.DataFrame, alive: pd.DataFrame, within: pd.DataFrame, start: float, search: dict[str, Any]
) -> list[int]:
    """(trial, epoch) that a rule takes."""
    defaults = epochs[epochs["trial"] == 0].sort_values("epoch")
    if rule == "oracle":
        order = within.sort_values(
            ["validation_accuracy", "validation_asr", "trial", "epoch"], ascending=[False, True, True, True]
        )
    elif rule == "default":
        order = defaults.tail(1)
    elif alive["strength"].notna().any():
        kept = alive[alive["validation_accuracy"] >= start - search["blind_drop"] - 1e-9]
        order = kept.sort_values(
            ["strength", "epoch", "validation_loss", "trial"], ascending=[False, False, True, True]
        )
    else:
        order = alive.sort_values(["validation_loss", "trial", "epoch"])
    best = (order if len(order) else defaults.tail(1)).iloc[0]
    return [int(best["trial"]), int(best["epoch"])]


def table_data(page: str) -> dict[str, Any]:
    """What the page's table is made from."""
    found = re.search(r'<script type="application/json" id="table-data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found.group(1))


def grid_of(page: str) -> list[dict[str, Any]]:
    """Rows of the page's grid, column by name; shares have six digits behind the point."""
    data = table_data(page)
    columns = {}
    for name, column in data["columns"].items():
        if "all" in column:
            columns[name] = [column["all"]] * data["length"]
        else:
            columns[name] = [column["of"][at] for at in column["at"]] if "at" in column else column["list"]
    keys = data["keys"]
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return [row | {"key": keys[row["cell"]]} for row in rows]


SHOWN = ("ca", "asr", "pa", "floor", "repaired_floor", "net")
MEASURED = ("clean_accuracy", "attack_success_rate", "poisoned_accuracy", "floor", "repaired_floor", "net_asr")


def check_page(board: Path, rows: list[tuple[Any, Numbers]]) -> None:
    """The grid of the page: CA, ASR, PA, floor, repaired floor, net ASR, cost, trials, clean pairs."""
    axes = ("objective", "attack", "repair", "seed", "rule")
    page = grid_of((board / "index.html").read_text(encoding="utf-8"))
    shown = {tuple(str(row[axis]) for axis in axes): row for row in page}
    same("grid:rows", len(shown), len(rows))
    for row, numbers in rows:
        found = shown[row.objective, row.attack, row.repair, str(row.seed), row.selection]
        for column, name in zip(SHOWN, MEASURED, strict=True):
            value, _, total = numbers.get((name, "zero_shot"), (None, -1, None))
            same(f"grid:{row.cell}", found[column], None if value is None else round(value, 6))
            if column != "net" and value is not None:
                same(f"grid:{row.cell}", found[f"{column}_total"], total)
        repaired = row.repair != "none"
        same(f"grid:{row.cell}", found["cost"], round(row.wall_s, 2) if repaired else None)
        same(f"grid:{row.cell}", found["trials"], row.trials_behind_rule if row.searched else None)
        same(f"grid:{row.cell}", found["pairs"], row.clean_pairs if repaired else None)


def check_gap(board: Path, rows: list[tuple[Any, Numbers]]) -> None:
    """The headline's table, of one seed: relative change of CA from the undefended model to the oracle's point."""
    shown = (board / "tables.md").read_text(encoding="utf-8").split("## Repair gap")[1].split("##")[0]
    lines = [line.strip("| ").split(" | ") for line in shown.splitlines() if line.startswith("|")][2:]
    found = [[float(text.replace("−", "-").replace("±", "")) for text in line[1:4]] for line in lines]
    starts = {(row.attack, row.objective): numbers for row, numbers in rows if row.selection == "undefended"}
    changes: dict[str, list[float]] = {}
    for row, numbers in rows:
        if row.selection == "oracle":
            start = starts[row.attack, row.objective]["clean_accuracy", "zero_shot"][0]
            there = numbers["clean_accuracy", "zero_shot"][0] if row.status == "ok" else 0.0
            changes.setdefault(row.attack, []).append(100 * (there / start - 1))
    expected = [[first, second, first - second] for first, second in changes.values()]
    for one, other in zip(np.ravel(found), np.ravel(expected), strict=True):
        same("gap:", one, round(other, 1))


def check_lost(rows: list[tuple[Any, Numbers]], table: pd.DataFrame) -> None:
    """`accuracy_lost` of records.csv: against the undefended model of the same objective, attack and seed."""
    starts = [(row, numbers) for row, numbers in rows if row.selection == "undefended"]
    accuracy = {(row.objective, row.attack, row.seed): own["clean_accuracy", "zero_shot"][0] for row, own in starts}
    board = {(one.record, one.selection): one.accuracy_lost for one in table.itertuples()}
    for row, numbers in rows:
        lost = accuracy[row.objective, row.attack, row.seed] - numbers["clean_accuracy", "zero_shot"][0]
        same(f"lost:{row.cell}", board[row.cell, row.selection], lost)


def check_epochs(files: Files, trials: pd.DataFrame) -> None:
    """A search's table against the epochs that each of its trials left."""
    for artifact, own in trials.groupby("artifact"):
        epochs = files.table("defend", str(artifact), "epochs.parquet")
        for name in epochs.columns:
            for one, other in zip(own[name], epochs[name], strict=True):
                same(f"epochs:{artifact} {name}", one, other)


def main(root: Path, suite: str, board: Path) -> None:
    """Compares every number."""
    files, rows = Files(root), []
    measures = pd.read_csv(board / "measures.csv").set_index(["cell", "selection", "name", "readout"]).sort_index()
    for cell in json.loads((root / "suites" / f"{suite}.json").read_text())["cells"]:
        trials = files.table("record", cell["record"], "trials.parquet") if cell["searched"] else None
        if trials is not None:
            check_epochs(files, trials)
        for row in files.table("record", cell["record"], "records.parquet").itertuples():
            tables = source_tables(files, row)
            rows.append((row, numbers_of(files, row, tables)))
            for place, expected in rows[-1][1].items():
                one = measures.loc[(row.cell, row.selection, *place)]
                for column, value in zip(("value", "count", "total"), expected, strict=True):
                    same(f"measure:{row.cell} {row.selection} {place} {column}", one[column], value)
            if trials is not None:
                check_selection(row, trials, tables, target_of(files, row))
            elif "epochs" in tables:
                same(f"rule:{row.cell}", row.epochs_measured, len(tables["epochs"]))
    same("measures in the table", 3 * len(measures), COUNTS["measure"])
    check_lost(rows, pd.read_csv(board / "records.csv"))
    check_page(board, rows)
    check_gap(board, rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
    print(json.dumps({"compared": COUNTS, "modules": sorted({name.partition(".")[0] for name in sys.modules})}))
