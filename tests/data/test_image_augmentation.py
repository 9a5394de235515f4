"""SimCLR's and PAR's augmentations: every step against torchvision's, and a draw that belongs to the sample alone."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as reference

from benchmark.data import image_augmentation as policies
from benchmark.data.autoaugment import autoaugment
from benchmark.data.image_augmentation import augment_images
from benchmark.errors import UserError
from benchmark.types import Augmentation

pytestmark = pytest.mark.unit
SIZE = 24
OURS = ("simclr", "noise_cutout")


@pytest.fixture
def images() -> torch.Tensor:
    """(10, 3, 24, 24): noise, narrow ranges, smooth ramps, grey and flat images."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (4, 3, SIZE, SIZE), generator=generator, dtype=torch.uint8)
    narrow = torch.randint(90, 120, (2, 3, SIZE, SIZE), generator=generator, dtype=torch.uint8)
    grey = noise[:1, :1].expand(-1, 3, -1, -1)
    ramp = torch.arange(SIZE * SIZE).remainder(256).to(torch.uint8).view(1, 1, SIZE, SIZE).repeat(2, 3, 1, 1)
    flat = torch.full((1, 3, SIZE, SIZE), 77, dtype=torch.uint8)
    return torch.cat([noise, narrow, grey, ramp, flat])


@pytest.fixture
def floats(images: torch.Tensor) -> torch.Tensor:
    return images.float() / 255


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("brightness", reference.adjust_brightness),
        ("contrast", reference.adjust_contrast),
        ("saturation", reference.adjust_saturation),
        ("hue", reference.adjust_hue),
    ],
)
def test_colour_step_equals_torchvision(name: str, theirs: object, floats: torch.Tensor) -> None:
    amounts = torch.linspace(-0.1, 0.1, len(floats)) if name == "hue" else torch.linspace(0.5, 1.5, len(floats))
    found = getattr(policies, name)(floats, amounts)
    expected = torch.stack([theirs(image, float(a)) for image, a in zip(floats, amounts, strict=True)])  # type: ignore[operator]
    assert torch.allclose(found, expected, atol=2e-5)


def test_blur_equals_torchvision(floats: torch.Tensor) -> None:
    sigmas = torch.linspace(0.1, 2, len(floats))
    size = policies.kernel_size(SIZE)
    expected = [reference.gaussian_blur(x, [size, size], [float(s)]) for x, s in zip(floats, sigmas, strict=True)]
    assert torch.allclose(policies.blur(floats, sigmas), torch.stack(expected), atol=1e-5)


def test_wide_kernels_blur_as_torchvision_does() -> None:
    large = torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(1))
    expected = [reference.gaussian_blur(image, [11, 11], [s]) for image, s in zip(large, (0.7, 2.0), strict=True)]
    assert policies.kernel_size(112) == 11
    assert torch.allclose(policies.blur(large, torch.tensor([0.7, 2.0])), torch.stack(expected), atol=1e-5)


@pytest.mark.parametrize(("side", "kernel"), [(224, 21), (112, 11), (64, 5), (32, 3), (8, 3)])
def test_kernel_keeps_its_share_of_the_image(side: int, kernel: int) -> None:
    assert policies.kernel_size(side) == kernel


@pytest.mark.parametrize("flip", [False, True])
def test_crop_equals_torchvision(flip: bool, floats: torch.Tensor) -> None:
    wide = floats[..., :20]  # 24 x 20
    boxes = [(0, 0, 24, 20), (3, 5, 7, 9), (10, 0, 14, 20), (23, 19, 1, 1), (5, 4, 12, 9)] * 2
    crop = policies.Crop(*(np.array(part, dtype=np.int64) for part in zip(*boxes, strict=True)))
    found = policies.resized_crop(wide, crop, flipped=torch.full((10,), flip))
    for image, box, ours in zip(wide, boxes, found, strict=True):
        source = reference.horizontal_flip(image) if flip else image
        assert torch.allclose(ours, reference.resized_crop(source, *box, [24, 20], antialias=True), atol=1e-4)


