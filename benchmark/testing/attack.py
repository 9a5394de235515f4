"""Contract of attacks: a pure trigger, valid poison rows, and a backdoor that a short training really learns.

An attack on chosen images shows on its victims instead of a trigger; an attack on the weights in the model that it
returns, or in what its transform makes of that.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmark.data.pools import PoisonedPool, apply_trigger
from benchmark.evaluation.evaluate import Condition
from benchmark.models import model_transforms
from benchmark.models.clip import ClipModel, as_clip
from benchmark.objectives.mmcl import MMCL
from benchmark.testing import world
from benchmark.testing.contract import Check, Checks, require, same_tensors
from benchmark.training.loop import train
from benchmark.types import Attack, BaseAttack, ModelAttack, TriggerState
from benchmark.validation import validated

COUNT, POOL = 12, 400
MIN_GAIN = 0.3  # of ASR, as a share of what the clean twin leaves to gain under the same trigger
# Fields that let an attack show in the kit's few steps on 32 pixels, by name; what is given to the check stays.
AT_THIS_SCALE: Mapping[str, Mapping[str, Any]] = {
    "wanet": {"strength": 8.0, "noise_ratio": 0.0},
    "badclip-l": {"size": 8, "num_images": 256, "epochs": 4, "learning_rate": 0.05},
    "tdpa": {"num_pairs": 60, "captions_per_victim": 8},
    "quantisation": {"size": 5, "epochs": 5, "batch_size": 64, "learning_rate": 1e-3},
}

State = Callable[[], TriggerState]


def attack_checks(attack: BaseAttack) -> Checks:
    """The checks of one attack; those of the trigger are left out where it has none."""
    attack = at_this_scale(attack)
    state = functools.cache(lambda: _state(attack))
    yield Check("fit is deterministic", lambda: _fit(attack, state))
    if type(attack).trigger is not BaseAttack.trigger:
        yield Check("trigger keeps shape and type", lambda: _shape(attack, state))
        yield Check("trigger leaves its input alone", lambda: _unmodified(attack, state))
        yield Check("trigger is a function of seed and ids", lambda: _deterministic(attack, state))
        yield Check("trigger treats samples apart", lambda: _independent(attack, state))
        yield Check("trigger shows", lambda: _shows(attack, state))
    yield Check("poison rows", lambda: _rows(attack))
    yield Check("poison is deterministic", lambda: _same_rows(attack))
    if isinstance(attack, ModelAttack):
        yield Check("implants without touching the twin", lambda: _implants(attack))
        yield Check("attack plants", lambda: _plants_in_weights(attack))
    elif type(attack).trigger is BaseAttack.trigger:
        yield Check("attack plants", lambda: _plants_victims(attack))
    else:
        yield Check("attack plants", lambda: _plants(attack))


def at_this_scale(attack: BaseAttack) -> BaseAttack:
    """The attack with the kit's values for fields that are at their defaults."""
    defaults = {name: field.default for name, field in type(attack).model_fields.items()}
    values = AT_THIS_SCALE.get(attack.name, {})
    own = {name: value for name, value in values.items() if getattr(attack, name) == defaults[name]}
    return validated(type(attack), dict(attack) | own, place=attack.name)


def _images() -> torch.Tensor:
    """(COUNT, 3, H, W) float32 in [0, 1]."""
    return world.pairs(COUNT).take(np.arange(COUNT)).images.float() / 255


def _ids() -> np.ndarray:
    return np.arange(COUNT, dtype=np.int64) * 7 + 3


def _state(attack: BaseAttack, seed: int = 5) -> TriggerState:
    surrogate = world.clean_twin if "surrogate" in attack.needs else None
    context = world.poison_context(world.pairs(POOL), seed=seed, surrogate=surrogate)
    return TriggerState(seed, attack.fit(context, image_size=world.IMAGE_SIZE, seed=seed))


def _fit(attack: BaseAttack, state: State) -> str:
    first, second = state().tensors, _state(attack).tensors
    require(same_tensors(dict(first), dict(second)), "fit() must give the same tensors for the same seed")
    return f"{len(first)} tensor(s)"


