"""A made-up suite with every kind of method: filters, detectors of images and of models, int8, chosen images, cards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.metrics.auprc import AUPRC
from benchmark.metrics.auroc import AUROC
from benchmark.metrics.poisons_left import PoisonsLeft
from benchmark.store.artifacts import Store
from benchmark.store.keys import content_key
from benchmark.store.schemas import RECORDS, TRIALS
from benchmark.types import Measure, Metric, proportion
from reports.compile import Results
from reports.detection import Detectors, detector_scales, detectors
from reports.grid import Names, names_of
from tests.helpers import fake_suite
from tests.helpers.cards import card as registered

Cells = list[dict[str, Any]]
PAIRS, POISONED, TEST, VICTIMS = 17_000, 340, 2000, 100
OBJECTIVES = ("mmcl", "mmcl-ssl", "safeclip", "safeclip(variant=intended)", "abl")
DEFENDED = ("mmcl", "mmcl-ssl")
BADNET, SIG, WANET = "badnet(poison_rate=0.02,target=bird)", "sig(target=ship)", "wanet(grid=4,target=truck)"
WIDE, TDPA, QUANT = "wanet(grid=224,target=truck)", "tdpa(target=cat)", "quantisation(target=bird)"
ATTACKS = (BADNET, SIG, WANET, WIDE, TDPA, QUANT)
# label -> CA lost, share of the backdoor that is left
REPAIRS: Mapping[str, tuple[float, float]] = {
    "fine-tuning(epochs=5)": (0.005, 0.86),
    "batch-norm-only": (-0.002, 0.98),
    "ssl-only(epochs=5)": (0.02, 0.7),
    "cleanclip(epochs=5)": (0.01, 0.13),
    "heavy-weight-decay": (0.06, 0.09),
    "shrink-and-perturb": (0.04, 0.2),
    "par(epochs=5)": (0.03, 0.03),
    "invertune": (0.02, 0.3),
    "supervised-fine-tuning": (-0.02, 0.4),
    "rvpt": (0.0, 0.0),
    "ubt": (0.03, 0.22),
    "eftclip(segmenter=classical)": (0.01, 0.18),
    "tbar": (0.002, 0.01),
}
FILTERS = {"clipscore": 0.93, "slof": 0.41, "dao(retrain=True)": 0.985}
INPUTS = {"strip": 0.66, "bdetclip": 0.88}
DECREE = "decree(steps=200)"
DETECTORS = (*FILTERS, *INPUTS, DECREE)
LOST = ("mmcl-ssl", WIDE, "none", "strip")  # the cell that has no record
EDA = "text augmentation (EDA)"
NEEDS: Mapping[str, list[str]] = {
    "cleanclip(epochs=5)": ["optimizer_state", "clean_pairs"],
    "par(epochs=5)": ["clean_pairs", "reference"],
    "invertune": ["class_names", "clean_pairs"],
    "supervised-fine-tuning": ["clean_pairs", "labels"],
    "rvpt": ["class_names", "clean_pairs", "labels", "reference"],
    "ubt": ["suspect_pairs"],
    "eftclip(segmenter=classical)": ["class_names", "segmenter", "suspect_pairs"],
    "tbar": ["class_names", "clean_pairs", "labels", "trigger"],
    "strip": ["class_names", "clean_pairs"],
    "bdetclip": ["class_names"],
    DECREE: ["clean_pairs"],
    **{label: ["suspect_pairs"] for label in FILTERS},
}


def methods() -> dict[str, Any]:
    """The cards, as the suite's document lists them."""

    def card(kind: str, label: str, access: str, **more: Any) -> dict[str, Any]:
        said = registered(kind, label) | {"citation": "arXiv:2303.03323", "summary": f"What {label} does, in short."}
        needs = NEEDS.get(label, ["clean_pairs"] if access == "weights" else [])
        external = [EDA] if label.startswith(("cleanclip", "ssl")) else []
        return said | {"access": access, "needs": needs, "external": external} | more

    units = {**dict.fromkeys(FILTERS, "pair"), **dict.fromkeys(INPUTS, "input"), DECREE: "model"}
    return {
        "objective": {label: card("objective", label, "training") for label in OBJECTIVES},
        "attack": {
            label: card("attack", label, "data", transform="int8" if label == QUANT else None) for label in ATTACKS
        },
        "repair": {label: card("repair", label, "weights") for label in REPAIRS},
        "detector": {label: card("detector", label, "weights", unit=units[label]) for label in DETECTORS},
    }


def cell(objective: str, attack: str, repair: str = "none", detector: str = "none", seed: int = 0) -> dict[str, Any]:
    """One cell as the suite's document lists it."""
    axes = {"objective": objective, "attack": attack, "repair": repair, "detector": detector, "seed": seed}
    key = content_key("cell", 1, axes)
    searched = repair.startswith("cleanclip") and attack != "none"
    return {"cell": key, "record": key, "dataset": "cifar10", "model": "tiny-resnet", **axes, "searched": searched}


