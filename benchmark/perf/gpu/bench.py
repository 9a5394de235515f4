"""Training on a GPU, bf16: our loop, the bare step, open_clip's own training, MMCL+SSL's price; input; where time goes.

The batch of 1,024 is halved until every side fits into memory. Sides take turns, a ratio is the median of neighbours.
"""

from __future__ import annotations

import inspect
import json
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import torch
import typer
from rich.console import Console
from torch.profiler import ProfilerActivity, profile

from benchmark.data.images import decode_all, stack
from benchmark.data.pools import CachedPool, PairBatch, as_images, prefetch
from benchmark.models.architectures import image_size
from benchmark.objectives.mmcl import MMCL
from benchmark.objectives.mmcl_ssl import MMCLSSL
from benchmark.perf.gpu.sides import (
    PREFETCH,
    Bench,
    Sizes,
    bare_epoch,
    in_turn_with_loop,
    now,
    open_clip_epoch,
    prepared,
    random_pairs,
)
from benchmark.perf.photos import jpeg
from benchmark.perf.report import Line, at_least, paired, table
from benchmark.training.loop import LoopOptions, train
from benchmark.training.views import make_inputs
from benchmark.types import Objective, Training

WHOLE = Sizes(("RN50", "ViT-B-32"), batch=1024, pairs=4096, epochs=5)
TINY = Sizes(("tiny-resnet", "tiny-vit"), batch=32, pairs=96, epochs=3)
ROWS = 30  # of the profiler's table


class Measured(NamedTuple):
    """One objective of one model."""

    lines: list[Line]
    pairs_per_s: float  # of our loop


def fitting(measure: Callable[[int], Measured], batch: int) -> Measured:
    """What is measured at the largest batch that fits: the given one, or a half of it, or a half of that."""
    while True:
        try:
            return measure(batch)
        except torch.OutOfMemoryError:
            if batch < 4:
                raise
        torch.cuda.empty_cache()
        batch //= 2


def measured(model: str, objective: Objective, pool: CachedPool, sizes: Sizes, device: str, batch: int) -> Measured:
    """Our loop against the bare step and, with MMCL, against open_clip's training."""
    training = Training(epochs=sizes.epochs, batch_size=batch, learning_rate=1e-4)
    bench = Bench(model, objective, training, pool, device)
    batches = prepared(bench)
    others = {"bare step": (bare_epoch(bench, batches), 0.95)}
    if isinstance(objective, MMCL):
        others["open_clip's epoch"] = (open_clip_epoch(bench, batches), 1.0)
    ours, *theirs = in_turn_with_loop(bench, [action for action, _ in others.values()])
    pairs = batch * pool.num_steps(batch)
    found = []
    for (name, (_, limit)), column in zip(others.items(), theirs, strict=True):
        times = paired(ours, column)
        told = (f"{pairs / times.ours:,.0f}", f"{pairs / times.baseline:,.0f}")
        what = f"{model} {objective.name} {batch}, {name} (pairs/s)"
        found.append(at_least(what, *told, ratio=1 / times.ratio, limit=limit))
    return Measured(found, pairs / statistics.median(ours))


