"""AutoAugment (ImageNet policy) on batched uint8 tensors, with a policy of its own for every sample.

Ekin D. Cubuk, Barret Zoph, Dandelion Mane, Vijay Vasudevan, Quoc V. Le: AutoAugment: Learning Augmentation Strategies
from Data, 2019, arXiv:1805.09501, the policy for ImageNet.
Differs: sub-policies, magnitude bins, nearest-neighbour sampling and black fill are torchvision's AutoAugment; it draws
one policy for a whole batch of tensors, here every sample draws its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from benchmark.errors import must
from benchmark.rng import hashed_uniform

Operation = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

# Two steps each: (operation, probability, magnitude bin of 0..9).
POLICIES: tuple[tuple[tuple[str, float, int], tuple[str, float, int]], ...] = (
    (("posterize", 0.4, 8), ("rotate", 0.6, 9)),
    (("solarize", 0.6, 5), ("autocontrast", 0.6, 0)),
    (("equalize", 0.8, 0), ("equalize", 0.6, 0)),
    (("posterize", 0.6, 7), ("posterize", 0.6, 6)),
    (("equalize", 0.4, 0), ("solarize", 0.2, 4)),
    (("equalize", 0.4, 0), ("rotate", 0.8, 8)),
    (("solarize", 0.6, 3), ("equalize", 0.6, 0)),
    (("posterize", 0.8, 5), ("equalize", 1.0, 0)),
    (("rotate", 0.2, 3), ("solarize", 0.6, 8)),
    (("equalize", 0.6, 0), ("posterize", 0.4, 6)),
    (("rotate", 0.8, 8), ("color", 0.4, 0)),
    (("rotate", 0.4, 9), ("equalize", 0.6, 0)),
    (("equalize", 0.0, 0), ("equalize", 0.8, 0)),
    (("invert", 0.6, 0), ("equalize", 1.0, 0)),
    (("color", 0.6, 4), ("contrast", 1.0, 8)),
    (("rotate", 0.8, 8), ("color", 1.0, 2)),
    (("color", 0.8, 8), ("solarize", 0.8, 7)),
    (("sharpness", 0.4, 7), ("invert", 0.6, 0)),
    (("shear_x", 0.6, 5), ("equalize", 1.0, 0)),
    (("color", 0.4, 0), ("equalize", 0.6, 0)),
    (("equalize", 0.4, 0), ("solarize", 0.2, 4)),
    (("solarize", 0.6, 5), ("autocontrast", 0.6, 0)),
    (("invert", 0.6, 0), ("equalize", 1.0, 0)),
    (("color", 0.6, 4), ("contrast", 1.0, 8)),
    (("equalize", 0.8, 0), ("equalize", 0.6, 0)),
)


def autoaugment(images: torch.Tensor, *, seed: int, ids: np.ndarray) -> torch.Tensor:
    """Augments every sample by its own draw of the policy.

    Args:
        images: (B, 3, H, W) uint8 on any device, in any memory format; not modified.
        seed: the stream of this epoch; derive it with `derive_seed`.
        ids: (B,) int64 sample ids. A sample's result is a function of (seed, its id, its pixels) alone.

    Returns:
        (B, 3, H, W) uint8 on the same device, in the memory format of the input.

    Raises:
        UserError: if images are not (B, 3, H, W) uint8 or their number is not that of the ids.
    """
    check_images(images, ids)
    codes, values = _draw(seed, np.asarray(ids))
    work, held = images.contiguous(), np.arange(len(images))  # held[i]: the sample that row i of `work` holds
    for step in range(2):
        order = np.argsort(codes[held, step], kind="stable")
        held = held[order]
        work = _apply(_take(work, order), codes[held, step], values[held, step])
    return laid_out_as(images, _take(work, np.argsort(held)))


def check_images(images: torch.Tensor, ids: np.ndarray) -> None:
    """Refuses what is no batch of stored images.

    Raises:
        UserError: images that are not (B, 3, H, W) uint8 with one id each.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3 or len(images) != len(ids):
        got = f"{images.dtype} {tuple(images.shape)} with {len(ids)} ids"
        raise must("images", "uint8 (B, 3, H, W) with one id each", got, "convert them before augmenting")


def laid_out_as(images: torch.Tensor, result: torch.Tensor) -> torch.Tensor:
    """A contiguous result in the memory format of the images that it was made of."""
    channels_last = not images.is_contiguous() and images.is_contiguous(memory_format=torch.channels_last)
    return result.contiguous(memory_format=torch.channels_last) if channels_last else result


