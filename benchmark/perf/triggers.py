"""Triggers: WaNet and SIG on batches against the tiny model's forward pass over the same images."""

from __future__ import annotations

import numpy as np
import torch

from benchmark.attacks.sig import SIG
from benchmark.attacks.wanet import WaNet
from benchmark.config.spec import ModelSpec
from benchmark.data.poisoned_pool import apply_trigger
from benchmark.models.clip import build
from benchmark.perf.photos import SIZE, decoded, load_photos
from benchmark.perf.report import Line, Settings, at_least, in_turn
from benchmark.stages.common import Compute
from benchmark.types import Attack, PoisonContext, TriggerState

IMAGES, BATCH, REPEATS = 4096, Compute().evaluation_batch, 7


class _NoContext:
    """Neither trigger looks at the pool."""

    num_rows = IMAGES


def run(settings: Settings) -> list[Line]:
    """Stored images in, triggered stored images out, as in an evaluation; then encoded by a model in inference."""
    photos = load_photos(settings.data, IMAGES)
    images, model = decoded(photos).take(np.arange(IMAGES)).images, build(ModelSpec(), seed=0).eval()
    target = photos.class_names[0]
    attacks = {
        "SIG": SIG(target=target),
        "WaNet, k = 4": WaNet(target=target),
        "WaNet, one point per pixel": WaNet(target=target, variant="clip"),
    }
    return [_line(what, attack, images, model) for what, attack in attacks.items()]


@torch.inference_mode()
def _line(what: str, attack: Attack, images: torch.Tensor, model: object) -> Line:
    context: PoisonContext = _NoContext()  # type: ignore[assignment]
    state, ids = TriggerState(1, attack.fit(context, image_size=SIZE, seed=0)), np.arange(BATCH)

    def stamp() -> None:
        for batch in images.split(BATCH):
            apply_trigger(attack, state, batch, ids[: len(batch)])

    def encode() -> None:
        for batch in images.split(BATCH):
            model.encode_images(batch)  # type: ignore[attr-defined]

    times = in_turn(stamp, encode, repeats=REPEATS)
    rates = (f"{IMAGES / times.ours:,.0f}", f"{IMAGES / times.baseline:,.0f}")
    return at_least(f"{what} (images/s)", *rates, ratio=1 / times.ratio, limit=1.0)