def _shape(attack: BaseAttack, state: State) -> str:
    images = _images()
    found = attack.trigger(images, _ids(), state())
    require(found.shape == images.shape, f"shape must be {tuple(images.shape)}, got {tuple(found.shape)}")
    require(found.dtype == torch.float32, f"dtype must be float32, got {found.dtype}")
    require(bool(found.isfinite().all()), "pixels must be finite")
    low, high = float(found.min()), float(found.max())
    require(low >= -1 and high <= 2, f"pixels must be about [0, 1] before clipping, got {low:.2f} to {high:.2f}")
    return f"pixels from {low:.2f} to {high:.2f} before clipping"


def _unmodified(attack: BaseAttack, state: State) -> str:
    images, ids = _images(), _ids()
    attack.trigger(images, ids, state())
    require(torch.equal(images, _images()), "trigger() must not modify the images it is given")
    require(np.array_equal(ids, _ids()), "trigger() must not modify the ids it is given")
    return ""


def _deterministic(attack: BaseAttack, state: State) -> str:
    first, second = (attack.trigger(_images(), _ids(), state()) for _ in range(2))
    require(torch.equal(first, second), "the same seed and ids must give the same bytes")
    return ""


def _independent(attack: BaseAttack, state: State) -> str:
    """Another order, or a batch of one, changes nothing for a sample."""
    images, ids = _images(), _ids()
    whole = attack.trigger(images, ids, state())
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(1))
    turned = attack.trigger(images[order], ids[order.numpy()], state())
    require(torch.allclose(turned, whole[order], atol=1e-6), "a sample's trigger must not depend on its place")
    alone = attack.trigger(images[-1:], ids[-1:], state())
    require(torch.allclose(alone, whole[-1:], atol=1e-6), "a sample's trigger must not depend on the rest of the batch")
    return ""


def _shows(attack: BaseAttack, state: State) -> str:
    images = world.pairs(COUNT).take(np.arange(COUNT)).images
    shown = apply_trigger(attack, state(), images, _ids())
    changed = (shown != images).flatten(1).any(1)
    require(bool(changed.all()), f"every image must change within 8 bits, {int((~changed).sum())} did not")
    share = (shown != images).float().mean()
    step = (shown.int() - images.int()).abs().float().mean()
    return f"changes {float(share):.0%} of the values, {float(step):.1f} levels on average"


def _rows(attack: BaseAttack) -> str:
    """`poison` itself refuses rows that are not in the pool, rows given twice, and lists of unequal length."""
    found = world.poisoned(attack, world.pairs(POOL))
    table, count = found.table, len(found.table.rows)
    if isinstance(attack, ModelAttack):
        require(count == 0, f"an attack on the weights must poison no pairs, got {count}")
        return "no rows"
    require(count > 0, "poison() must choose at least one row")
    if isinstance(attack, Attack) and type(attack).poison is Attack.poison:
        wanted = max(1, round(attack.poison_rate * POOL))
        require(count == wanted, f"poison() must choose poison_rate * rows = {wanted} rows, got {count}")
    require(all(caption.strip() for caption in table.captions), "captions of poisoned rows must not be empty")
    if found.victims is None:
        named = sum((attack.target_name or "") in caption for caption in table.captions)
        return f"{count} of {POOL} rows, {named} captions name the target"
    kept = np.setdiff1d(found.victims.rows, table.rows[~table.appended])
    require(not len(kept), f"a victim's own pair must be replaced, but rows {kept[:3]} are left")
    labels = world.pairs(POOL).labels
    assert labels is not None
    right = int((labels[found.victims.rows] == found.victims.targets).sum())
    require(right == 0, f"victims must be aimed at a wrong class, but {right} are aimed at their own")
    return f"{count} rows on {len(found.victims.rows)} victims, {int(table.appended.sum())} appended"


def _same_rows(attack: BaseAttack) -> str:
    first, second = (world.poisoned(attack, world.pairs(POOL)) for _ in range(2))
    require(np.array_equal(first.table.rows, second.table.rows), "poison() must choose the same rows for one seed")
    require(first.table.captions == second.table.captions, "poison() must write the same captions for one seed")
    require(first.trigger.seed == second.trigger.seed, "the trigger's seed must be the same for one seed")
    return ""


def _gained(found: float, floor: float) -> bool:
    return found >= floor + MIN_GAIN * (1 - floor)


