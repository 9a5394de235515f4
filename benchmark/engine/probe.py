"""How fast this machine trains a model, from about two seconds of it; `plan` asks where no past record tells.

The probe is a process of its own, so that who asks loads no torch. It trains on noise with as many threads as a slot
of a run has, in batches that fit the time: a ResNet-50 on a CPU is judged by a few images, not by its whole batch.
What it found is believed for an hour, since importing torch and building a model takes longer than the measuring.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmark.errors import UserError
from benchmark.store.cache import user_cache
from benchmark.store.keys import content_key

if TYPE_CHECKING:
    from benchmark.data.pools import CachedPool
    from benchmark.models.clip import ClipModel

MEASURED_S = 2.0
BATCH_S = 0.5  # a batch of the probe is at most so long
PATIENCE_S = 120.0  # for the whole process: importing torch and building the model take most of it
ROWS = 2048
MARK = "PACE "
BELIEVED_S = (
    3600.0  # for how long a pace is taken for this machine's, which may be busy at one time and idle at another
)


class Pace(NamedTuple):
    """What a probe found."""

    views_per_s: float  # forward views of images, trained on, by one slot
    device: str
    slots: int  # that a run would have here: one per GPU, else one per CPU
    age_s: float = 0.0  # since it was measured


def pace_of(model: str, batch_size: int) -> Pace | None:
    """What this machine was seen to do within the last hour, else a new probe; None where that fails."""
    known = _remembered(model, batch_size)
    if known is None and (known := probe(model, batch_size)):
        _remember(known, model, batch_size)
    return known


def _memory(model: str, batch_size: int) -> Path:
    """The file of a pace: another torch, another machine or other CPUs have another one."""
    here = (platform.node(), len(os.sched_getaffinity(0)), os.environ.get("CUDA_VISIBLE_DEVICES"), version("torch"))
    return user_cache() / "paces" / f"{content_key('pace', 1, [model, batch_size, *here], [])}.json"


def _remembered(model: str, batch_size: int) -> Pace | None:
    try:
        file = _memory(model, batch_size)
        age = max(0.0, time.time() - file.stat().st_mtime)
        return Pace(**json.loads(file.read_text()))._replace(age_s=age) if age < BELIEVED_S else None
    except (OSError, UserError, ValueError, TypeError):  # nothing there, or nothing that can be believed
        return None


def _remember(pace: Pace, model: str, batch_size: int) -> None:
    with contextlib.suppress(OSError, UserError):  # a plan needs no cache
        file = _memory(model, batch_size)
        file.parent.mkdir(exist_ok=True)
        draft = file.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(pace._asdict()))
        draft.replace(file)


def probe(model: str, batch_size: int) -> Pace | None:
    """Measures in a process of its own; None where that fails or takes too long."""
    words = [sys.executable, "-m", "benchmark.engine.probe", model, str(batch_size)]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    try:
        done = subprocess.run(
            words, env=os.environ | threads, capture_output=True, text=True, timeout=PATIENCE_S, check=True
        )
        return Pace(**json.loads(done.stdout.rpartition(MARK)[2]))
    except (subprocess.SubprocessError, OSError, ValueError, TypeError):
        return None


def measure(model: str, batch_size: int, *, seconds: float = MEASURED_S) -> Pace:
    """Trains for some seconds in this process and counts.

    Args:
        model: name of the architecture; its weights are fresh.
        batch_size: of the suite; less is taken where a batch would be too long.
        seconds: how long to count, after one epoch that warms up.
    """
    import torch

    from benchmark.config.spec import ModelSpec
    from benchmark.models.clip import build
    from benchmark.objectives.mmcl import MMCL
    from benchmark.training.loop import EpochEnd, LoopOptions, train
    from benchmark.types import Training

    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = build(ModelSpec(name=model), seed=0).to(device)
    size = _fitting(network, batch_size)
    ends: list[tuple[float, int]] = []

    def on_epoch(end: EpochEnd, _: ClipModel) -> None:
        ends.append((time.perf_counter(), end.images))
        if len(ends) > 1 and ends[-1][0] - ends[0][0] >= seconds:
            raise _Enough

    pool = _noise(network.image_size, min(ROWS, 4 * size))
    training = Training(epochs=10_000, batch_size=size, learning_rate=1e-6)
    with contextlib.suppress(_Enough):
        train(network, pool, MMCL(), training, seed=0, options=LoopOptions(on_epoch=on_epoch))
    views = sum(images for _, images in ends[1:])
    slots = torch.cuda.device_count() if device == "cuda" else len(os.sched_getaffinity(0))
    return Pace(views / (ends[-1][0] - ends[0][0]), device, slots)


class _Enough(Exception):
    """Ends the training."""


def _fitting(model: ClipModel, batch_size: int) -> int:
    """The largest batch, up to the suite's, that a step takes no longer than BATCH_S for; at least two."""
    images = _noise(model.image_size, 2).take([0, 1]).images
    each = BATCH_S
    for _ in range(2):  # the first call prepares its kernels
        began = time.perf_counter()
        model.train().encode_images(images).sum().backward()
        model.network.zero_grad(set_to_none=True)
        each = (time.perf_counter() - began) / 2
    return max(2, min(batch_size, int(BATCH_S / each), ROWS // 4))


def _noise(image_size: int, count: int) -> CachedPool:
    """A pool of noise, with captions of eight words."""
    import numpy as np

    from benchmark.data.pools import CachedPool

    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (count, image_size, image_size, 3), dtype=np.uint8)
    captions = [" ".join(f"word{word}" for word in words) for words in draw.integers(0, 1000, (count, 8))]
    return CachedPool(images, captions, None)


if __name__ == "__main__":
    print(MARK + json.dumps(measure(sys.argv[1], int(sys.argv[2]))._asdict()))
