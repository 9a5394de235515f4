"""Reads a suite from a store into tidy frames: cells x selection rule, detectors, measures, and epochs of all trials.

A cell without a record is there too, with the status `missing`: nothing is silently blank.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from benchmark.store.artifacts import Store
from benchmark.store.suites import suite_document
from reports.cards import Cards, cards_of
from reports.evidence import evidence
from reports.labels import with_field
from reports.stored import read_suite
from reports.strength import void_rules
from reports.trajectories import Rebounds, read_rebounds

# A pandas DataFrame. pandas' own annotations call every selection "a frame, a series or a number", which says nothing.
Frame: TypeAlias = Any

HEADLINE_READOUT = "zero_shot"
HEADLINE_MEASURES = (
    "clean_accuracy",
    "attack_success_rate",
    "attack_success_rate_inclusive",
    "poisoned_accuracy",
    "floor",
    "repaired_floor",
    "net_asr",
    "target_rate",
    "auxiliary_clean_accuracy",
)
DETECTOR_READOUTS = ("detector", "scores")
VERDICT = ("auroc", "suspicion", "flagged", "target_found")  # what the board says of detectors in words
JUDGED = "judged_"  # before a measure: its value in the form of the model in which the cell's attack shows
# A point of a validation front, as the model is: on test, and where validation saw it
FRONT_MEASURES = ("clean_accuracy", "attack_success_rate", "net_asr")
FRONT_POINT = ("order", "trial", "epoch", *FRONT_MEASURES, "validation_accuracy", "validation_asr", "validation_floor")
AXES = ("dataset", "model", "objective", "attack", "repair", "detector", "seed", "searched")


class Results(NamedTuple):
    """What the board is made from.

    `cells` has one row per cell and selection rule, in the suite's order; column `row` links it to `measures`, which
    has one row per number: of the record, or of a `measure` artifact, as its column `source` says. The zero-shot
    numbers stand in `cells` as well: `<name>`, `<name>_count`, `<name>_total`, and under a transform of the model
    `<name>@<transform>`. `accuracy_lost` is the clean accuracy below the undefended model of the same objective, attack
    and seed; `void` says why a trigger-blind choice stands for nothing. Columns `judged_<name>` take the form of the
    model in which the row's attack shows. `detections` holds the rows of the cells with a detector, with the detector's
    numbers beside those of the model that was trained again; `cells` does not have them. `trials` has one row per trial
    and epoch of the searched cells, with the axes of the cell beside it; `collapsed` epochs are taken by no rule.
    `rebounds` holds what benign fine-tuning made of repaired models and of their controls, step by step.
    """

    suite: Mapping[str, Any]
    cells: Frame
    measures: Frame
    trials: Frame
    detections: Frame
    transforms: tuple[str, ...]
    cards: Cards
    fronts: Frame  # what stands on the validation fronts of searches: columns of FRONT_POINT, AXES and `sources`
    rebounds: Rebounds
    skipped: tuple[str, ...] = ()  # a line for each data set that was prepared without some of its rows


def compile_suite(store: Store, name: str) -> Results:
    """Reads the records and trials of one suite.

    Raises:
        UserError: the store holds no such suite, or a record that this version cannot read.
    """
    suite = suite_document(store, name)
    metrics = suite.get("specification", {}).get("metrics", ())
    entries, stored, cards = _entries(suite["cells"]), read_suite(store, suite["cells"], metrics), cards_of(suite)
    cells = _with_missing(entries, stored.records.drop_columns(["measures"]).to_pandas())
    trials = stored.trials.to_pandas().merge(entries[["order", *AXES]], on="order")
    trials = trials.assign(collapsed=trials["validation_accuracy"] < collapse_of(suite) * trials["validation_start"])
    measures = stored.measures.merge(cells[["order", "selection", "row"]], on=["order", "selection"])
    measures = measures.drop(columns=["order", "selection"])
    transforms = tuple(sorted({form for name in set(measures["name"]) if (form := name.partition("@")[2])}))
    of_model = (HEADLINE_READOUT,)
    names = [f"{name}@{form}" if form else name for form in ("", *transforms) for name in HEADLINE_MEASURES]
    cells = _with_judged(_with_measures(cells, measures, of_model, names), cards)
    cells = cells.assign(
        accuracy_lost=_lost(cells, ["objective", "attack", "seed"]),
        evidence=evidence(cells["evidence"]),
        void=_void(cells, trials),
    )
    detecting = cells["detector"] != "none"
    scoring = list(dict.fromkeys([*VERDICT, *measures.loc[measures["readout"].isin(DETECTOR_READOUTS), "name"]]))
    detections = _with_measures(cells[detecting], measures, DETECTOR_READOUTS, scoring)
    defended = cells[~detecting].reset_index(drop=True)
    return Results(
        suite,
        defended,
        measures,
        trials,
        detections.reset_index(drop=True),
        transforms,
        cards,
        _fronts(stored.fronts, stored.front_sources, trials),
        read_rebounds(store, suite, defended),
        stored.skipped,
    )


def _void(cells: Frame, trials: Frame) -> list[str]:
    """(rows,) why the choice of a rule stands for nothing, "" where it stands."""
    found, blind = void_rules(trials), cells["selection"] == "trigger_blind"
    return [found.get(order, "") if hit else "" for order, hit in zip(cells["order"], blind, strict=True)]


def _fronts(points: Frame, sources: Frame, trials: Frame) -> Frame:
    """One row per point of a front that was measured on test."""
    place = ["order", "trial", "epoch"]
    own = points[(points["readout"] == HEADLINE_READOUT) & points["name"].isin(FRONT_MEASURES)]
    wide = own.drop_duplicates([*place, "name"], keep="last").pivot(index=place, columns="name", values="value")
    wide = wide.reindex(columns=FRONT_MEASURES).astype("float64").reset_index()
    seen = trials[[*place, "validation_accuracy", "validation_asr", "validation_floor", *AXES]]
    return wide.merge(seen.drop_duplicates(place), on=place).merge(sources, on=place)


def collapse_of(suite: Mapping[str, Any]) -> float:
    """Share of the starting clean accuracy below which an epoch of a search has collapsed."""
    return (suite.get("protocol", {}).get("search") or {}).get("collapse", 0.0)


def _entries(entries: list[Mapping[str, Any]]) -> Frame:
    """The cells of a suite's document; objectives on another than the first cell's model say on which."""
    frame = pd.DataFrame([{"detector": "none"} | dict(entry) for entry in entries], columns=["cell", "record", *AXES])
    first = frame["model"].iloc[0] if len(frame) else ""
    objectives = [
        objective if model == first else with_field(objective, f"model={model}")
        for objective, model in zip(frame["objective"], frame["model"], strict=True)
    ]
    return frame.assign(objective=objectives, order=range(len(frame)))


def expected_rules(repair: str, detector: str, searched: bool) -> tuple[str, ...]:
    """The selection rules that a cell is reported under."""
    if repair == detector == "none":
        return ("undefended",)
    return ("default", "oracle", "trigger_blind") if searched else ("default",)


def _with_missing(entries: Frame, records: Frame) -> Frame:
    """One row per cell and rule: those of the records, and `missing` where a record or a rule's row is not there."""
    places = [
        {"order": order, "selection": rule, "rule_order": place}
        for order, *axes in entries[["order", "repair", "detector", "searched"]].itertuples(index=False)
        for place, rule in enumerate(expected_rules(*axes))
    ]
    expected = pd.DataFrame(places, columns=["order", "selection", "rule_order"])
    facts = records.drop(columns=["cell", *AXES])
    cells = expected.merge(facts, on=["order", "selection"], how="outer").merge(entries, on="order")
    absent = cells["status"].isna()
    has_record = cells["order"].isin(records["order"])
    # a cell that was not run has one row, which speaks for its other rules too
    alone = records[~records["order"].duplicated(keep=False) & (records["status"] != "ok")].set_index("order")
    statuses, reasons = (alone[name].to_dict() for name in ("status", "reason"))
    unsaid = ("no record in this store", "the record has no row for this rule")
    status = [statuses.get(order, "missing") for order in cells["order"]]
    reason = [reasons.get(order, unsaid[there]) for order, there in zip(cells["order"], has_record, strict=True)]
    cells["status"] = cells["status"].where(~absent, status)
    cells["reason"] = cells["reason"].where(~absent, reason).fillna("")
    cells = cells.sort_values(["order", "rule_order"], kind="stable", ignore_index=True)
    return cells.assign(row=range(len(cells)))


