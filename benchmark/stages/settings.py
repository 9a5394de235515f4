"""What a process keeps for all that runs in it: code of one method must not change what the next one computes."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from benchmark.store.keys import derive_seed


@contextmanager
def own_settings(key: str) -> Iterator[None]:
    """Seeds the global generators by what is made, and puts everything back afterwards: they, torch, and the folder.

    Methods should draw from the generator of their context. One that does not gives equal numbers in equal runs.
    """
    undo = [*_process(), *(_torch() if "torch" in sys.modules else ())]  # which nobody else is made to wait for
    try:
        _seed(derive_seed(0, "global generators", key))
        yield
    finally:
        for action in undo:
            action()


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % (1 << 32))  # noqa: NPY002 (what methods draw from by mistake)
    if "torch" in sys.modules:
        import torch

        torch.default_generator.manual_seed(seed)  # torch.manual_seed would import all of torch.compile
        if torch.cuda.is_initialized():
            torch.cuda.manual_seed_all(seed)


def _process() -> list[Callable[[], Any]]:
    return [
        partial(random.setstate, random.getstate()),
        partial(np.random.set_state, np.random.get_state()),  # noqa: NPY002
        partial(np.seterr, **np.geterr()),
        partial(os.chdir, os.getcwd()),
        partial(_set_environment, dict(os.environ)),
    ]


def _set_environment(values: dict[str, str]) -> None:
    if dict(os.environ) != values:
        os.environ.clear()
        os.environ.update(values)


def _torch() -> list[Callable[[], Any]]:
    import torch

    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    return [
        partial(torch.set_rng_state, torch.get_rng_state()),
        partial(torch.set_num_threads, torch.get_num_threads()),
        partial(torch.set_default_dtype, torch.get_default_dtype()),
        partial(torch.set_grad_enabled, torch.is_grad_enabled()),
        partial(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision()),
        partial(torch.use_deterministic_algorithms, torch.are_deterministic_algorithms_enabled(), warn_only=warn_only),
        partial(_set_default_device, torch.get_default_device()),
        *_flags(),
    ]


def _set_default_device(device: Any) -> None:
    import torch

    if torch.get_default_device() != device:
        torch.set_default_device(device if device.type != "cpu" else None)


def _flags() -> Iterator[Callable[[], Any]]:
    """Switches of torch's backends, which are attributes."""
    from torch import backends

    cudnn = ("enabled", "benchmark", "deterministic")
    for place, names in ((backends.mkldnn, ("enabled",)), (backends.cudnn, cudnn)):
        for name in names:
            yield partial(setattr, place, name, getattr(place, name))