def test_crops_follow_torchvision_s_distribution() -> None:
    """Heights, widths and places of the boxes, against draws of RandomResizedCrop on a wide image."""
    count, height, width = 4000, 40, 60
    drawn = torch.rand(count, 22, generator=torch.Generator().manual_seed(0)).numpy()
    ours = policies.crops_of(drawn[:, :20], drawn[:, 20:], height=height, width=width)
    blank = torch.zeros(3, height, width)
    torch.manual_seed(0)
    theirs = v2.RandomResizedCrop(8)
    found = [theirs.make_params([blank]) for _ in range(count)]
    for name in ("top", "left", "height", "width"):
        mine, other = getattr(ours, name), np.array([box[name] for box in found])
        assert mine.mean() == pytest.approx(other.mean(), rel=0.05)
        assert mine.std() == pytest.approx(other.std(), rel=0.05)


@pytest.mark.parametrize(("height", "width", "box"), [(40, 10, (13, 0, 13, 10)), (10, 40, (0, 13, 10, 13))])
def test_no_attempt_fits(height: int, width: int, box: tuple[int, ...]) -> None:
    """The largest area at a ratio of 1 is too large for a narrow image; then the centre is taken."""
    attempts = np.full((1, 20), 0.999)
    attempts[:, 10:] = 0.5
    crop = policies.crops_of(attempts, np.zeros((1, 2)), height=height, width=width)
    assert tuple(int(part[0]) for part in crop) == box


def test_jitter_keeps_each_sample_s_own_order(floats: torch.Tensor) -> None:
    generator = torch.Generator().manual_seed(3)
    amounts = torch.rand(10, 4, generator=generator) * 0.8 + 0.6
    amounts[:, 3] -= 1
    orders = torch.stack([torch.randperm(4, generator=generator) for _ in range(10)])
    rows = torch.arange(10) % 3 > 0
    steps = [policies.brightness, policies.contrast, policies.saturation, policies.hue]
    found = policies.jitter(floats.clone(), amounts, orders, rows=rows)
    for i in range(10):
        expected = floats[i : i + 1]
        for code in orders[i].tolist() if rows[i] else []:
            expected = steps[code](expected, amounts[i : i + 1, code])
        assert torch.equal(found[i : i + 1], expected)


def test_orders_are_all_permutations() -> None:
    found = policies._orders((torch.arange(2400) + 0.5) / 2400)
    assert len(found.unique(dim=0)) == 24
    assert torch.equal(found.sort(dim=1).values, torch.arange(4).expand(2400, 4))


def test_simclr_is_the_chain_of_its_steps(images: torch.Tensor) -> None:
    """Greyscale happens to a fifth, the jitter to four fifths; every image is blurred."""
    bright = images[:1].expand(2000, -1, -1, -1)
    found = augment_images("simclr", bright, seed=4, ids=np.arange(2000))
    grey = (found[:, 0] == found[:, 1]).flatten(1).all(1) & (found[:, 1] == found[:, 2]).flatten(1).all(1)
    assert grey.float().mean() == pytest.approx(0.2, abs=0.03)
    flat = augment_images("simclr", images[-1:].expand(2000, -1, -1, -1), seed=4, ids=np.arange(2000))
    untouched = (flat == 77).flatten(1).all(1)  # crop, blur and grey leave a flat grey image as it is
    assert untouched.float().mean() == pytest.approx(0.2, abs=0.03)


def test_noise_is_normal_on_half_of_the_samples() -> None:
    middle = torch.full((400, 3, SIZE, SIZE), 128, dtype=torch.uint8)
    found = augment_images("noise_cutout", middle, seed=2, ids=np.arange(400)).float()
    colour = (torch.tensor(policies.CUTOUT_COLOUR) * 255).round().view(1, 3, 1, 1)
    outside = ~(found == colour).all(dim=1)
    changed = torch.stack([image[:, keep].ne(128).float().mean() for image, keep in zip(found, outside, strict=True)])
    noisy = changed > 0.5
    assert noisy.float().mean() == pytest.approx(0.5, abs=0.08)
    values = torch.cat([found[i][:, outside[i]].flatten() for i in noisy.nonzero()[:, 0]])
    assert values.mean() == pytest.approx(128, abs=0.5)
    assert values.std() == pytest.approx(0.2 * 255, rel=0.03)  # cutting at 0 and 255 takes some 2 % of it
    share = ((values - 128).abs() < 0.2 * 255).float().mean()
    assert share == pytest.approx(0.683, abs=0.01)


