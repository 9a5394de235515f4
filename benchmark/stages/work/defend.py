"""`defend` and implanting: methods that turn one model into another, run in their context."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmark.contexts.recorder import Collapsed, EpochRecorder, Report, weights_name
from benchmark.contexts.repair import GatedRepairContext
from benchmark.errors import Diverged, Refused
from benchmark.models.clip import ClipModel, load_delta, save_delta
from benchmark.stages.cells import Cell
from benchmark.stages.common import Compute, Stopwatch, Tick, required
from benchmark.stages.environment import numerics
from benchmark.stages.keys import defend_key
from benchmark.stages.work.method_inputs import conditions_of, held_out, method_inputs
from benchmark.stages.work.origin import twin_watch
from benchmark.stages.work.weights import given_back, left_as_it_was, load_pretrained, weights_folder
from benchmark.store.artifacts import Store
from benchmark.store.keys import derive_seed
from benchmark.training.loop import LoopOptions
from benchmark.types import Card, ModelAttack, Repair


class DefendInputs(NamedTuple):
    """What a repair run is told beside its fields: functions of its input artifacts."""

    start_accuracy: float | None  # validation CA of the undefended model; None: no collapse stopping
    keep: Callable[[Sequence[Mapping[str, Any]]], set[int]]  # epochs whose weights are kept
    anew: bool = False  # run even if the artifact is there: it lacks weights that are kept now
    watch: Callable[[ClipModel], None] = lambda model: None  # looks at each model before it is measured


NOTHING_KEPT = DefendInputs(None, lambda rows: set())


def defend_stage(
    store: Store, cell: Cell, repair: Repair, inputs: DefendInputs, compute: Compute, *, tick: Tick
) -> dict[str, Any]:
    """Runs one repair with given fields; returns the artifact's facts."""
    key = defend_key(cell, repair)
    found = store.find("defend", key)
    if found is not None and not inputs.anew:
        return found.facts
    draft, stopwatch = store.draft("defend", key), Stopwatch()
    model = load_pretrained(store, cell.keys.pretrain).to(compute.device)
    base = cell.keys.pretrain
    watch = twin_watch(store, cell, repair, model)
    inputs = inputs._replace(watch=watch) if watch else inputs
    context, recorder = repair_context(
        store, cell, repair.own_card, inputs, compute, draft.folder, model, tick, base=base, repair=repair
    )
    status, reason = "ok", ""
    with left_as_it_was(model):
        try:
            repaired = given_back(repair.repair(model, context))
            recorder.measure_result(repaired)
        except Refused:
            pass  # told below: the method may also have caught it
        except Collapsed as error:
            status, reason = "collapsed", str(error)
        except Diverged as error:
            status, reason = "failed", str(error)
    if recorder.refusal:
        status, reason = "refused", recorder.refusal
    findings = recorder.write(context.findings)
    last = recorder.rows[-1] if recorder.rows else {}
    facts = {
        "status": status,
        "reason": reason or (watch.note if watch else ""),
        "accuracy": last.get("validation_accuracy"),
        "asr": last.get("validation_asr"),
        "epochs": recorder.count,
        "parameters": repair.model_dump(mode="json"),
        "findings": findings,
        "clean_pairs": context.clean_pairs_used,
        "way_to_twin": watch.furthest._asdict() if watch and watch.furthest else None,
        "wall_s": stopwatch.seconds(),
    }
    return draft.commit(facts | numerics(compute)).facts


def implant_stage(store: Store, cell: Cell, compute: Compute, *, tick: Tick) -> None:
    """Implants a model attack into the clean twin; the artifact stands where a pre-trained model would."""
    attack, keys = cell.experiment.attack, cell.keys
    assert isinstance(attack, ModelAttack)
    draft, watch = store.draft("pretrain", keys.pretrain), Stopwatch()
    twin = load_pretrained(store, keys.twin).to(compute.device)
    context, recorder = repair_context(
        store, cell, attack.own_card, NOTHING_KEPT, compute, draft.folder, twin, tick, base=keys.twin
    )
    with left_as_it_was(twin):
        attacked = given_back(attack.implant(twin, context))
    save_delta(attacked, draft.folder, base={"artifact": keys.twin}, of=twin)
    before = required(store, "pretrain", keys.twin).facts
    facts = {name: before[name] for name in ("training", "class_names", "evaluation_templates")}
    facts |= {
        "history": [],
        "parents": {"twin": keys.twin, "poison": keys.poison},
        "findings": recorder.write(context.findings),
    }
    draft.commit(facts | numerics(compute) | {"wall_s": watch.seconds()})


def repair_context(
    store: Store,
    cell: Cell,
    card: Card,
    inputs: DefendInputs,
    compute: Compute,
    folder: Path,
    model: ClipModel,
    tick: Tick,
    *,
    base: str,
    repair: Repair | None = None,
) -> tuple[GatedRepairContext, EpochRecorder]:
    """What the method is handed, and what the engine keeps to itself; weights that are kept go into `folder`."""
    experiment = cell.experiment
    evaluation = required(store, "data", cell.keys.evaluation)
    report = Report(
        validation=held_out(evaluation, "validation"),
        conditions=conditions_of(store, cell, evaluation),
        keep=inputs.keep,
        watch=inputs.watch,
        start_accuracy=inputs.start_accuracy,
        collapse=experiment.search.collapse if experiment.search else 0.0,
        folder=folder,
        base_key=base,
        progress=lambda end: tick(f"epoch {end.epoch}/{end.epochs}, loss {end.loss:.2f}", end.epoch / end.epochs),
    )
    options = LoopOptions(micro_batch=compute.micro_batch, prefetch=compute.prefetch)
    resources = method_inputs(store, cell, model, key=base, repair=repair)
    recorder = EpochRecorder(report, resources)
    seed = derive_seed(experiment.seed, "defend")
    return GatedRepairContext(card, resources, recorder, seed=seed, options=options), recorder


def load_repaired(store: Store, key: str, epoch: int) -> ClipModel:
    """The model that a defend artifact kept after an epoch."""
    name = weights_name(epoch)
    folder = required(store, "defend", key).folder_with(f"{name}.json", f"{name}.safetensors")
    return load_delta(folder, name=name, find=partial(weights_folder, store))
