"""Two workers (gloo, two processes) give the loss curve and the weights of one, with and without BatchNorm."""

from __future__ import annotations

import contextlib
import functools
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import load_file, save_file

from benchmark.errors import UserError
from benchmark.objectives.mmcl import MMCL
from benchmark.objectives.mmcl_ssl import MMCLSSL
from benchmark.training.exchange import gather
from benchmark.training.loop import LoopOptions, train
from benchmark.types import Objective, Training
from tests.helpers.tiny import distance, largest_gap, model, pairs, tensors

# Sums are taken in another order, and where a gradient is nearly 0 Adam turns its rounding into a step: so losses agree
# to 1e-4, and the two models lie closer than 2 % of the way that training went.
LOSS_TOLERANCE, WEIGHT_TOLERANCE, STATISTICS_TOLERANCE = 1e-4, 0.02, 1e-3
TRAINING = Training(epochs=2, batch_size=16, learning_rate=1e-3, warmup_steps=3, norm_group=4)


class Case(NamedTuple):
    """One training that is done by one worker and by two."""

    model: str
    objective: Objective
    micro_batch: int | None = None
    learning_rate: float = 1e-3


CASES = {
    "resnet": Case("tiny-resnet", MMCL()),
    "resnet-ssl-micro": Case("tiny-resnet", MMCLSSL(), micro_batch=4),
    "resnet-statistics": Case("tiny-resnet", MMCL(), learning_rate=0.0),
    "vit": Case("tiny-vit", MMCLSSL()),
}


TOLD = (
    {"numbers": torch.tensor([[0.5, 1.5]]), "rows": torch.tensor([1 << 40]), "flags": torch.tensor([[True, False]])},
    {"numbers": torch.tensor([[2.5, 3.5]]), "rows": torch.tensor([-7]), "flags": torch.tensor([[False, False]])},
)


@contextlib.contextmanager
def counted_messages() -> Iterator[list[str]]:
    """What a training tells the other worker, beside the gradients and the barrier of a checkpoint."""
    sent: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for name in ("all_gather_into_tensor", "all_gather", "all_reduce", "broadcast"):
            patch.setattr(dist, name, functools.partial(_counted, sent, name, getattr(dist, name)))
        yield sent


def _counted(sent: list[str], name: str, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    sent.append(name)
    return function(*args, **options)


def run(case: Case, folder: Path | None = None) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    """Trains a case in this process, or this process's part of it."""
    options = LoopOptions(micro_batch=case.micro_batch, checkpoint_folder=folder)
    training = TRAINING.model_copy(update={"learning_rate": case.learning_rate})
    trained = train(model(case.model), pairs(), case.objective, training, seed=4, options=options)
    return trained.history, tensors(trained.model)


def worker(rank: int, port: int, folder: Path) -> None:
    """One of two processes; the first writes what both found, the second what it has itself."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    save_file(gather(TOLD[rank]), folder / f"told-{rank}.safetensors")
    for name, case in CASES.items():
        with counted_messages() as messages:
            history, weights = run(case, folder / f"{name}-checkpoint")
        (folder / f"{name}-{rank}.messages").write_text(str(len(messages)))
        save_file(weights, folder / f"{name}-{rank}.safetensors")
        (folder / f"{name}-{rank}.json").write_text(json.dumps(history))
    try:
        train(model(), pairs(), MMCL(), TRAINING.model_copy(update={"batch_size": 15}), seed=0)
    except UserError as error:
        (folder / f"refused-{rank}.txt").write_text(str(error))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workers")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(worker, args=(port, folder), nprocs=2)
    return folder


@pytest.mark.parametrize("name", CASES)
def test_two_workers_train_the_model_of_one(name: str, two_workers: Path) -> None:
    history, weights = run(CASES[name])
    first, second = (load_file(two_workers / f"{name}-{rank}.safetensors") for rank in (0, 1))
    assert largest_gap(first, second) == 0  # the workers stay equal to each other, bit for bit
    found = json.loads((two_workers / f"{name}-0.json").read_text())
    expected = [row["loss"] for row in history]
    assert [row["loss"] for row in found] == pytest.approx(expected, rel=LOSS_TOLERANCE, nan_ok=True)
    statistics = [key for key in weights if "running_" in key]
    assert largest_gap(weights, {**weights, **{key: first[key] for key in statistics}}) < STATISTICS_TOLERANCE
    moved = distance(weights, tensors(model(CASES[name].model)))
    assert distance(weights, first) <= WEIGHT_TOLERANCE * moved
    assert (moved > 0.1) == (CASES[name].learning_rate > 0)


@pytest.mark.parametrize("name", CASES)
def test_workers_wait_for_each_other_once_a_step(name: str, two_workers: Path) -> None:
    """Beside DDP's own message: what a step tells goes in one, since on a small model each wait is felt."""
    steps = TRAINING.epochs * (pairs().num_rows // TRAINING.batch_size)
    for rank in (0, 1):
        assert int((two_workers / f"{name}-{rank}.messages").read_text()) == steps


def test_workers_tell_each_other_tensors_of_any_type(two_workers: Path) -> None:
    for rank in (0, 1):
        told = load_file(two_workers / f"told-{rank}.safetensors")
        assert told.keys() == TOLD[0].keys()
        for name, found in told.items():
            assert torch.equal(found, torch.cat([each[name] for each in TOLD])), name


def test_one_worker_writes_the_checkpoint(two_workers: Path) -> None:
    for name in CASES:
        files = [file.name for file in (two_workers / f"{name}-checkpoint").iterdir()]
        assert files == ["checkpoint.safetensors"]


def test_a_batch_that_does_not_divide_is_refused_by_every_worker(two_workers: Path) -> None:
    for rank in (0, 1):
        text = (two_workers / f"refused-{rank}.txt").read_text()
        assert text.startswith("training.batch_size must be a multiple of the 2 workers, got 15")