def _with_measures(cells: Frame, measures: Frame, readouts: Sequence[str], names: Sequence[str]) -> Frame:
    """Adds the numbers of some read-outs as columns; a measure that no cell has becomes a column of NaN."""
    own = measures[measures["readout"].isin(readouts)].drop_duplicates(["row", "name"], keep="last")
    wide = own.pivot(index="row", columns="name", values=["value", "count", "total"])
    columns = {}
    for name in names:
        for part, suffix in (("value", ""), ("count", "_count"), ("total", "_total")):
            values = wide[part, name] if (part, name) in wide.columns else pd.Series(dtype="float64")
            columns[name + suffix] = values.astype("float64").reindex(cells["row"]).to_numpy()
    return pd.concat([cells, pd.DataFrame(columns, index=cells.index)], axis=1)


def _with_judged(cells: Frame, cards: Cards) -> Frame:
    """Adds the column `under` (the transform that a row's attack waits for, "" for none) and the judged numbers."""
    waits = {label: card.transform for label, card in cards.attack.items() if card.transform}
    under = cells["attack"].map(lambda label: waits.get(label, ""))
    columns: dict[str, Any] = {"under": under}
    for name in HEADLINE_MEASURES:
        for suffix in ("", "_count", "_total"):
            values = cells[name + suffix].copy()
            for form in set(waits.values()):
                there = f"{name}@{form}{suffix}"
                values[under == form] = cells.loc[under == form, there] if there in cells else np.nan
            columns[JUDGED + name + suffix] = values
    return pd.concat([cells, pd.DataFrame(columns, index=cells.index)], axis=1)