def grid(seeds: tuple[int, ...] = (0,)) -> Cells:
    """All cells in board order: five objectives undefended, two of them with every repair and detector."""
    cells = []
    for seed in seeds:
        for objective in OBJECTIVES:
            for attack in ("none", *ATTACKS):
                cells.append(cell(objective, attack, seed=seed))
                if objective not in DEFENDED:
                    continue
                cells += [cell(objective, attack, repair=repair, seed=seed) for repair in REPAIRS]
                scoring = [label for label in FILTERS if "retrain" not in label] if attack == "none" else []
                used = [label for label in DETECTORS if label not in scoring]
                cells += [cell(objective, attack, detector=label, seed=seed) for label in used]
    return cells


def rows_of(cell: dict[str, Any]) -> Cells:
    """Records of one cell, with what goes wrong in a zoo."""
    objective, attack, repair, detector = (cell[axis] for axis in ("objective", "attack", "repair", "detector"))
    if objective == "mmcl" and attack == WANET:
        reason = "undefended ASR 0.312, the gate asks for 0.8"
        made = model_measures(0.71, 0.312, attack) if repair == detector == "none" else None
        rule = "undefended" if made else "default"
        return [fake_suite.record(cell, rule, status="attack_did_not_plant", reason=reason, made=made)]
    if repair == "rvpt":
        reason = "RVPT needs a vision transformer, this model is a convolutional network"
        return [fake_suite.record(cell, "default", status="not_applicable", reason=reason)]
    if repair == "heavy-weight-decay" and attack == SIG:
        return [fake_suite.record(cell, "default", status="failed", reason="ValueError: loss is not finite at step 31")]
    if repair == "invertune" and attack == TDPA:
        return [fake_suite.record(cell, "default", status="not_applicable", reason="there is no trigger to invert")]
    if detector != "none":
        row = fake_suite.record(cell, "default", made=_detected(cell))
        return [row | {"parameters": json.dumps({"remove_rate": 0.05})}]
    accuracy, asr = levels(objective, attack)
    lost, left = REPAIRS.get(repair, (0.0, 1.0))
    own = model_measures(accuracy - lost, max(0.02, asr * left), attack)
    rows = []
    for rule in fake_suite.rules(repair, cell["searched"]):
        rows.append(fake_suite.record(cell, rule, made=own))
    return rows


def levels(objective: str, attack: str) -> tuple[float, float]:
    """Undefended CA and ASR."""
    accuracy = {"mmcl": 0.712, "mmcl-ssl": 0.786, "abl": 0.664}.get(objective, 0.69)
    planted = {"mmcl": 0.97, "mmcl-ssl": 0.93, "abl": 0.34}.get(objective, 0.12)
    return accuracy, planted * {SIG: 0.9, WANET: 0.88, WIDE: 0.95}.get(attack, 1.0)


def model_measures(accuracy: float, asr: float, attack: str) -> list[Measure]:
    """Measures of a model, in full precision and in int8; a quantisation attack shows in int8 only."""
    waits = attack == QUANT
    if attack == "none":
        made = [proportion("clean_accuracy", "zero_shot", round(accuracy * TEST), TEST)]
        return [*made, proportion("clean_accuracy@int8", "zero_shot", round((accuracy - 0.004) * TEST), TEST)]
    made = _attacked(accuracy, 0.03 if waits else asr, "")
    made += _attacked(accuracy - 0.004, asr, "@int8")
    if attack == TDPA:
        for k, share in ((1, asr), (3, min(1, asr * 1.1)), (5, min(1, asr * 1.2))):
            made.append(proportion(f"tdpa_success_at_{k}", "zero_shot", round(share * VICTIMS), VICTIMS))
        rank = Measure("tdpa_mean_rank", "zero_shot", 4 * (1 - asr), -1, VICTIMS)
        made.append(rank._replace(unit="classes", upper=None, higher_is_better=True))
    return made


def _attacked(accuracy: float, asr: float, suffix: str) -> list[Measure]:
    total, floor = 1800, 0.021
    shares = {"clean_accuracy": accuracy, "attack_success_rate": asr, "poisoned_accuracy": accuracy * (1 - asr)}
    made = [proportion(name + suffix, "zero_shot", round(share * total), total) for name, share in shares.items()]
    made.append(proportion(f"floor{suffix}", "zero_shot", round(floor * total), total))
    return [*made, Measure(f"net_asr{suffix}", "zero_shot", asr - floor, -1, total)]


