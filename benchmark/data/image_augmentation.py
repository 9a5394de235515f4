"""The image augmentations that a pass may ask for by name, batched, with a draw of its own for every sample.

"autoaugment": see `autoaugment`.
"simclr": horizontal flip (p 0.5), random resized crop to the same size (area 0.08 to 1, ratio 3/4 to 4/3), colour
jitter (0.5, 0.5, 0.5, 0.1; p 0.8), greyscale (p 0.2), Gaussian blur (always): SimCLR's, arXiv 2002.05709, with the
numbers of SafeCLIP (arXiv 2310.05862) and RoCLIP (arXiv 2303.06854). The blur's kernel of 21 pixels at 224 becomes the
nearest odd number of the same share of the shorter side, at least 3 (which 32 pixels get); its sigma stays 0.1 to 2.0
pixels, as torchvision draws it for any kernel.
"noise_cutout": Gaussian noise of sigma 0.2 on [0, 1] (p 0.5), then one square of 0.5 to 1 % of the area in the mean
colour of OpenAI's CLIP (p 0.5): PAR, arXiv 2412.00727.
Differs: values are rounded to 8 bits once, at the end, the published code does so after each step; PAR's code adds only
the positive half of the noise, here both halves, as its paper says.
Reference code: github.com/BigML-CS-UCLA/SafeCLIP at 91488ce and BigML-CS-UCLA/RoCLIP at f34a929 (augment_image.py),
github.com/nmndeep/PerturbAndRecover at a720440 (utils.py).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from benchmark.data.autoaugment import autoaugment, check_images, laid_out_as
from benchmark.errors import must
from benchmark.rng import hashed_uniform
from benchmark.store.keys import derive_seed
from benchmark.types import Augmentation

JITTER = (0.5, 0.5, 0.5, 0.1)  # brightness, contrast, saturation, hue
JITTER_RATE, GREY_RATE, FLIP_RATE = 0.8, 0.2, 0.5
AREA, RATIO, CROP_ATTEMPTS = (0.08, 1.0), (3 / 4, 4 / 3), 10
BLUR_SHARE, BLUR_SIGMA = 21 / 224, (0.1, 2.0)
NOISE_SIGMA, NOISE_RATE = 0.2, 0.5
CUTOUT_AREA, CUTOUT_RATE, CUTOUT_COLOUR = (0.005, 0.01), 0.5, (0.4815, 0.4578, 0.4082)


def augment_images(policy: Augmentation, images: torch.Tensor, *, seed: int, ids: np.ndarray) -> torch.Tensor:
    """Augments every sample by its own draw of a policy.

    Args:
        policy: "none", "autoaugment", "simclr" or "noise_cutout".
        images: (B, 3, H, W) uint8 on any device, in any memory format; not modified.
        seed: the stream of this view and epoch; derive it with `derive_seed`.
        ids: (B,) int64 sample ids. A sample's result is a function of (policy, seed, its id, its pixels) alone.

    Returns:
        (B, 3, H, W) uint8 on the same device, in the memory format of the input; "none" returns the input itself.

    Raises:
        UserError: images that are not (B, 3, H, W) uint8 with one id each, or a policy that is not for images.
    """
    match policy:
        case "none":
            return images
        case "autoaugment":
            return autoaugment(images, seed=seed, ids=ids)
        case "simclr":
            return _in_floats(simclr, images, seed=seed, ids=ids)
        case "noise_cutout":
            return _in_floats(noise_cutout, images, seed=seed, ids=ids)
    raise must("policy", "none, autoaugment, simclr or noise_cutout", policy, "choose one for images")


def _in_floats(
    augment: Callable[..., torch.Tensor], images: torch.Tensor, *, seed: int, ids: np.ndarray
) -> torch.Tensor:
    check_images(images, ids)
    if not len(images):
        return images.clone()
    values = images.contiguous().float().div_(255)
    return laid_out_as(images, augment(values, seed=seed, ids=np.asarray(ids)).mul_(255).round_().to(torch.uint8))


# simclr: (B, 3, H, W) float32 in [0, 1] in and out.


def simclr(images: torch.Tensor, *, seed: int, ids: np.ndarray) -> torch.Tensor:
    """Flip, crop, jitter, grey and blur, as each id draws them."""
    uniforms = hashed_uniform(seed, ids, 11 + 2 * CROP_ATTEMPTS)
    draws, attempts = uniforms[:, :11], uniforms[:, 11:].numpy()
    height, width = images.shape[2:]
    crop = crops_of(attempts, draws[:, 0:2].numpy(), height=height, width=width)
    images = resized_crop(images, crop, flipped=draws[:, 2] < FLIP_RATE)
    amounts = torch.tensor(JITTER) * (2 * draws[:, 4:8] - 1) + torch.tensor([1.0, 1.0, 1.0, 0.0])
    images = jitter(images, amounts, _orders(draws[:, 8]), rows=draws[:, 3] < JITTER_RATE)
    grey = _rows(draws[:, 9] < GREY_RATE, images)
    images[grey] = grey_of(images[grey]).expand(-1, 3, -1, -1)
    low, high = BLUR_SIGMA
    return blur(images, low + (high - low) * draws[:, 10])


class Crop(NamedTuple):
    """A box for each sample, in whole pixels; (B,) int64 arrays."""

    top: np.ndarray
    left: np.ndarray
    height: np.ndarray
    width: np.ndarray


def crops_of(attempts: np.ndarray, places: np.ndarray, *, height: int, width: int) -> Crop:
    """Boxes of random area and ratio: the first of ten that fits, else the largest centred one of a valid ratio.

    Args:
        attempts: (B, 20) uniforms, ten for the area and ten for the ratio.
        places: (B, 2) uniforms that place the box.
        height: of the image.
        width: of the image.
    """
    areas = (AREA[0] + (AREA[1] - AREA[0]) * attempts[:, :CROP_ATTEMPTS]) * height * width
    low, high = math.log(RATIO[0]), math.log(RATIO[1])
    ratios = np.exp(low + (high - low) * attempts[:, CROP_ATTEMPTS:])
    widths, heights = np.rint(np.sqrt(areas * ratios)), np.rint(np.sqrt(areas / ratios))
    fits: Any = (widths >= 1) & (widths <= width) & (heights >= 1) & (heights <= height)
    first = fits.argmax(axis=1)[:, None]
    found = fits.any(axis=1)
    box_height = np.where(found, np.take_along_axis(heights, first, 1)[:, 0], min(height, round(width / RATIO[0])))
    box_width = np.where(found, np.take_along_axis(widths, first, 1)[:, 0], min(width, round(height * RATIO[1])))
    room = np.stack((height - box_height, width - box_width), axis=1)
    corner = np.where(found[:, None], np.floor(places * (room + 1)), room // 2)
    top, left, box_height, box_width = (v.astype(np.int64) for v in (corner[:, 0], corner[:, 1], box_height, box_width))
    return Crop(top, left, box_height, box_width)


def resized_crop(images: torch.Tensor, crop: Crop, *, flipped: torch.Tensor) -> torch.Tensor:
    """Cuts each sample's box out of its (where asked for, mirrored) image and enlarges it bilinearly."""
    height, width = images.shape[2:]
    rows = _source(crop.top, crop.height, height)
    columns = _source(crop.left, crop.width, width)
    columns = torch.where(flipped[:, None], width - 1 - columns, columns)
    x, y = (2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1
    grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), dim=3)
    return functional.grid_sample(images, grid.to(images.device), padding_mode="border", align_corners=False)


