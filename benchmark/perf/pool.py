"""Pool: Ray over `--local` for a miniature of `smoke`, one slot of two threads against two threads in this process.

From the first task to the last artifact; start-up stands beside it.
"""

from __future__ import annotations

from benchmark.config.compute_options import ComputeOptions
from benchmark.perf.report import Line, Settings, at_most, paired
from benchmark.perf.runs import Timed, timed

THREADS, LIMIT, TURNS = 2, 1.15, 2
# a fifth of the training; trials, epochs of repairs, splits and all that is evaluated are those of `smoke`
MINIATURE = {"pretrain.epochs": 3, "gate.min_asr": 0.0, "gate.min_asr_on": "absolute", "gate.max_accuracy_drop": 1.0}
ONLY = {"objective": "mmcl", "attack": ("clean", "badnet")}


def run(_: Settings) -> list[Line]:
    """Both sides in turn, each in processes of its own."""
    here, ray = list[Timed](), list[Timed]()
    for _turn in range(TURNS):
        here.append(timed(MINIATURE | {"threads": THREADS}, ONLY, local=True))
        slot = ComputeOptions(concurrency=1, cpus_per_slot=THREADS)
        ray.append(timed(MINIATURE | {"threads": THREADS}, ONLY, options=slot))
    tasks = paired([side.wall_s for side in ray], [side.wall_s for side in here])
    starts = paired([side.startup_s for side in ray], [side.startup_s for side in here])
    return [
        at_most(
            f"Ray over --local, one slot of {THREADS} threads, first task to last (s)",
            f"{tasks.ours:.1f}",
            f"{tasks.baseline:.1f}",
            ratio=tasks.ratio,
            limit=LIMIT,
        ),
        Line("start-up, which stands apart (s)", f"{starts.ours:.1f}", f"{starts.baseline:.1f}", starts.ratio),
    ]