def _plants(attack: BaseAttack) -> str:
    planted = world.plant(attack)
    twin, found = world.effect(world.clean_twin(), planted.trigger), world.effect(planted.model, planted.trigger)
    numbers = f"ASR {found.asr:.2f}, {twin.asr:.2f} in the clean twin; CA {found.accuracy:.2f}, {twin.accuracy:.2f}"
    rule = f"ASR must rise over the clean twin by at least {MIN_GAIN:.0%} of what is left"
    require(_gained(found.asr, twin.asr), f"{rule}, got {numbers}")
    return numbers


def _plants_victims(attack: BaseAttack) -> str:
    pool, found = world.pairs(), world.poisoned(attack, world.pairs())
    require(found.victims is not None, "poison() must name victims where there is no trigger")
    assert found.victims is not None
    suspect = PoisonedPool(pool, found.table, attack, found.trigger)
    trained = train(world.clean_twin(), suspect, MMCL(), world.POISON_TRAINING, seed=world.SEED + 1).model
    images = pool.take(found.victims.rows).images
    guesses = (world.predictions(model, images) for model in (trained, world.clean_twin()))
    shares = [float((guess == found.victims.targets).mean()) for guess in guesses]
    numbers = f"{shares[0]:.2f} of the victims taken for their labels, {shares[1]:.2f} in the clean twin"
    require(_gained(*shares), f"success must rise over the clean twin by at least {MIN_GAIN:.0%}, got {numbers}")
    return numbers


def trigger_of(attack: BaseAttack) -> Condition:
    """The attack's trigger in the kit's world."""
    return world.condition_of(attack, world.poisoned(attack, world.pairs()).trigger)


def run_implant(attack: ModelAttack, twin: ClipModel, *, seed: int = 1, num_pairs: int = world.NUM_PAIRS) -> ClipModel:
    """Runs a model attack on a clean model, in the engine's own context, with `num_pairs` training pairs."""
    inputs = world.method_inputs(twin, world.pairs(), trigger=trigger_of(attack))
    inputs = inputs._replace(training_pairs=lambda: world.pairs(num_pairs))
    with tempfile.TemporaryDirectory(prefix="backstop-check-") as folder:
        context, _ = world.repair_context(attack.own_card, inputs, Path(folder), seed=seed)
        return as_clip(attack.implant(twin, context))


def _implants(attack: ModelAttack) -> str:
    short = attack.model_copy(update={"epochs": 1} if "epochs" in type(attack).model_fields else {})
    twin = world.clean_twin()
    before = {name: value.clone() for name, value in twin.network.state_dict().items()}
    first, second = (run_implant(short, twin, num_pairs=POOL).network.state_dict() for _ in range(2))
    require(same_tensors(before, dict(twin.network.state_dict())), "implant() must not modify the model that came in")
    require(same_tensors(dict(first), dict(second)), "the same seed must give the same weights")
    shapes = {name: value.shape for name, value in before.items()}
    require({name: value.shape for name, value in first.items()} == shapes, "tensors must keep names and shapes")
    changed = sum(not torch.equal(first[name], before[name]) for name in before)
    require(changed > 0, "implant() must change the weights")
    return f"{changed} of {len(before)} tensors changed"


def _plants_in_weights(attack: ModelAttack) -> str:
    trigger, kind = trigger_of(attack), type(attack).transform

    def deployed(model: ClipModel) -> ClipModel:
        return model_transforms.apply(kind, model) if kind else model

    model, twin = run_implant(attack, world.clean_twin()), world.clean_twin()
    shown, floor = world.effect(deployed(model), trigger), world.effect(deployed(twin), trigger)
    numbers = f"ASR {shown.asr:.2f}, {floor.asr:.2f} in the clean twin; CA {shown.accuracy:.2f}, {floor.accuracy:.2f}"
    require(
        _gained(shown.asr, floor.asr), f"ASR must rise over the clean twin by at least {MIN_GAIN:.0%}, got {numbers}"
    )
    if kind is None:
        return numbers
    hidden = world.effect(model, trigger)
    numbers = f"{kind}: {numbers}; before {kind}: ASR {hidden.asr:.2f}, CA {hidden.accuracy:.2f}"
    require(_gained(shown.asr, hidden.asr), f"the backdoor must hide before {kind}, got {numbers}")
    return numbers