@pytest.mark.parametrize(("side", "sides"), [(224, {16, 17, 18, 19, 20, 21, 22}), (32, {2, 3})])
def test_cutout_is_one_small_square_in_half_of_the_images(side: int, sides: set[int]) -> None:
    count = 60 if side > 100 else 600
    black = torch.zeros(count, 3, side, side)
    draws = np.arange(count)
    found = policies.noise_cutout(black, seed=1, ids=draws)
    cut = (found == torch.tensor(policies.CUTOUT_COLOUR).view(1, 3, 1, 1)).all(dim=1)
    present = cut.flatten(1).any(1)
    assert present.float().mean() == pytest.approx(0.5, abs=0.2 if side > 100 else 0.06)
    for mask in cut[present]:
        rows, columns = mask.any(1).sum().item(), mask.any(0).sum().item()
        assert rows == columns
        assert rows in sides
        assert mask.sum() == rows * columns


@pytest.mark.parametrize("policy", OURS)
def test_sample_does_not_depend_on_its_batch(policy: Augmentation, images: torch.Tensor) -> None:
    many = images.repeat(8, 1, 1, 1)
    ids = np.arange(80) * 17
    whole = augment_images(policy, many, seed=5, ids=ids)
    order = np.array([7, 0, 33, 11, 5])
    assert torch.equal(augment_images(policy, many[order], seed=5, ids=ids[order]), whole[order])
    for i in (4, 9, 61):
        assert torch.equal(augment_images(policy, many[i : i + 1], seed=5, ids=ids[i : i + 1]), whole[i : i + 1])


@pytest.mark.parametrize("policy", OURS)
def test_draws_differ_between_samples_and_seeds(policy: Augmentation, images: torch.Tensor) -> None:
    same = images[:1].expand(64, -1, -1, -1)
    found = augment_images(policy, same, seed=1, ids=np.arange(64))
    assert len({row.numpy().tobytes() for row in found}) > 40
    assert torch.equal(found, augment_images(policy, same, seed=1, ids=np.arange(64)))
    assert not torch.equal(found, augment_images(policy, same, seed=2, ids=np.arange(64)))


@pytest.mark.parametrize("policy", OURS)
def test_input_is_unmodified_and_the_memory_format_kept(policy: Augmentation, images: torch.Tensor) -> None:
    channels_last, before, ids = images.contiguous(memory_format=torch.channels_last), images.clone(), np.arange(10)
    found, plain = (augment_images(policy, x, seed=9, ids=ids) for x in (channels_last, images))
    assert torch.equal(channels_last, before)
    assert torch.equal(images, before)
    assert torch.equal(found, plain)
    assert plain.is_contiguous()
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert found.dtype == torch.uint8
    assert augment_images(policy, images[:0], seed=0, ids=ids[:0]).shape == (0, 3, SIZE, SIZE)


@pytest.mark.parametrize("policy", OURS)
def test_pixels_stay_near_what_they_were_on_average(policy: Augmentation, images: torch.Tensor) -> None:
    """An augmentation that lost the picture (wrong scale, wrong channel order) would move its mean colour."""
    red = torch.zeros(300, 3, SIZE, SIZE, dtype=torch.uint8)
    red[:, 0], red[:, 1] = 200, 60
    found = augment_images(policy, red, seed=3, ids=np.arange(300)).float().mean(dim=(0, 2, 3))
    assert found[0] > 120
    assert found[0] > found[1] + 60 > found[2]


def test_dispatch(images: torch.Tensor) -> None:
    ids = np.arange(10)
    assert augment_images("none", images, seed=0, ids=ids) is images
    assert torch.equal(augment_images("autoaugment", images, seed=7, ids=ids), autoaugment(images, seed=7, ids=ids))
    for policy in set(get_args(Augmentation)) - {"eda"}:
        assert augment_images(policy, images, seed=7, ids=ids).shape == images.shape
    with pytest.raises(UserError, match="policy must be none, autoaugment, simclr or noise_cutout, got 'eda'"):
        augment_images("eda", images, seed=0, ids=ids)


@pytest.mark.parametrize("policy", OURS)
def test_wrong_images_are_refused(policy: Augmentation, images: torch.Tensor) -> None:
    with pytest.raises(UserError, match="images must be uint8"):
        augment_images(policy, images.float(), seed=0, ids=np.arange(10))
    with pytest.raises(UserError, match="with one id each"):
        augment_images(policy, images, seed=0, ids=np.arange(3))
