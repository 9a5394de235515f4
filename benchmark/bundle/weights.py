"""Weights of pre-trained models, rounded to the upper sixteen bits of their numbers (bf16)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

FILES = ("model.safetensors", "model.json")
ROUNDED = "rounded"  # fact of an artifact whose weights are


def rounded(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """float32 -> the upper halves as uint16, to the nearest, ties to even; other types stay."""
    return {name: _upper(array) if array.dtype == np.float32 else array for name, array in tensors.items()}


def widened(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Takes `rounded` back: uint16 -> float32 with zeros below. No model has tensors of uint16."""
    return {name: _below_zeros(array) if array.dtype == np.uint16 else array for name, array in tensors.items()}


def write_rounded(source: Path, target: Path) -> None:
    """From a file of weights to one of half its size; equal weights give equal bytes."""
    save_file(rounded(load_file(source)), target)


def write_widened(source: Path, target: Path) -> None:
    """From such a file to one that every reader of weights takes."""
    save_file(widened(load_file(source)), target)


def _upper(array: np.ndarray) -> np.ndarray:
    bits = np.array(array, order="C").view(np.uint32)
    nearest = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16  # numbers next to infinity become it, as everywhere
    return np.asarray(np.where(np.isnan(array), 0x7FC0, nearest), np.uint16)


def _below_zeros(array: np.ndarray) -> np.ndarray:
    return np.asarray(array.astype(np.uint32) << 16, np.uint32).view(np.float32)  # a single number stays an array