def _lost(cells: Frame, keys: list[str]) -> Any:
    """(rows,) clean accuracy lost against the undefended model of the same keys: by seed, so that means pair seeds."""
    accuracy = f"{JUDGED}clean_accuracy"
    start = cells.loc[cells["selection"] == "undefended", [*keys, accuracy]].drop_duplicates(keys)
    return cells[keys].merge(start, on=keys, how="left")[accuracy].to_numpy() - cells[accuracy].to_numpy()


def lost_to_twin(cells: Frame) -> Any:
    """(rows,) clean accuracy lost against the undefended clean twin of the same objective and seed."""
    attacked = (cells["attack"] != "none") & (cells["selection"] == "undefended")
    return _lost(cells.assign(selection=cells["selection"].where(~attacked, "attacked")), ["objective", "seed"])


def at(cells: Frame, objective: str, attack: str, repair: str, rule: str) -> Frame:
    """The rows at one place of the grid, one per seed."""
    hit = (cells["objective"] == objective) & (cells["attack"] == attack)
    return cells[hit & (cells["repair"] == repair) & (cells["selection"] == rule)]


def repaired_attacks(cells: Frame) -> list[str]:
    """Attacks whose models some repair was asked to mend, and `none`, in order; all of them where none was."""
    attacks = cells.loc[cells["repair"] != "none", "attack"]
    return list(dict.fromkeys(attacks if len(attacks) else cells["attack"]))
