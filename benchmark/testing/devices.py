"""A pretended GPU: real data on the CPU under a device label, so that mixed devices show on a machine without a GPU.

Inside `PretendedGPU`, `tensor.to("cuda")` labels the memory of its copy, a factory's `device=` labels what it makes,
and `tensor.device` tells the label. Every operation, backwards too, is watched below autograd: one that meets two
labels raises as torch does on a real GPU, CPU tensors without a dimension excepted. What makes a GPU wait is counted.
Python code of torch itself sees the real device; it rarely asks.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any
from unittest import mock

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
_aten = torch.ops.aten
# Operations that take tensors of both devices; a GPU tensor may be indexed by a CPU one, but not the other way round.
_CROSSING = {_aten.copy_, _aten._foreach_copy_, _aten.set_}
_INDEXED = {_aten.index, _aten.index_put, _aten.index_put_, _aten._index_put_impl_, _aten._unsafe_index}
# Operations whose result, or its size, the host has to know before it can go on.
_WAITING = {
    _aten._local_scalar_dense,
    _aten.nonzero,
    _aten.masked_select,
    _aten.equal,
    _aten._unique2,
    _aten.unique_dim,
}


class MixedDevices(RuntimeError):
    """An operation met tensors of two devices."""


class PretendedGPU:
    """A context in which "cuda" is the CPU under another label.

    `operations` counts what ran on the pretended GPU; `waits` names, in order, what made the host wait for it.
    """

    def __init__(self) -> None:
        self.operations = 0
        self.waits: list[str] = []
        self._labelled: dict[int, StorageWeakRef] = {}  # memory of the GPU, by address; held, so that none is reused
        self._modes = ExitStack()

    def __enter__(self) -> PretendedGPU:
        self._modes.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", ".*CUDA is not available")  # torch's, of autocast
        self._modes.enter_context(mock.patch.object(torch.cuda, "synchronize"))
        self._modes.enter_context(_Operations(self))
        self._modes.enter_context(_Placements(self))
        return self

    def __exit__(self, *error: object) -> None:
        self._modes.close()

    def device_of(self, tensor: torch.Tensor) -> torch.device:
        """The device that a tensor pretends to be on."""
        return GPU if tensor.untyped_storage()._cdata in self._labelled else CPU

    def put(self, tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
        """Labels the memory of a tensor in place; returns the tensor."""
        storage = tensor.untyped_storage()
        if device == GPU:
            self._labelled[storage._cdata] = StorageWeakRef(storage)
        else:
            self._labelled.pop(storage._cdata, None)
        return tensor

    def moved(self, tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
        """The tensor itself where it is there already, else a copy; gradients go the way back."""
        here = self.device_of(tensor)
        if here == device:
            return tensor
        if device == CPU:
            self.waits.append("to the CPU")
        moved: torch.Tensor = _Move.apply(tensor, self, here, device)  # type: ignore[assignment]
        return moved


class _Move(torch.autograd.Function):
    """A copy under another label."""

    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor, gpu: PretendedGPU, here: torch.device, there: torch.device) -> Any:
        ctx.way_back = (gpu, here)
        return gpu.put(tensor.clone(), there)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        gpu, here = ctx.way_back
        return gpu.put(gradients[0].clone(), here), None, None, None


def _label(device: Any) -> torch.device:
    """Device, name or number -> one of the two labels."""
    found = torch.device(device) if not isinstance(device, torch.device) else device
    return CPU if found.type == "cpu" else GPU


class _Placements(TorchFunctionMode):
    """Above autograd: what names a device, or asks for one."""

    def __init__(self, gpu: PretendedGPU) -> None:
        super().__init__()
        self._gpu = gpu
        self._answers: dict[Any, Callable[..., Any]] = {
            torch.Tensor.device.__get__: gpu.device_of,  # type: ignore[attr-defined]
            torch.Tensor.is_cuda.__get__: lambda tensor: gpu.device_of(tensor) == GPU,  # type: ignore[attr-defined]
            torch.Tensor.is_cpu.__get__: lambda tensor: gpu.device_of(tensor) == CPU,  # type: ignore[attr-defined]
            torch.Tensor.get_device: lambda tensor: 0 if gpu.device_of(tensor) == GPU else -1,
            torch.Tensor.to: self._to,
            torch.Tensor.cpu: lambda tensor, **_: gpu.moved(tensor, CPU),
            torch.Tensor.cuda: lambda tensor, *_, **__: gpu.moved(tensor, GPU),
            torch.Tensor.pin_memory: lambda tensor, *_, **__: tensor,
            torch.Tensor.type_as: lambda tensor, other: self._to(tensor, other),
            torch.Tensor.numpy: self._numpy,
            torch.Tensor.__array__: self._array,
            torch.Tensor.__deepcopy__: self._deepcopy,
            torch.Tensor.tolist: self._tolist,
            torch.Tensor.__setitem__: self._setitem,
        }

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in self._answers:
            return self._answers[func](*args, **kwargs)
        device = kwargs.pop("device", None)
        if device is None:
            return func(*args, **kwargs)
        return self._placed(func(*args, **kwargs), func, kwargs, _label(device))

    def _placed(self, made: Any, func: Any, kwargs: Mapping[str, Any], device: torch.device) -> Any:
        if device == GPU and kwargs.get("generator") is not None:
            raise MixedDevices(f"{func.__name__} on the GPU was given a generator of the CPU")
        if func in (torch.as_tensor, torch.asarray):  # what they are given may be what they return
            return self._gpu.moved(made, device)
        return self._gpu.put(made, device) if isinstance(made, torch.Tensor) else made

    def _to(self, tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        other = kwargs.pop("other", None)
        device, dtype = kwargs.pop("device", None), kwargs.pop("dtype", None)
        for arg in (*args, other):
            if isinstance(arg, torch.Tensor):
                device, dtype = self._gpu.device_of(arg), arg.dtype
            elif isinstance(arg, torch.dtype):
                dtype = arg
            elif isinstance(arg, torch.device | str | int) and not isinstance(arg, bool):
                device = arg
        moved = tensor if device is None else self._gpu.moved(tensor, _label(device))
        kwargs.pop("non_blocking", None)
        return moved.to(dtype or tensor.dtype, **kwargs)

    def _numpy(self, tensor: torch.Tensor, **kwargs: Any) -> Any:
        if self._gpu.device_of(tensor) == GPU:
            raise MixedDevices("a tensor on the GPU was turned into an array; call .cpu() first")
        return tensor.numpy(**kwargs)

    def _array(self, tensor: torch.Tensor, dtype: Any = None) -> Any:
        array = self._numpy(tensor)
        return array if dtype is None else array.astype(dtype, copy=False)

    def _deepcopy(self, tensor: torch.Tensor, memo: Any) -> torch.Tensor:
        return self._gpu.put(tensor.__deepcopy__(memo), self._gpu.device_of(tensor))

    def _setitem(self, tensor: torch.Tensor, index: Any, value: Any) -> None:
        """A GPU tensor takes indices of the CPU here, which the kernels of a CPU that follow would be told apart."""
        parts = index if isinstance(index, tuple) else (index,)
        there = self._gpu.device_of(tensor)
        if there == GPU:
            parts = tuple(self._gpu.moved(part, GPU) if isinstance(part, torch.Tensor) else part for part in parts)
        tensor[tuple(parts)] = value

    def _tolist(self, tensor: torch.Tensor) -> Any:
        if self._gpu.device_of(tensor) == GPU:
            self._gpu.waits.append("tolist")
        return tensor.tolist()


class _Operations(TorchDispatchMode):
    """Below autograd: every operation, forwards and backwards, in the optimiser and outside of it."""

    def __init__(self, gpu: PretendedGPU) -> None:
        super().__init__()
        self._gpu = gpu

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket
        on_gpu, on_cpu = self._sides(name, args, kwargs)
        if on_gpu and on_cpu and name not in _CROSSING:
            shapes = f"{tuple(on_gpu[0].shape)} on the GPU and {tuple(on_cpu[0].shape)} on the CPU"
            raise MixedDevices(f"{name} met tensors of two devices, {shapes}; move them to one")
        if on_gpu and kwargs.get("generator") is not None:
            raise MixedDevices(f"{name} on the GPU was given a generator of the CPU")
        if on_gpu and self._waits(name, args):
            self._gpu.waits.append(str(name))
        made = func(*args, **kwargs)
        self._gpu.operations += bool(on_gpu)
        if on_gpu and name not in _CROSSING:
            for tensor in _tensors((made,)):
                self._gpu.put(tensor, GPU)
        return made

    def _sides(self, name: Any, args: Any, kwargs: Any) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """The tensors of either device that decide; those of the CPU without a dimension do not."""
        free = name in _INDEXED and self._gpu.device_of(args[0]) == GPU
        given = (args[0], *args[2:3]) if free else (*args, *kwargs.values())
        on_gpu: list[torch.Tensor] = []
        on_cpu: list[torch.Tensor] = []
        for tensor in _tensors(given):
            if self._gpu.device_of(tensor) == GPU:
                on_gpu.append(tensor)
            elif tensor.dim():
                on_cpu.append(tensor)
        return on_gpu, on_cpu

    def _waits(self, name: Any, args: Any) -> bool:
        masked = name in _INDEXED and any(index.dtype in (torch.bool, torch.uint8) for index in _tensors((args[1],)))
        return masked or name in _WAITING


def _tensors(items: Any) -> Iterator[torch.Tensor]:
    """The tensors among arguments and in the lists among them."""
    for item in items:
        if isinstance(item, torch.Tensor):
            yield item
        elif isinstance(item, list | tuple):
            yield from _tensors(item)
