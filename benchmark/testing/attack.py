"""Contract of attacks: a pure trigger, valid poison rows, and a backdoor that a short training really learns."""

from __future__ import annotations

import numpy as np
import torch

from benchmark.poisoning import Context
from benchmark.testing import world
from benchmark.testing.contract import Check, Checks, require, same_tensors
from benchmark.types import Attack, TriggerState

COUNT, POOL = 12, 400
MIN_GAIN = 0.3  # of ASR over the clean twin under the same trigger


def attack_checks(attack: Attack) -> Checks:
    """The checks of one attack; those of the trigger are left out where it has none."""
    yield Check("fit is deterministic", lambda: _fit(attack))
    if type(attack).trigger is not Attack.trigger:
        yield Check("trigger keeps shape and type", lambda: _shape(attack))
        yield Check("trigger leaves its input alone", lambda: _unmodified(attack))
        yield Check("trigger is a function of seed and ids", lambda: _deterministic(attack))
        yield Check("trigger treats samples apart", lambda: _independent(attack))
        yield Check("trigger shows", lambda: _shows(attack))
    yield Check("poison rows", lambda: _rows(attack))
    yield Check("poison is deterministic", lambda: _same_rows(attack))
    yield Check("attack plants", lambda: _plants(attack))


def _images() -> torch.Tensor:
    """(COUNT, 3, H, W) float32 in [0, 1]."""
    return world.pairs(COUNT).take(np.arange(COUNT)).images.float() / 255


def _ids() -> np.ndarray:
    return np.arange(COUNT, dtype=np.int64) * 7 + 3


def _state(attack: Attack, seed: int = 5) -> TriggerState:
    clean, source = world.pairs(POOL), world.source()
    context = Context(
        pool=clean,
        num_rows=clean.num_rows,
        class_names=source.class_names,
        labels=clean.labels,
        caption_templates=source.caption_templates,
        evaluation_templates=source.evaluation_templates,
        seed=seed,
        rng=np.random.default_rng(seed),
    )
    return TriggerState(seed, attack.fit(context, image_size=world.IMAGE_SIZE, seed=seed))


def _fit(attack: Attack) -> str:
    first, second = _state(attack).tensors, _state(attack).tensors
    require(same_tensors(dict(first), dict(second)), "fit() must give the same tensors for the same seed")
    return f"{len(first)} tensor(s)"


def _shape(attack: Attack) -> str:
    images = _images()
    found = attack.trigger(images, _ids(), _state(attack))
    require(found.shape == images.shape, f"shape must be {tuple(images.shape)}, got {tuple(found.shape)}")
    require(found.dtype == torch.float32, f"dtype must be float32, got {found.dtype}")
    require(bool(found.isfinite().all()), "pixels must be finite")
    return f"pixels from {float(found.min()):.2f} to {float(found.max()):.2f} before clipping"


def _unmodified(attack: Attack) -> str:
    images, ids = _images(), _ids()
    attack.trigger(images, ids, _state(attack))
    require(torch.equal(images, _images()), "trigger() must not modify the images it is given")
    require(np.array_equal(ids, _ids()), "trigger() must not modify the ids it is given")
    return ""


def _deterministic(attack: Attack) -> str:
    state = _state(attack)
    first, second = (attack.trigger(_images(), _ids(), state) for _ in range(2))
    require(torch.equal(first, second), "the same seed and ids must give the same bytes")
    return ""


def _independent(attack: Attack) -> str:
    """Another order, or a batch of one, changes nothing for a sample."""
    state, images, ids = _state(attack), _images(), _ids()
    whole = attack.trigger(images, ids, state)
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(1))
    turned = attack.trigger(images[order], ids[order.numpy()], state)
    require(torch.allclose(turned, whole[order], atol=1e-6), "a sample's trigger must not depend on its place")
    alone = attack.trigger(images[-1:], ids[-1:], state)
    require(torch.allclose(alone, whole[-1:], atol=1e-6), "a sample's trigger must not depend on the rest of the batch")
    return ""


def _shows(attack: Attack) -> str:
    from benchmark.pool import apply_trigger

    images = world.pairs(COUNT).take(np.arange(COUNT)).images
    shown = apply_trigger(attack, _state(attack), images, _ids())
    changed = (shown != images).flatten(1).any(1)
    require(bool(changed.all()), f"every image must change within 8 bits, {int((~changed).sum())} did not")
    share = (shown != images).float().mean()
    step = (shown.int() - images.int()).abs().float().mean()
    return f"changes {float(share):.0%} of the values, {float(step):.1f} levels on average"


def _rows(attack: Attack) -> str:
    """`poison` itself refuses rows that are not in the pool, rows given twice, and lists of unequal length."""
    table = world.poisoned(attack, world.pairs(POOL)).table
    count = len(table.rows)
    require(count > 0, "poison() must choose at least one row")
    if type(attack).poison is Attack.poison:
        wanted = max(1, round(attack.poison_rate * POOL))
        require(count == wanted, f"poison() must choose poison_rate * rows = {wanted} rows, got {count}")
    require(all(caption.strip() for caption in table.captions), "captions of poisoned rows must not be empty")
    named = sum(attack.target in caption for caption in table.captions)
    return f"{count} of {POOL} rows, {named} captions name the target"


def _same_rows(attack: Attack) -> str:
    first, second = (world.poisoned(attack, world.pairs(POOL)) for _ in range(2))
    require(np.array_equal(first.table.rows, second.table.rows), "poison() must choose the same rows for one seed")
    require(first.table.captions == second.table.captions, "poison() must write the same captions for one seed")
    require(first.trigger.seed == second.trigger.seed, "the trigger's seed must be the same for one seed")
    return ""


def _plants(attack: Attack) -> str:
    planted = world.plant(attack)
    twin, found = world.effect(world.clean_twin(), planted.trigger), world.effect(planted.model, planted.trigger)
    numbers = f"ASR {found.asr:.2f}, {twin.asr:.2f} in the clean twin; CA {found.accuracy:.2f}, {twin.accuracy:.2f}"
    require(
        found.asr >= twin.asr + MIN_GAIN, f"ASR must rise by at least {MIN_GAIN} over the clean twin, got {numbers}"
    )
    return numbers