def _apply(images: torch.Tensor, codes: np.ndarray, values: np.ndarray) -> torch.Tensor:
    """Runs each operation once, in place, on its own run of rows; `images` are sorted by code; 0: untouched."""
    amounts = torch.from_numpy(values).to(images.device)
    starts = np.searchsorted(codes, np.arange(len(OPERATIONS) + 2))
    for code, operation in enumerate(OPERATIONS.values(), start=1):
        rows = slice(int(starts[code]), int(starts[code + 1]))
        if rows.start < rows.stop:
            images[rows] = operation(images[rows], amounts[rows])
    return images


def _take(images: torch.Tensor, order: np.ndarray) -> torch.Tensor:
    return images.index_select(0, torch.from_numpy(order).to(images.device))


class _Table(NamedTuple):
    codes: np.ndarray  # (25, 2) int64, 1-based position in OPERATIONS
    chances: np.ndarray  # (25, 2) float32
    amounts: np.ndarray  # (25, 2, 2) float32; last axis: as drawn, with the sign turned


def _draw(seed: int, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draws what happens to each sample: (B, 2) operation codes, 0 for none, and (B, 2) float32 amounts."""
    table = _table()
    uniforms = hashed_uniform(seed, ids, 5).numpy()
    policies = (uniforms[:, 0] * len(POLICIES)).astype(np.int64)
    happens = uniforms[:, 1:3] < table.chances[policies]
    turned = (uniforms[:, 3:5] < 0.5).astype(np.int64)
    amounts = np.take_along_axis(table.amounts[policies], turned[:, :, None], axis=2)[:, :, 0]
    return np.where(happens, table.codes[policies], 0), amounts


@lru_cache(maxsize=1)
def _table() -> _Table:
    names = list(OPERATIONS)
    codes = np.array([[names.index(step[0]) + 1 for step in policy] for policy in POLICIES])
    chances = np.array([[step[1] for step in policy] for policy in POLICIES], dtype=np.float32)
    amounts = [[[amount(name, level, turned) for turned in (False, True)] for name, _, level in p] for p in POLICIES]
    return _Table(codes, chances, np.array(amounts, dtype=np.float32))


def amount(name: str, level: int, turned: bool) -> float:
    """What a magnitude bin (0..9) means for an operation, as torchvision's AutoAugment defines it.

    Rotation in degrees, shear as pixels per row, enhancement as the factor 1 + magnitude, posterize in bits,
    solarize as the threshold of the pixel value; 0 for operations without magnitude. `turned` flips a signed one.
    """
    share, sign = level / 9, -1 if turned else 1
    match name:
        case "rotate":
            return sign * 30.0 * share
        case "shear_x":
            return sign * 0.3 * share
        case "color" | "contrast" | "sharpness":
            return 1 + sign * 0.9 * share
        case "posterize":
            return float(round(8 - 4 * share))
        case "solarize":
            return 255 * (1 - share)
    return 0.0


# Operations: (n, 3, H, W) uint8 and (n,) float32 amounts -> (n, 3, H, W) uint8.


def posterize(images: torch.Tensor, bits: torch.Tensor) -> torch.Tensor:
    """Keeps the upper bits."""
    mask = 256 - torch.exp2(8 - bits)
    return images & _per_sample(mask).to(torch.uint8)


def solarize(images: torch.Tensor, thresholds: torch.Tensor) -> torch.Tensor:
    """Inverts the values at or above the threshold."""
    above = images >= _per_sample(thresholds.ceil()).to(torch.uint8)
    return images ^ (above.to(torch.uint8) * 255)


def invert(images: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    """Inverts all values."""
    return ~images


def autocontrast(images: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    """Stretches each channel to 0..255; a flat channel stays as it is."""
    low = images.amin(dim=(2, 3), keepdim=True).float()
    high = images.amax(dim=(2, 3), keepdim=True).float()
    flat = high == low
    step = torch.where(flat, 1.0, (high - low) * (1 / 255))
    return images.float().sub_(torch.where(flat, 0.0, low)).div_(step).clamp_(0, 255).to(torch.uint8)


def equalize(images: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    """Equalises each channel's histogram by Pillow's rule: a table per channel, built from one batched histogram."""
    planes = images.flatten(2).long()  # (n, 3, HW)
    histogram = torch.zeros(*planes.shape[:2], 256, dtype=torch.int32, device=images.device)
    histogram.scatter_add_(2, planes, torch.ones((), dtype=torch.int32, device=images.device).expand_as(planes))
    brightest = planes.amax(dim=2, keepdim=True)
    step = (planes.shape[2] - histogram.gather(2, brightest)) // 255  # (n, 3, 1)
    below = histogram.cumsum(dim=2, dtype=torch.int32) - histogram
    table = ((below + step // 2) // step.clamp(min=1)).clamp_(max=255)
    identity = torch.arange(256, dtype=torch.int32, device=images.device)
    table = torch.where(step == 0, identity, table).to(torch.uint8)
    return table.gather(2, planes).view_as(images)


def color(images: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Blends with the grey image: 0 is grey, 1 the image, above 1 more saturated."""
    return _blend(images, _grey(images), factors)


def contrast(images: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Blends with the mean of the grey image."""
    # grey values are whole, so a float64 sum is exact in any order and results do not depend on the batch
    mean = _grey(images).mean(dim=(1, 2, 3), keepdim=True, dtype=torch.float64).float()
    return _blend(images, mean, factors)


def sharpness(images: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Blends with a 3 x 3 smoothing (centre weight 5 of 13); the border of one pixel stays."""
    if min(images.shape[2:]) <= 2:
        return images
    whole = images.to(torch.int16)
    rows = whole[:, :, :-2] + whole[:, :, 1:-1] + whole[:, :, 2:]
    around = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    centre = images[:, :, 1:-1, 1:-1]
    smooth = ((around + 4 * whole[:, :, 1:-1, 1:-1]).float() / 13).round_()
    result = images.clone()
    result[:, :, 1:-1, 1:-1] = _blend(centre, smooth, factors)
    return result


def rotate(images: torch.Tensor, degrees: torch.Tensor) -> torch.Tensor:
    """Rotates counter-clockwise about the centre."""
    cosine, sine = torch.cos(torch.deg2rad(degrees)), torch.sin(torch.deg2rad(degrees))
    y, x = _centred_grid(images)
    return _sample(images, _per_row(sine) * x + _per_row(cosine) * y, _per_row(cosine) * x - _per_row(sine) * y)


def shear_x(images: torch.Tensor, slopes: torch.Tensor) -> torch.Tensor:
    """Shifts each row by `slope` pixels per row, fixed at the upper edge."""
    y, x = _centred_grid(images)
    shift = _per_row(slopes) * (y + images.shape[2] / 2)
    return _sample(images, y.expand(len(images), -1, images.shape[3]), x + shift)


OPERATIONS: Mapping[str, Operation] = {
    "posterize": posterize,
    "solarize": solarize,
    "invert": invert,
    "autocontrast": autocontrast,
    "equalize": equalize,
    "color": color,
    "contrast": contrast,
    "sharpness": sharpness,
    "rotate": rotate,
    "shear_x": shear_x,
}


def _per_sample(values: torch.Tensor) -> torch.Tensor:
    return values.view(-1, 1, 1, 1)


def _per_row(values: torch.Tensor) -> torch.Tensor:
    return values.view(-1, 1, 1)


def _grey(images: torch.Tensor) -> torch.Tensor:
    """(n, 1, H, W) float32 luma (ITU-R 601), rounded down."""
    red, green, blue = images.unbind(dim=1)
    # no fused multiply-add: its rounding may differ between the body and the tail of a vectorised loop
    return (red * 0.2989).add_(green * 0.587).add_(blue * 0.114).floor_().unsqueeze(1)


def _blend(images: torch.Tensor, other: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """factor * images + (1 - factor) * other, cut to 0..255 and rounded down; (n, 3, H, W) uint8."""
    factor = _per_sample(factors)
    return (images * factor).add_(other * (1 - factor)).clamp_(0, 255).to(torch.uint8)


def _centred_grid(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(1, H, 1) and (1, 1, W) float32 pixel coordinates from the image's centre."""
    height, width = images.shape[2:]
    y = torch.arange(height, device=images.device) - (height - 1) / 2
    x = torch.arange(width, device=images.device) - (width - 1) / 2
    return y.view(1, -1, 1), x.view(1, 1, -1)


def _sample(images: torch.Tensor, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Reads the nearest pixel at centred (n, H, W) coordinates; black outside the image."""
    height, width = images.shape[2:]
    rows = (y + (height - 1) / 2).round_()
    columns = (x + (width - 1) / 2).round_()
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    index = (rows.clamp_(0, height - 1) * width + columns.clamp_(0, width - 1)).long()
    read = images.flatten(2).gather(2, index.flatten(1).unsqueeze(1).expand(-1, 3, -1))
    return read.view_as(images) * inside.unsqueeze(1)