def _detected(cell: dict[str, Any]) -> list[Measure]:
    objective, attack, detector = cell["objective"], cell["attack"], cell["detector"]
    shift = -0.06 if objective == "mmcl-ssl" else 0.0
    if detector in FILTERS:
        return _filtered(detector, attack, objective, FILTERS[detector] + shift)
    if detector in INPUTS:
        return _alarms(attack, INPUTS[detector] + shift)
    found = attack != "none" and attack != TDPA
    score = 0.41 if attack == "none" else 0.93 + shift if found else 0.38
    made = [Measure("suspicion", "scores", score, -1, 1), proportion("flagged", "scores", int(found), 1)]
    return [*made, proportion("target_found", "scores", int(found and attack != SIG), 1)] if found else made


def _measure(name: str, value: float, total: int, metric: Metric) -> Measure:
    return Measure(name, "detector", value, -1, total).of_metric(metric)


def _area(name: str, value: float, total: int) -> Measure:
    return _measure(name, value, total, AUROC() if name == "auroc" else AUPRC())


def _filtered(detector: str, attack: str, objective: str, area: float) -> list[Measure]:
    made: list[Measure] = []
    if attack not in ("none", QUANT):
        made = [_area("auroc", area, PAIRS)]
        for rate, share in (("0.01pct", 0.02), ("0.1pct", 0.1), ("1pct", 0.4)):
            made.append(_area(f"auprc_at_{rate}", share * area, PAIRS))
        for budget, share in (("0.1pct", 0.05), ("1pct", 0.4), ("5pct", 0.95)):
            left = round(POISONED * (1 - share * area))
            made.append(_measure(f"poisons_left_at_{budget}", float(left), POISONED, PoisonsLeft()))
            made.append(proportion(f"poison_recall_at_{budget}", "detector", POISONED - left, POISONED))
    if "retrain" in detector:
        accuracy, asr = levels(objective, attack)
        made += model_measures(accuracy - 0.01, 0.08 * asr, attack)
    return made


def _alarms(attack: str, area: float) -> list[Measure]:
    realised = proportion("realised_fpr_at_1pct", "detector", 26, TEST)
    if attack == "none":
        return [realised]
    made = [_area("auroc", area, TEST + 1800)]
    for rate, share in (("0.01pct", 0.01), ("0.1pct", 0.08), ("1pct", 0.3)):
        made.append(_area(f"auprc_at_{rate}", share * area, TEST + 1800))
    made.append(proportion("tpr_at_1pct_fpr", "detector", round((area - 0.5) * 1800), 1800))
    made.append(proportion("fpr_at_95pct_tpr", "detector", round((1 - area) * TEST), TEST))
    return [*made, realised]


def write(store: Store, cells: Cells, *, cards: bool = True, without: tuple[str, ...] = ()) -> None:
    """Writes the suite `zoo`; cells whose key is in `without` have no record."""
    for one in cells:
        if one["cell"] in without:
            continue
        draft = store.draft("record", one["record"])
        rows = [row | {"suite": "zoo"} for row in rows_of(one)]
        pq.write_table(pa.Table.from_pylist(rows, schema=RECORDS), draft.path("records.parquet"))
        if one["searched"]:
            start = {"objective": one["objective"], "attack": one["attack"], "seed": one["seed"], "cell": one["cell"]}
            table = fake_suite.trials(start)
            pq.write_table(pa.Table.from_pylist(table, schema=TRIALS), draft.path("trials.parquet"))
        draft.commit({})
    suite = {"suite": "zoo", "title": "CIFAR-10: the zoo", "key": content_key("suite", 1, "zoo")}
    environment = {"python": "3.11.9", "torch": "2.15.0", "threads": 2}
    document = {**suite, "protocol": fake_suite.PROTOCOL, "environment": environment, "cells": cells}
    store.write_json("suites/zoo.json", document | ({"methods": methods()} if cards else {}))


def find(cells: Cells, objective: str, attack: str, repair: str = "none", detector: str = "none") -> dict[str, Any]:
    """The cell at a place."""
    wanted = cell(objective, attack, repair, detector)["cell"]
    return next(one for one in cells if one["cell"] == wanted)


def make_store(path: Path, *, cards: bool = True, seeds: tuple[int, ...] = (0,)) -> Store:
    """A store at `path` with the whole zoo in it but for one cell."""
    store, cells = Store(path), grid(seeds)
    write(store, cells, cards=cards, without=(find(cells, *LOST)["cell"],))
    return store


def names(results: Results) -> Names:
    """What the board calls the methods of these results."""
    return names_of(results.cells, results.detections, results.cards)


def found_in(results: Results) -> Detectors:
    """The three sections on detectors."""
    scales = detector_scales(results.measures)
    return detectors(results.detections, results.cells, names(results), results.cards, scales)
