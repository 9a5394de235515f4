"""Evaluation: all metrics of one (model, attack) against its bare encode passes."""

from __future__ import annotations

import numpy as np
import torch

from benchmark.attacks.badnet import BadNet
from benchmark.config.spec import ModelSpec, Readouts
from benchmark.data.pools import CachedPool, apply_trigger
from benchmark.evaluation.evaluate import Condition, Evaluation, HeldOut, evaluate
from benchmark.evaluation.measure import measures
from benchmark.models.clip import ClipModel, build
from benchmark.perf.photos import decoded, load_photos
from benchmark.perf.report import Line, Settings, at_most, paired, seconds
from benchmark.stages.common import Compute
from benchmark.types import TriggerState

CLEAN, TEST = 1000, 5000  # the sizes of the suite `cifar10`
TARGET, REPEATS, BATCH = 0, 7, Compute().evaluation_batch


def run(settings: Settings) -> list[Line]:
    """One model, clean and with a patch, every read-out and metric."""
    photos = load_photos(settings.data, CLEAN + TEST)
    pool, model = decoded(photos), build(ModelSpec(), seed=0).eval()
    clean, test = (_held_out(pool, start, count) for start, count in ((0, CLEAN), (CLEAN, TEST)))
    attack = BadNet(target=photos.class_names[TARGET], size=5, pattern="checkerboard")
    conditions = (
        Condition("clean", TARGET),
        Condition("badnet", TARGET, lambda images, ids: apply_trigger(attack, TriggerState(0, {}), images, ids)),
    )

    def whole() -> Evaluation:
        found = evaluate(
            model,
            test,
            conditions,
            class_names=photos.class_names,
            templates=photos.evaluation_templates,
            readouts=Readouts(),
            clean=clean,
            target=TARGET,
            batch_size=BATCH,
        )
        measures(found.outcomes.values(), target=TARGET)
        return found

    triggered = apply_trigger(attack, TriggerState(0, {}), test.images, test.ids)
    prompts = [text.replace("{}", name) for name in photos.class_names for text in photos.evaluation_templates]
    captions = list(dict.fromkeys(test.captions[: Readouts().retrieval_pairs]))
    tokens = [model.tokenize(prompts), model.tokenize(captions)]
    ours, bare, fits = [], [], []
    whole()
    for _ in range(REPEATS):
        found: list[Evaluation] = []
        total = seconds(lambda into=found: into.append(whole()))
        fits.append(found[0].probe_fit_s)
        ours.append(total - fits[-1])
        bare.append(seconds(lambda: _encode(model, [clean.images, test.images, triggered], tokens)))
    times = paired(ours, bare)
    fit = float(np.median(fits))
    return [
        at_most("all metrics (s)", f"{times.ours:.2f}", f"{times.baseline:.2f}", ratio=times.ratio, limit=1.2),
        Line("the linear probe's fit, apart (s)", f"{fit:.2f}", "", fit / times.baseline),
    ]


def _held_out(pool: CachedPool, start: int, count: int) -> HeldOut:
    rows = np.arange(start, start + count)
    batch = pool.take(rows)
    assert pool.labels is not None
    return HeldOut(batch.images, pool.labels[rows], batch.captions, rows)


@torch.inference_mode()
def _encode(model: ClipModel, images: list[torch.Tensor], tokens: list[torch.Tensor]) -> None:
    for split in images:
        for batch in split.split(BATCH):
            model.encode_images(batch)
    for texts in tokens:
        model.network.encode_text(texts, normalize=True)  # type: ignore[operator]