def _source(start: np.ndarray, length: np.ndarray, size: int) -> torch.Tensor:
    """(B, size) float32 coordinates in the image that the output's pixels are read from; never outside the box."""
    first, steps = torch.from_numpy(start)[:, None].float(), torch.from_numpy(length)[:, None].float()
    inside = (torch.arange(size) + 0.5) * (steps / size) - 0.5
    return first + torch.minimum(inside.clamp(min=0), steps - 1)


def _orders(uniforms: torch.Tensor) -> torch.Tensor:
    """(B,) uniforms -> (B, 4) permutations of the four steps of the jitter."""
    permutations = torch.tensor(list(itertools.permutations(range(4))))
    return permutations[(uniforms * len(permutations)).long()]


def jitter(images: torch.Tensor, amounts: torch.Tensor, orders: torch.Tensor, *, rows: torch.Tensor) -> torch.Tensor:
    """Changes brightness, contrast, saturation and hue of the chosen samples, each sample in its own order.

    Args:
        images: (B, 3, H, W) in [0, 1].
        amounts: (B, 4) three factors around 1 and a turn of the hue around 0.
        orders: (B, 4) which of the four comes first, second, …
        rows: (B,) bool, which samples.
    """
    orders = torch.where(rows[:, None], orders, 4)  # 4: left alone
    held = torch.arange(len(images))  # held[i]: the sample that row i of `images` holds
    for step in range(4):
        codes, order = orders[held, step].sort(stable=True)
        held = held[order]
        images = images.index_select(0, order.to(images.device))
        starts = torch.searchsorted(codes, torch.arange(5)).tolist()
        for code, operation in enumerate((brightness, contrast, saturation, hue)):
            run = slice(starts[code], starts[code + 1])
            if run.start < run.stop:
                images[run] = operation(images[run], amounts[held[run], code].to(images.device))
    return images.index_select(0, held.argsort().to(images.device))


