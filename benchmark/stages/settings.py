"""What a process keeps for all that runs in it: code of one method must not change what the next one computes."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from benchmark.store.keys import derive_seed


class _Setting(NamedTuple):
    """Something of the process that code may change."""

    read: Callable[[], Any]
    write: Callable[[Any], Any]


@contextmanager
def own_settings(key: str) -> Iterator[None]:
    """Seeds the global generators by what is made, and puts everything back afterwards: they, torch, and the folder.

    Methods should draw from the generator of their context. One that does not gives equal numbers in equal runs.
    Generators of a GPU are seeded anew by each task, and not put back.
    """
    loaded = "torch" in sys.modules  # which nobody else is made to wait for
    found = [(item, item.read()) for item in (*_process(), *(_torch() if loaded else ()))]
    generators = [(item, item.read()) for item in (*_GENERATORS, *([_torch_generator()] if loaded else ()))]
    try:
        _seed(derive_seed(0, "global generators", key))
        yield
    finally:
        for item, value in found:
            if item.read() != value:  # some of torch's setters import all of its compiler
                item.write(value)
        for item, value in generators:
            item.write(value)


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % (1 << 32))  # noqa: NPY002 (what methods draw from by mistake)
    if "torch" in sys.modules:
        import torch

        torch.default_generator.manual_seed(seed)  # torch.manual_seed imports all of torch's compiler
        if torch.cuda.is_initialized():
            torch.cuda.manual_seed_all(seed)


_GENERATORS = (
    _Setting(random.getstate, random.setstate),
    _Setting(np.random.get_state, np.random.set_state),
)


def _torch_generator() -> _Setting:
    import torch

    return _Setting(torch.get_rng_state, torch.set_rng_state)


def _process() -> Iterator[_Setting]:
    yield _Setting(np.geterr, lambda value: np.seterr(**value))
    yield _Setting(_folder, _enter)
    yield _Setting(lambda: dict(os.environ), _set_environment)


def _folder() -> str | None:
    with suppress(FileNotFoundError):  # it was removed while the run goes on, which needs it for nothing
        return os.getcwd()
    return None


def _enter(folder: str | None) -> None:
    with suppress(FileNotFoundError):
        os.chdir(folder or ".")


def _set_environment(values: dict[str, str]) -> None:
    for name in os.environ.keys() - values.keys():  # never empty: other threads read it
        del os.environ[name]
    os.environ.update(values)


def _torch() -> Iterator[_Setting]:
    import torch

    yield _Setting(torch.get_num_threads, torch.set_num_threads)
    yield _Setting(torch.get_default_dtype, torch.set_default_dtype)
    yield _Setting(torch.is_grad_enabled, torch.set_grad_enabled)
    yield _Setting(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision)
    yield _Setting(torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode)
    yield _Setting(torch.get_default_device, _set_default_device)
    yield from _flags()


def _set_default_device(device: Any) -> None:
    import torch

    torch.set_default_device(device if device.type != "cpu" else None)


def _flags() -> Iterator[_Setting]:
    """Switches of torch's backends, which are attributes."""
    from torch import backends

    cudnn = ("enabled", "benchmark", "deterministic")
    for place, names in ((backends.mkldnn, ("enabled",)), (backends.cudnn, cudnn)):
        for name in names:
            yield _Setting(partial(getattr, place, name), partial(setattr, place, name))
