"""What a checkpoint file is, told by its first bytes. Nothing is ever unpickled."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.errors import UserError

if TYPE_CHECKING:
    import torch

PICKLE_SUFFIXES = (".bin", ".ckpt", ".pkl", ".pt", ".pth")
CONVERT = "pickles can run code, so they are never opened; convert it with `safetensors.torch.save_file` first"
# of OpenAI's own archives: sizes, and positions that are counted; open_clip leaves them out too
NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size")


def read_tensors(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, without a prefix `module.` that all of them share.

    Raises:
        UserError: no such file, pickled content, another format, or a damaged file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    check_file(file)
    try:
        tensors = load_file(file)
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"WEIGHTS {str(file)!r} is damaged or cut short ({reason}); copy or download it again"
        ) from None
    prefix = "module." if tensors and all(name.startswith("module.") for name in tensors) else ""
    kept = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return {
        name: value for name, value in kept.items() if name not in NOT_WEIGHTS and not name.endswith("position_ids")
    }


def check_file(file: Path) -> None:
    """Refuses a file that is not safetensors, and says what it is.

    Raises:
        UserError: no such file, pickled content, a Git LFS pointer, or something else.
    """
    place = f"WEIGHTS {str(file)!r}"
    if not file.is_file():
        raise UserError(f"{place}: no such file; give a safetensors file")
    with open(file, "rb") as opened:
        head = opened.read(64)
    if _pickled(file, head):
        raise UserError(f"{place} must be a safetensors file, got pickled content; {CONVERT}")
    if head.startswith(b"version https://git-lfs"):
        raise UserError(
            f"{place} must be a safetensors file, got a Git LFS pointer; fetch the file with `git lfs pull`"
        )
    if int.from_bytes(head[:8], "little") < 2 or head[8:9] != b"{":
        raise UserError(f"{place} must be a safetensors file, got something that is not a checkpoint; give another")


def _pickled(file: Path, head: bytes) -> bool:
    """Whether it is a bare pickle, or an archive with one inside, which is how torch saves."""
    if head.startswith(b"PK"):
        try:
            with zipfile.ZipFile(file) as archive:
                return any(name.endswith(".pkl") for name in archive.namelist())
        except zipfile.BadZipFile:  # cut short
            return file.suffix.lower() in PICKLE_SUFFIXES
    return head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")
