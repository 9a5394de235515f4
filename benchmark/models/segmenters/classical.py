"""Segmentation without a learnt model: connected regions of even colour, and compact regions of dense edges.

Felzenszwalb and Huttenlocher 2004 (IJCV 59), as scikit-image has it, cuts an image into regions of even colour, and
neighbours of nearly the same mean colour are joined. Such a cut takes a fine texture apart, so that a second proposal
adds the connected regions in which many neighbouring pixels differ strongly (Otsu's threshold on the local contrast).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.segmentation import felzenszwalb

SAME = 0.9  # regions with this intersection over union are one
STEP = 0.25  # mean colour difference of neighbouring pixels, in [0, 1], from which contrast is more than noise


@dataclass
class Classical:
    """Regions by colour and by texture."""

    scale: float = 100.0  # of Felzenszwalb's cut: larger joins more
    smoothing: float = 0.5  # Gaussian sigma in pixels: more makes an outline a region of its own
    smallest_rate: float = 0.01  # share of the pixels
    largest_rate: float = 0.6
    join: float = 0.08  # regions whose mean colours differ by less are joined, in [0, 1]

    name: str = "classical"

    def regions(self, images: torch.Tensor) -> list[torch.Tensor]:
        """(B, 3, H, W) uint8 -> per image (R, H, W) bool, the largest region first."""
        pictures = images.permute(0, 2, 3, 1).cpu().numpy().astype(np.float32) / 255
        return [torch.from_numpy(self._one(picture)) for picture in pictures]

    def _one(self, picture: np.ndarray) -> np.ndarray:
        """(H, W, 3) in [0, 1] -> (R, H, W) bool."""
        height, width = picture.shape[:2]
        sizes = (self.smallest_rate * height * width, self.largest_rate * height * width)
        found = [*_masks(textured(picture)), *_masks(self._coloured(picture, least=int(sizes[0])))]
        fitting = [mask for mask in found if sizes[0] <= mask.sum() <= sizes[1]]
        kept = distinct(sorted(fitting, key=lambda mask: -int(mask.sum())))
        return np.stack(kept) if kept else np.zeros((0, height, width), bool)

    def _coloured(self, picture: np.ndarray, *, least: int) -> np.ndarray:
        cut = felzenszwalb(picture, scale=self.scale, sigma=self.smoothing, min_size=least, channel_axis=2)
        return joined(picture, cut, self.join)


def joined(picture: np.ndarray, cut: np.ndarray, join: float) -> np.ndarray:
    """Joins neighbouring regions of a cut (H, W) while the closest pair's mean colours differ by less than `join`."""
    known, flat = np.unique(cut, return_inverse=True)
    count, numbers = len(known), flat.reshape(cut.shape)
    sizes = np.bincount(flat.ravel(), minlength=count).astype(float)
    sums = np.stack([np.bincount(flat.ravel(), picture[..., channel].ravel(), count) for channel in range(3)], 1)
    near = np.zeros((count, count), bool)
    for one, other in ((numbers[1:], numbers[:-1]), (numbers[:, 1:], numbers[:, :-1])):
        near[one, other] = near[other, one] = True
    np.fill_diagonal(near, False)
    owner = np.arange(count)
    while near.any():
        colours = sums / sizes[:, None]
        gaps = np.where(near, np.abs(colours[:, None] - colours).mean(2), np.inf)
        kept, gone = divmod(int(gaps.argmin()), count)
        if gaps[kept, gone] >= join:
            break
        sums[kept] += sums[gone]
        sizes[kept] += sizes[gone]
        near[kept] |= near[gone]
        near[:, kept] |= near[:, gone]
        near[gone] = near[:, gone] = near[kept, kept] = False
        owner[owner == gone] = kept
    return owner[numbers]


def textured(picture: np.ndarray) -> np.ndarray:
    """(H, W, 3) in [0, 1] -> (H, W) int, from 1 on the connected regions of dense edges, 0 elsewhere."""
    grey = picture.mean(2)
    down, across = np.abs(np.diff(grey, axis=0)), np.abs(np.diff(grey, axis=1))
    edges = np.zeros(grey.shape, np.float32)  # strong in both directions: an outline is strong in one
    edges[:-1, :-1] = np.minimum(down[:, :-1], across[:-1])
    dense = ndimage.uniform_filter(edges, size=3)
    if float(dense.max()) - float(dense.min()) < STEP / 2:
        return np.zeros(grey.shape, int)
    regions = np.zeros(grey.shape, np.int32)
    ndimage.label(dense > max(float(threshold_otsu(dense)), STEP / 2), np.ones((3, 3)), output=regions)
    return regions


def distinct(masks: list[np.ndarray]) -> list[np.ndarray]:
    """Drops masks that are nearly the same as an earlier one."""
    kept: list[np.ndarray] = []
    for mask in masks:
        if all((mask & other).sum() < SAME * (mask | other).sum() for other in kept):
            kept.append(mask)
    return kept


def _masks(numbers: np.ndarray) -> list[np.ndarray]:
    """Region numbers (H, W) -> a mask for each; 0 of `textured` is a region too, dropped as too large."""
    return [numbers == number for number in np.unique(numbers)]