def brightness(images: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Scales all values."""
    return (images * _per_sample(factors)).clamp_(0, 1)


def contrast(images: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Blends with the mean of the grey image."""
    # in float64, so that a sample's mean does not depend on its batch
    mean = grey_of(images).mean(dim=(1, 2, 3), keepdim=True, dtype=torch.float64).float()
    return _blend(images, mean, factors)


def saturation(images: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Blends with the grey image."""
    return _blend(images, grey_of(images), factors)


def hue(images: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """Turns the hue by a share of the circle, in HSV."""
    red, green, blue = images.unbind(1)
    value, least = images.amax(1), images.amin(1)
    chroma = value - least
    scale = chroma.clamp(min=1e-9).reciprocal_()
    # place on the circle in sixths: between the two channels beside the brightest one; 1 or 0 says which that is, as
    # a mixture by numbers is several times as fast as `where`
    is_green, is_red = ((channel - value).sign_().add_(1) for channel in (green, red))
    place = ((red - green).mul_(scale).add_(4)).lerp_((blue - red).mul_(scale).add_(2), is_green)
    place = place.lerp_((green - blue).mul_(scale), is_red)
    place = place.add_((6 * turns).view(-1, 1, 1))
    place = place.sub_((place / 6).floor_().mul_(6))
    shares = ((place - 3).abs_().sub_(1), 2 - (place - 2).abs_(), 2 - (place - 4).abs_())
    return torch.stack([share.clamp_(0, 1).mul_(chroma).add_(least) for share in shares], dim=1)


def blur(images: torch.Tensor, sigmas: torch.Tensor) -> torch.Tensor:
    """Gaussian blur of each sample's sigma (pixels), mirrored at the border."""
    reach = kernel_size(min(images.shape[2:])) // 2
    weights = torch.exp(-0.5 * (torch.arange(reach + 1) / sigmas[:, None]) ** 2)  # (B, reach + 1), centre first
    weights = (weights / (2 * weights.sum(1, keepdim=True) - weights[:, :1])).to(images.device)
    for axis, pad in ((2, (0, 0, reach, reach)), (3, (reach, reach, 0, 0))):
        size = images.shape[axis]
        wide = functional.pad(images, pad, mode="reflect")
        result = images * _per_sample(weights[:, 0])
        for away in range(1, reach + 1):
            both = wide.narrow(axis, reach - away, size) + wide.narrow(axis, reach + away, size)
            result += both.mul_(_per_sample(weights[:, away]))
        images = result
    return images.clamp_(0, 1)


def kernel_size(side: int) -> int:
    """The odd number nearest to 21/224 of the shorter side, at least 3."""
    return max(3, 2 * round((BLUR_SHARE * side - 1) / 2) + 1)


def noise_cutout(images: torch.Tensor, *, seed: int, ids: np.ndarray) -> torch.Tensor:
    """Noise and a small square, as each id draws them; (B, 3, H, W) float32 in [0, 1] in and out."""
    draws = hashed_uniform(seed, ids, 5)
    noisy = draws[:, 0] < NOISE_RATE
    rows = _rows(noisy, images)
    images[rows] = (images[rows] + gaussian(images[0].shape, seed=seed, ids=ids[noisy.numpy()]).to(images)).clamp_(0, 1)
    height, width = images.shape[2:]
    areas = (CUTOUT_AREA[0] + (CUTOUT_AREA[1] - CUTOUT_AREA[0]) * draws[:, 2]) * height * width
    sides = areas.sqrt().round() * (draws[:, 1] < CUTOUT_RATE)
    down = _inside(draws[:, 3], sides, height)[:, None, :, None]
    across = _inside(draws[:, 4], sides, width)[:, None, None, :]
    cut = (down & across).to(images.device)
    return torch.where(cut, torch.tensor(CUTOUT_COLOUR, device=images.device).view(1, 3, 1, 1), images)


def gaussian(shape: torch.Size, *, seed: int, ids: np.ndarray) -> torch.Tensor:
    """(B, *shape) normal noise of NOISE_SIGMA, a function of (seed, id)."""
    uniforms = hashed_uniform(derive_seed(seed, "noise"), ids, math.prod(shape)).reshape(-1, *shape)
    # by the inverse of the normal's distribution; a uniform is k / 2^24, and half a step more keeps it off 0
    return uniforms.mul_(2).add_(2.0**-24 - 1).erfinv_().mul_(NOISE_SIGMA * math.sqrt(2))


def _inside(places: torch.Tensor, sides: torch.Tensor, size: int) -> torch.Tensor:
    """(B, size) bool: the pixels of a run of `sides` pixels that (B,) uniforms place within `size`."""
    start = (places * (size - sides + 1)).floor()[:, None]
    pixels = torch.arange(size)
    return (pixels >= start) & (pixels < start + sides[:, None])


def grey_of(images: torch.Tensor) -> torch.Tensor:
    """(n, 1, H, W) luma (ITU-R 601)."""
    red, green, blue = images.unbind(1)
    return (red * 0.2989).add_(green * 0.587).add_(blue * 0.114).unsqueeze(1)


def _blend(images: torch.Tensor, other: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    factor = _per_sample(factors)
    return (images * factor).add_(other * (1 - factor)).clamp_(0, 1)


def _per_sample(values: torch.Tensor) -> torch.Tensor:
    return values.view(-1, 1, 1, 1)


def _rows(chosen: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """(B,) bool on the CPU -> row numbers on the images' device."""
    return chosen.nonzero()[:, 0].to(images.device)
