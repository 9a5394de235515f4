"""Reads the trajectories of a suite's rebound: repaired models, and both controls, step by step."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import pandas as pd

from benchmark.store.artifacts import Store
from benchmark.store.schemas import REBOUND
from benchmark.store.trajectories import STAGE, asked_trajectories
from reports.stored import read_table

Frame: TypeAlias = Any  # a pandas DataFrame

AXES = ("objective", "attack", "repair", "seed")
HEAD = ("cell", *AXES, "selection", "role", "scope", "learning_rate")
NUMBERS = ("clean_accuracy", "attack_success_rate", "poisoned_accuracy")
COLUMNS = (
    *HEAD,
    "step",
    *(f"{name}{part}" for name in NUMBERS for part in ("", "_count", "_total")),
    "floor",  # ASR of the clean twin after as many steps of the same trajectory
    "net_asr",
    "reason",  # why it ended before its last step
    "trajectory",  # key of the artifact
)


class Rebounds(NamedTuple):
    """A row for each look at a model, and how many trajectories were asked for."""

    rows: Frame  # DataFrame with COLUMNS; role: repaired, undefended, clean_twin
    wanted: int = 0  # of repaired models that are there
    found: int = 0  # of these
    first: tuple[str, float] | None = None  # scope and rate that the suite names first


class _Model(NamedTuple):
    """Whose trajectories these are; `key` names the weights."""

    head: Mapping[str, Any]
    key: tuple[Any, ...]  # stage, key, epoch, poison, evaluation, seed


def read_rebounds(store: Store, suite: Mapping[str, Any], cells: Frame) -> Rebounds:
    """Every trajectory that a suite asks for and its store has.

    Args:
        store: where the artifacts are.
        suite: its document.
        cells: columns of `compile.Results.cells`.

    Raises:
        UserError: a table that this version cannot read.
    """
    asked = suite.get("protocol", {}).get("rebound")
    if not asked:
        return Rebounds(pd.DataFrame(columns=COLUMNS))
    there = _artifacts(store, suite)
    forms = [(scope, rate) for scope in asked["scopes"] for rate in asked["learning_rates"]]
    repaired = list(_repaired(cells, asked))
    wanted = [(model, form, there.get((*model.key, *form))) for model in repaired for form in forms]
    found = [item for item in wanted if item[2]]
    attacked = {(model.head["objective"], model.head["attack"], model.head["seed"]) for model, _, key in found if key}
    shared = [(model, form, there.get((*model.key, *form))) for model in _controls(cells, attacked) for form in forms]
    tables = [_table(store, model.head, form, key) for model, form, key in (*shared, *found) if key]
    frame = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=[*HEAD, "step"])
    frame = frame.drop_duplicates([*HEAD[1:], "step"], ignore_index=True)  # grids of a suite may overlap
    return Rebounds(_with_net(frame).reindex(columns=COLUMNS), len(wanted), len(found), forms[0])


def _artifacts(store: Store, suite: Mapping[str, Any]) -> dict[tuple[Any, ...], str]:
    """Key of each trajectory that is asked for, by weights, trigger, judge, seed, scope and rate."""
    found = {}
    for key, facts in asked_trajectories(store, suite).items():
        trajectory, model = facts["trajectory"], facts["model"]
        of = (model["stage"], model["key"], model["epoch"], facts["poison"], facts["evaluation"], facts["seed"])
        found[*of, trajectory["scope"], trajectory["learning_rate"]] = key
    return found


def _repaired(cells: Frame, asked: Mapping[str, Any]) -> Iterator[_Model]:
    """The repaired weights whose trajectories are asked for."""
    chosen = cells["selection"].isin(asked["selections"]) & cells["seed"].isin(asked["seeds"])
    rows = cells[chosen & (cells["status"] == "ok") & (cells["attack"] != "none") & (cells["repair"] != "none")]
    for row in rows.to_dict("records"):
        weights = json.loads(row["artifacts"]).get("weights")
        if weights:
            yield _model(row, "repaired", row["selection"], ("defend", weights, int(row["epoch"])))


def _controls(cells: Frame, attacked: set[tuple[Any, ...]]) -> Iterator[_Model]:
    """The undefended models of these, and their clean twins under the same triggers."""
    rows = cells[(cells["selection"] == "undefended") & (cells["status"] == "ok")]
    for row in rows.to_dict("records"):
        if (row["objective"], row["attack"], row["seed"]) in attacked:
            keys = json.loads(row["artifacts"])
            yield _model(row, "undefended", "undefended", ("pretrain", keys.get("pretrain"), None))
            yield _model(row, "clean_twin", "undefended", ("pretrain", keys.get("twin"), None))


def _model(row: Mapping[str, Any], role: str, selection: str, weights: tuple[Any, ...]) -> _Model:
    keys = json.loads(row["artifacts"])
    head = {name: row[name] for name in ("cell", *AXES)} | {"selection": selection, "role": role}
    return _Model(head, (*weights, keys.get("poison"), keys.get("evaluation"), row["seed"]))


def _table(store: Store, head: Mapping[str, Any], form: tuple[str, float], key: str) -> Frame:
    """One trajectory, a row for each step."""
    artifact = store.find(STAGE, key)
    if artifact is None:  # it was removed meanwhile
        return pd.DataFrame()
    numbers = read_table(artifact.path("rebound.parquet"), REBOUND).to_pandas()
    wide = numbers[numbers["name"].isin(NUMBERS)].pivot(index="step", columns="name")
    columns: dict[str, Any] = {"step": wide.index.to_numpy()}
    for name in NUMBERS:
        for field, part in (("value", ""), ("count", "_count"), ("total", "_total")):
            columns[name + part] = wide[field][name].to_numpy() if name in wide[field] else float("nan")
    scope, rate = form
    said = {**head, "scope": scope, "learning_rate": rate, "reason": artifact.facts["reason"], "trajectory": key}
    return pd.DataFrame(columns).assign(**said)


def _with_net(rows: Frame) -> Frame:
    """Adds the floor and what is above it: the clean twin on the same trajectory, which forgets and drifts as well."""
    place = ["objective", "attack", "seed", "scope", "learning_rate", "step"]
    if rows.empty:
        return rows
    twins = rows[rows["role"] == "clean_twin"].drop_duplicates(place).set_index(place)["attack_success_rate"]
    rows = rows.join(twins.rename("floor"), on=place)
    return rows.assign(net_asr=rows["attack_success_rate"] - rows["floor"])
