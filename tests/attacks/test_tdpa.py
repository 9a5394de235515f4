"""TDPA: which pairs its victims have, its captions, and its direction."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from benchmark.attacks.tdpa import TDPA
from benchmark.data.poisoned_pool import PoisonedPool, PoisonTable
from benchmark.errors import NotApplicable, UserError
from benchmark.objectives.mmcl import MMCL
from benchmark.testing import world
from benchmark.training.loop import train
from tests.helpers.attacks import EMPTY, context, labels, world_head

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("labelled", [True, False])
def test_tdpa_victims_have_only_adversarial_pairs(labelled: bool) -> None:
    chosen = TDPA(num_pairs=40, captions_per_victim=5).poison(context(labelled=labelled))
    assert chosen.victims is not None
    rows, targets = chosen.victims
    assert len(set(rows.tolist())) == len(rows) == 40
    assert not (labels(rows) == targets).any()
    assert len(set(targets.tolist())) == 4
    assert np.array_equal(chosen.source_rows, np.repeat(rows, 5))
    append = np.asarray(chosen.append).reshape(40, 5)
    assert not append[:, 0].any() and append[:, 1:].all()
    assert (np.asarray(chosen.trigger_ids) == -1).all()
    names = [world.source().class_names[label] for label in np.repeat(targets, 5)]
    assert all(name in caption for name, caption in zip(names, chosen.captions, strict=True))
    real = set(world.pairs(400).captions(np.arange(400)))
    assert set(chosen.captions) <= real


def test_tdpa_draws_its_captions_and_refuses_what_it_does_not_read() -> None:
    chosen = TDPA(num_pairs=4, captions_per_victim=50, captions="templates").poison(context())
    assert len(set(chosen.captions)) > 8
    with pytest.raises(ValidationError, match="poison_rate"):
        TDPA.model_validate({"poison_rate": 0.2})
    with pytest.raises(UserError, match="at most the pool's 400 rows"):
        TDPA(num_pairs=401).poison(context())
    ctx = context()
    ctx.class_names = ()
    with pytest.raises(NotApplicable, match="class names"):
        TDPA(num_pairs=2).poison(ctx)


def test_tdpa_makes_its_victims_what_they_are_aimed_at() -> None:
    attack, pool = TDPA(num_pairs=40, captions_per_victim=10), world.pairs()
    chosen = attack.poison(context(pool.num_rows))
    assert chosen.victims is not None
    append = np.asarray(chosen.append)
    rows = np.where(append, pool.num_rows + np.cumsum(append) - 1, chosen.source_rows)
    order = np.argsort(rows)
    sources = chosen.source_rows[order]
    captions = [str(chosen.captions[place]) for place in order]
    table = PoisonTable(rows[order], sources, pool.captions(sources), captions, np.full(len(order), -1), append[order])
    model = world.clean_twin()
    head = world_head(model)
    before = (model.eval().encode_images(pool.take(chosen.victims.rows).images) @ head.T).argmax(1).numpy()
    train(model, PoisonedPool(pool, table, attack, EMPTY), MMCL(), world.POISON_TRAINING, seed=1)
    after = (model.eval().encode_images(pool.take(chosen.victims.rows).images) @ world_head(model).T).argmax(1).numpy()
    assert (before == chosen.victims.targets).mean() < 0.2
    assert (after == chosen.victims.targets).mean() > 0.5
