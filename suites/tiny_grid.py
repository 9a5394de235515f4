"""What `smoke` and `cifar10` share: two objectives and three repairs on a model of half a million weights."""

from __future__ import annotations

from benchmark.config.spec import Gate, ModelSpec, Search, Splits, Suite
from benchmark.objectives.mmcl import MMCL
from benchmark.objectives.mmcl_ssl import MMCLSSL
from benchmark.repairs.batch_norm_only import BatchNormOnly
from benchmark.repairs.cleanclip import CleanCLIP
from benchmark.repairs.fine_tuning import FineTuning
from benchmark.types import BaseAttack, Dataset, Range, Training


def tiny_grid(
    *,
    name: str,
    title: str,
    data: Dataset,
    splits: Splits,
    pretrain: Training,
    attacks: tuple[BaseAttack, ...],
    trials: int,
) -> Suite:
    """The grid of a tiny model; learning rates and budgets are adapted to its size."""
    return Suite(
        name=name,
        title=title,
        data=data,
        splits=splits,
        model=ModelSpec(name="tiny-resnet"),
        pretrain=pretrain,
        objectives=(MMCL(), MMCLSSL()),
        attacks=attacks,
        repairs=(
            FineTuning(epochs=5, learning_rate=1e-3, warmup_steps=10),
            BatchNormOnly(epochs=5),
            CleanCLIP(epochs=5, learning_rate=1e-3, warmup_steps=10),
        ),
        searched=frozenset({"cleanclip"}),
        # half of the trials look at no result, as every budget of docs/search.md
        search=Search(trials=trials, quasi_random=trials // 2, round_size=4, startup_trials=trials // 2, front=12),
        spaces={"cleanclip": {"learning_rate": Range(3e-4, 1e-2, log=True)}},
        gate=Gate(min_asr=0.8, min_asr_on="net"),  # as the bound: what a trigger does without poison is no backdoor
    )