def micro_batches(model: str, pool: CachedPool, sizes: Sizes, device: str) -> Measured:
    """MMCL+SSL on the whole batch, in two micro-batches or as many more as memory asks, each a norm group."""

    def measure(micro: int) -> Measured:
        training = Training(epochs=sizes.epochs, batch_size=sizes.batch, learning_rate=1e-4, norm_group=micro)
        bench = Bench(model, MMCLSSL(), training, pool, device)
        (ours,) = in_turn_with_loop(bench, [], micro_batch=micro)
        rate = sizes.batch * pool.num_steps(sizes.batch) / statistics.median(ours)
        what = f"{model} mmcl-ssl {sizes.batch}, micro-batches of {micro} (pairs/s)"
        return Measured([Line(what, f"{rate:,.0f}", "", None)], rate)

    return fitting(measure, sizes.batch // 2)


def input_lines(model: str, pool: CachedPool, sizes: Sizes, device: str, needed: float) -> list[Line]:
    """Pairs a second that reach the device from the packed cache and from JPEG, beside what MMCL takes.

    Noise is the slowest JPEG to decode: photographs come faster.
    """
    fresh, size = Bench(model, MMCL(), Training(), pool, device).fresh(), image_size(model)
    encoded = [jpeg(image) for image in pool.images]

    def decoding() -> Iterator[PairBatch]:
        for batch in pool.epoch(seed=0, epoch=0, batch_size=sizes.batch):
            images = decode_all([encoded[row] for row in batch.rows], size)
            good = stack([image for image in images if image is not None], size)
            yield batch._replace(images=as_images(good))

    def rate(source: Callable[[], Iterator[PairBatch]]) -> float:
        began, pairs = now(device), 0
        inputs = (make_inputs(batch, MMCL.views, fresh, seed=0, epoch=0, text_frozen=False) for batch in source())
        for ready in prefetch(inputs, PREFETCH):
            pairs += len(ready.rows)
        return pairs / (now(device) - began)

    sources = {
        "packed cache": lambda: pool.epoch(seed=0, epoch=0, batch_size=sizes.batch),
        "JPEG": decoding,
    }
    found = []
    for name, source in sources.items():
        rate(source)
        reached = rate(source)
        what = f"{model} input from {name}, beside mmcl (pairs/s)"
        found.append(Line(what, f"{reached:,.0f}", f"{needed:,.0f}", reached / needed))
    return found


def profiled(model: str, pool: CachedPool, batch: int, device: str, file: Path) -> None:
    """Writes where the time of an epoch of MMCL+SSL goes, the longest operation first."""
    training = Training(epochs=1, batch_size=batch, learning_rate=1e-4)
    fresh = Bench(model, MMCLSSL(), training, pool, device).fresh()
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device == "cuda")
    with profile(activities=activities) as found:
        train(fresh, pool, MMCLSSL(), training, seed=0, options=LoopOptions(prefetch=PREFETCH))
    order = "self_cuda_time_total" if device == "cuda" else "self_cpu_time_total"
    file.write_text(found.key_averages().table(sort_by=order, row_limit=ROWS))


def of_model(model: str, sizes: Sizes, device: str, out: Path) -> Iterator[list[Line]]:
    """Every table of one model, as soon as it is measured."""
    pool = random_pairs(sizes.pairs, image_size(model))
    mmcl = fitting(lambda batch: measured(model, MMCL(), pool, sizes, device, batch), sizes.batch)
    yield mmcl.lines
    ssl = fitting(lambda batch: measured(model, MMCLSSL(), pool, sizes, device, batch), sizes.batch)
    rates = (f"{ssl.pairs_per_s:,.0f}", f"{mmcl.pairs_per_s:,.0f}")
    share = at_least(f"{model} mmcl-ssl, mmcl (pairs/s)", *rates, ratio=ssl.pairs_per_s / mmcl.pairs_per_s, limit=0.45)
    yield [*ssl.lines, share]
    yield micro_batches(model, pool, sizes, device).lines
    yield input_lines(model, pool, sizes, device, mmcl.pairs_per_s)
    profiled(model, pool, min(sizes.batch, sizes.pairs) // 4, device, out / f"profile-{model}.txt")


def main(
    out: Annotated[Path, typer.Option(help="Folder for what is found.")],
    device: Annotated[Literal["cuda", "cpu"], typer.Option(help="Where it is measured.")] = "cuda",
    tiny: Annotated[bool, typer.Option("--tiny", help="In miniature.")] = False,
) -> None:
    """Measures both models; what was measured before a failure is kept. A missed target is told, no failure."""
    out.mkdir(parents=True, exist_ok=True)
    sizes, lines = TINY if tiny else WHOLE, []
    for model in sizes.models:
        for more in of_model(model, sizes, device, out):
            lines += more
            (out / "bench.json").write_text(json.dumps([line._asdict() for line in lines], indent=1))
    Console(highlight=False).print(table(inspect.getdoc(sys.modules[__name__]), lines))
    print(f"{len(lines)} lines, targets missed: {sum(line.met is False for line in lines)}")


if __name__ == "__main__":
    typer.run(main)
