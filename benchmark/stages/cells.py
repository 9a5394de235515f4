"""From a suite to its cells: which artifacts each is made of, by content key. Pure; needs neither Ray nor open_clip."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from benchmark.config.spec import Experiment, Suite
from benchmark.stages.identities import identity, model_identity, training_identity
from benchmark.stages.keys import data_key, poison_key, pretrain_key, stage_key
from benchmark.stages.once import Once
from benchmark.stages.outside import asks_outside, methods_of, outside_of
from benchmark.stages.starts import Known, with_starts
from benchmark.types import Detector, Filter, Method, ModelAttack


class Keys(NamedTuple):
    """Content keys of one cell."""

    data: str
    evaluation: str
    poison: str | None
    pretrain: str  # the suspect model: pre-trained on the poisoned pairs, or with a backdoor implanted
    twin: str  # the same pre-training without poison
    record: str
    outside: str | None = None  # a clean model from outside, where the attack or the defense asks for one
    outside_data: str | None = None  # the pairs that it is trained on, and no other model
    detect: str | None = None  # a detector's scores
    retrained: str | None = None  # the model that is pre-trained again on what a filter leaves


class Cell(NamedTuple):
    """An experiment and its keys."""

    experiment: Experiment
    keys: Keys


def cells_of(suite: Suite) -> list[Cell]:
    """Every cell of a suite with its keys.

    Raises:
        UserError: a data set whose files are missing, or a start that is no other suite's clean model.
    """
    once = Once()

    def twin(experiment: Experiment) -> str:
        return pretrain_key(experiment, data_key(experiment, experiment.data, once), once)

    known: Known = {}
    found = [
        with_starts(experiment, twin, known, asks_outside=any(map(asks_outside, methods_of(experiment))))
        for experiment in suite.experiments()
    ]
    return [Cell(experiment, keys_of(experiment, once)) for experiment in found]


def keys_of(experiment: Experiment, once: Once) -> Keys:
    """Content keys of one experiment. `once` remembers what experiments share."""
    data = data_key(experiment, experiment.data, once)
    evaluation = data_key(experiment, experiment.evaluation, once) if experiment.evaluation else data
    askers = [method for method in methods_of(experiment) if asks_outside(method)]
    outside_data = data_key(experiment, experiment.data, once, outside=True) if askers else None
    outside = pretrain_key(outside_of(experiment), outside_data, once) if outside_data else None
    # a defender's model from outside must not move the poison: the attack would be another one under each defense
    poison = poison_key(experiment, data, outside if experiment.attack in askers else None, once)
    twin = pretrain_key(experiment, data, once)
    suspect = _suspect_key(experiment, poison, twin, once)
    spec = _specification(experiment, once)
    found = Keys(
        data=data,
        evaluation=evaluation,
        poison=poison,
        pretrain=suspect,
        twin=twin,
        record=stage_key("record", spec, [data, evaluation, poison or "", *([outside] if outside else [])]),
        outside=outside,
        outside_data=outside_data,
    )
    detector = experiment.detector
    if detector is None:
        return found
    found = found._replace(detect=_detect_key(experiment, found, detector))
    if isinstance(detector, Filter) and detector.retrain:
        return found._replace(retrained=_retrained_key(found, detector))
    return found


def _suspect_key(experiment: Experiment, poison: str | None, twin: str, once: Once) -> str:
    if isinstance(experiment.attack, ModelAttack):
        spec = {"implant": identity(experiment.attack), "seed": experiment.seed}
        return stage_key("pretrain", spec, [twin, poison or ""])
    return pretrain_key(experiment, poison, once) if poison else twin


def _detect_key(experiment: Experiment, keys: Keys, detector: Detector) -> str:
    """Key of a detector's scores. What a filter's scores are used for is no part of it."""
    ident = identity(detector)
    if isinstance(detector, Filter):
        # one scoring serves every share that is removed, and every board that does not train again
        unused = ("remove_rate", "retrain")
        ident = ident | {"fields": {name: value for name, value in ident["fields"].items() if name not in unused}}
    inputs = [keys.pretrain, keys.data, keys.evaluation, keys.poison or "", *outside_key(keys, detector)]
    return stage_key("detect", {"detector": ident, "seed": experiment.seed}, inputs)


def outside_key(keys: Keys, method: Method) -> list[str]:
    """Key of the model from outside, where a method asks for it."""
    return [keys.outside] if keys.outside and asks_outside(method) else []


def _retrained_key(keys: Keys, detector: Filter) -> str:
    """Key of the model that is pre-trained again without the most suspicious pairs."""
    spec = {"without": detector.remove_rate, "like": keys.pretrain}
    return stage_key("pretrain", spec, [keys.detect or "", keys.poison or keys.data])


def _specification(experiment: Experiment, once: Once) -> dict[str, Any]:
    """The record's identity: every method by identity, everything else in full."""
    by_identity = {"data", "evaluation", "objective", "attack", "repair", "detector", "model", "splits", "gate"}
    by_identity |= {"outside"}  # whose key is among the record's inputs, where somebody asks for it
    plain = experiment.model_dump(mode="json", exclude_defaults=True, exclude=by_identity)
    if "pretrain" in plain:
        plain["pretrain"] = once(training_identity, experiment.pretrain)
    methods = {name: once(identity, getattr(experiment, name)) for name in ("objective", "attack", "repair")}
    if experiment.detector:
        methods["detector"] = once(identity, experiment.detector)
    gate = experiment.gate.model_dump(mode="json", exclude_defaults=True)
    return plain | methods | {"model": once(model_identity, experiment.model), "gate": gate}


def outside_cell(cell: Cell) -> Cell:
    """The pre-training of the model from outside, as a cell on pairs of its own."""
    own, pairs = cell.keys.outside or "", cell.keys.outside_data or ""
    keys = cell.keys._replace(
        data=pairs, poison=None, pretrain=own, twin=own, outside=None, detect=None, retrained=None
    )
    return Cell(outside_of(cell.experiment), keys)


def trained_split(cell: Cell) -> Literal["pretrain", "outside"]:
    """Which split of its data a cell's model is trained on."""
    return "outside" if cell.keys.data == cell.keys.outside_data else "pretrain"


def twin_cell(cell: Cell) -> Cell:
    """The clean twin of an attacked cell through the same repair at its defaults, as a cell without a record."""
    experiment = cell.experiment.model_copy(update={"attack": None, "search": None, "space": {}})
    # without poison, what the repaired twin answers to the trigger is the repair's own doing: its floor
    return Cell(experiment, cell.keys._replace(pretrain=cell.keys.twin, poison=None))


def retrained_cell(cell: Cell) -> Cell:
    """A filtered cell whose model is the one that was trained again."""
    return cell._replace(keys=cell.keys._replace(pretrain=cell.keys.retrained or ""))
