"""From a suite to its cells: what each is made of, by content key. Pure; needs neither Ray nor open_clip."""

from __future__ import annotations

from typing import Any

from benchmark.config.protocol import Splits
from benchmark.config.spec import Experiment, ModelSpec, Suite
from benchmark.stages.cells import Cell, Keys
from benchmark.stages.identities import identity, model_identity, training_identity, without_paths
from benchmark.stages.once import Once
from benchmark.stages.outside import asks_outside, methods_of, outside_of
from benchmark.stages.starts import Known, with_starts
from benchmark.store.keys import content_key
from benchmark.types import BaseAttack, Dataset, Detector, Filter, Method, ModelAttack, Objective, Repair, Training

# Raised when a stage's code changes what it computes.
STAGE_VERSIONS = {
    "data": 1,
    "poison": 1,
    "pretrain": 1,
    "embed": 1,
    "squash": 1,
    "defend": 1,
    "detect": 1,
    "evaluate": 2,
    "record": 4,
    "rebound": 1,
}


def stage_key(stage: str, spec: Any, inputs: list[str]) -> str:
    """Content key under the stage's current version."""
    return content_key(stage, STAGE_VERSIONS[stage], spec, inputs)


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


def data_key(experiment: Experiment, dataset: Dataset, once: Once, *, outside: bool = False) -> str:
    """Key of a prepared data set, or of the pairs of a model from outside.

    How many of those there are is part of the former only where it decides what is left for pre-training.
    """
    return once(_data_key, dataset, experiment.splits, experiment.model.name, outside, once)


def _data_key(dataset: Dataset, splits: Splits, model: str, outside: bool, once: Once) -> str:
    from benchmark.models.architectures import image_size

    apart = {"outside"} if splits.pretrain is not None and not outside else None
    part = {"part": "outside"} if outside else {}
    sizes = splits.model_dump(mode="json", exclude_defaults=True, exclude=apart)
    return stage_key("data", once(_dataset, dataset) | part | {"splits": sizes, "image_size": image_size(model)}, [])


def _dataset(dataset: Dataset) -> dict[str, Any]:
    return {"dataset": without_paths(identity(dataset)), "revision": dataset.revision()}


def poison_key(experiment: Experiment, data: str, outside: str | None, once: Once) -> str | None:
    """Key of a poison manifest and its trigger; None without an attack."""
    if experiment.attack is None:
        return None
    return once(_poison_key, experiment.attack, experiment.seed, experiment.threads, data, outside)


def _poison_key(attack: BaseAttack, seed: int, threads: int | None, data: str, outside: str | None) -> str:
    inputs = [data, outside] if outside else [data]
    return stage_key("poison", {"attack": identity(attack), "seed": seed} | _threads(threads), inputs)


def pretrain_key(experiment: Experiment, pairs: str, once: Once) -> str:
    """Key of a pre-trained model; `pairs` is the key of the poison, or of the data."""
    item = experiment
    return once(_pretrain_key, item.model, item.objective, item.pretrain, item.seed, item.threads, pairs)


def _pretrain_key(
    model: ModelSpec, objective: Objective, training: Training, seed: int, threads: int | None, pairs: str
) -> str:
    spec = {
        "model": model_identity(model),
        "objective": identity(objective),
        "training": training_identity(training),
        "seed": seed,
    }
    return stage_key("pretrain", spec | _threads(threads), [pairs])


def _threads(threads: int | None) -> dict[str, int]:
    """The number of threads where the suite gives one: it stands in the keys of all that torch is the first to make."""
    # repairs, scores and outcomes are made of these, and have it through them
    return {"threads": threads} if threads else {}


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


def _retrained_key(keys: Keys, detector: Filter) -> str:
    """Key of the model that is pre-trained again without the most suspicious pairs."""
    spec = {"without": detector.remove_rate, "like": keys.pretrain}
    return stage_key("pretrain", spec, [keys.detect or "", keys.poison or keys.data])


def defend_key(cell: Cell, repair: Repair) -> str:
    """Key of one repair run with given fields. The rules that decide which weights are kept are part of it."""
    spec = {
        "repair": identity(repair),
        "seed": cell.experiment.seed,
        "rules": _keep_rules(cell.experiment),
    }
    # the twin stands in the key since its ASR is the floor that the rules subtract when they keep an epoch
    k = cell.keys
    inputs = [k.pretrain, k.data, k.evaluation, k.poison or "", k.twin, *outside_key(k, repair)]
    return stage_key("defend", spec, inputs)


def _keep_rules(experiment: Experiment) -> dict[str, Any]:
    """What decides which epochs' weights a run keeps: nothing for one run at given fields, else the search's rules."""
    # what a rule selects in the end its trial must have kept, so that other rules are other runs; the budget keeps
    # nothing, and stays out
    search = experiment.search
    if search is None:
        return {}
    rules = {"asr_bound", "bound_on", "blind_drop", "collapse"}
    # a trial keeps its own front whole: how much of the joint one is evaluated decides nothing there
    front: dict[str, Any] = {"front": True} if search.front else {}
    if search.front_strips:
        front["strips"] = search.front_strips
    return {"search": search.model_dump(mode="json", include=rules, exclude_defaults=True) | front}


def search_key(cell: Cell) -> str:
    """Seeds a search's proposals, beside the results of its finished rounds.

    Objective and attack stay out of it, so that paired cells share their quasi-random points. So does everything that
    `Search` says: a search with a larger budget goes on with the points of a smaller one, and cells that differ in
    their rules look at the same ones.
    """
    experiment = cell.experiment
    # paired cells then differ in what the repair met, not in the luck of where it looked
    assert experiment.repair is not None and experiment.search is not None
    spec = {
        "repair": identity(experiment.repair),
        "search": {},  # stays, empty, so that searches of before go on with their points
        "space": {name: list(value) for name, value in sorted(experiment.space.items())},
        "seed": experiment.seed,
    }
    return stage_key("defend", spec, [cell.keys.data, cell.keys.evaluation])


def outside_key(keys: Keys, method: Method) -> list[str]:
    """Key of the model from outside, where a method asks for it."""
    return [keys.outside] if keys.outside and asks_outside(method) else []


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
