"""AutoAugment on batches: every operation against torchvision's, and a draw that belongs to the sample alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torchvision.transforms import AutoAugmentPolicy, v2
from torchvision.transforms.v2 import functional as reference

from benchmark.data import autoaugment as augment
from benchmark.data.autoaugment import OPERATIONS, POLICIES, amount, autoaugment
from benchmark.errors import UserError

SIZE = 20


@pytest.fixture
def images() -> torch.Tensor:
    """(12, 3, 20, 20): noise, narrow ranges, smooth ramps and flat channels."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (4, 3, SIZE, SIZE), generator=generator, dtype=torch.uint8)
    narrow = torch.randint(90, 120, (4, 3, SIZE, SIZE), generator=generator, dtype=torch.uint8)
    ramp = torch.arange(SIZE * SIZE).remainder(256).to(torch.uint8).view(1, 1, SIZE, SIZE).expand(3, 3, -1, -1)
    flat = torch.full((1, 3, SIZE, SIZE), 77, dtype=torch.uint8)
    return torch.cat([noise, narrow, ramp, flat])


def apply_reference(name: str, image: torch.Tensor, value: float) -> torch.Tensor:
    match name:
        case "posterize":
            return reference.posterize(image, int(value))
        case "solarize":
            return reference.solarize(image, value)
        case "invert":
            return reference.invert(image)
        case "autocontrast":
            return reference.autocontrast(image)
        case "equalize":
            return reference.equalize(image)
        case "color":
            return reference.adjust_saturation(image, value)
        case "contrast":
            return reference.adjust_contrast(image, value)
        case "sharpness":
            return reference.adjust_sharpness(image, value)
        case "rotate":
            return reference.rotate(image, value)
        case "shear_x":
            shear = [math.degrees(math.atan(value)), 0.0]
            return reference.affine(image, 0.0, [0, 0], 1.0, shear, center=[0, 0])
    raise AssertionError(name)


# Exact but for blends and stretches, where a rounding before truncation may move a value by one level, and for
# geometry, where a coordinate half-way between two pixels may fall on the other one.
TOLERANCE = {"autocontrast": 1, "color": 1, "contrast": 1, "sharpness": 1}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_equals_torchvision(name: str, images: torch.Tensor) -> None:
    levels = [0, 2, 4, 5, 7, 8, 9]
    values = [amount(name, levels[i % len(levels)], bool(i % 2)) for i in range(len(images))]
    found = OPERATIONS[name](images, torch.tensor(values))
    expected = torch.stack([apply_reference(name, image, value) for image, value in zip(images, values, strict=True)])
    gap = (found.int() - expected.int()).abs()
    assert found.dtype == torch.uint8
    if name in ("rotate", "shear_x"):
        assert (gap > 0).float().mean() < 0.002
    else:
        assert gap.max() <= TOLERANCE.get(name, 0)
        assert (gap > 0).float().mean() < 0.01


def test_policy_equals_torchvision() -> None:
    theirs = v2.AutoAugment(AutoAugmentPolicy.IMAGENET)
    for ours, other in zip(POLICIES, theirs._policies, strict=True):
        for (name, chance, level), (their_name, their_chance, their_level) in zip(ours, other, strict=True):
            assert name.replace("_", "") == their_name.lower()
            assert chance == their_chance
            assert level == (their_level or 0)


@pytest.mark.parametrize("name", ["rotate", "shear_x", "color", "contrast", "sharpness", "posterize", "solarize"])
def test_magnitudes_equal_torchvision(name: str) -> None:
    space = {key.lower(): value for key, value in v2.AutoAugment._AUGMENTATION_SPACE.items()}
    magnitudes, signed = space[name.replace("_", "")]
    for level, magnitude in enumerate(magnitudes(10, SIZE, SIZE).tolist()):
        base = {"color": 1, "contrast": 1, "sharpness": 1}.get(name, 0)
        scale = 255 if name == "solarize" else 1
        assert amount(name, level, False) == pytest.approx(base + scale * magnitude, abs=1e-4)
        if signed:
            assert amount(name, level, True) == pytest.approx(base - magnitude, abs=1e-4)


def test_result_is_the_chain_that_was_drawn(images: torch.Tensor) -> None:
    ids = np.arange(len(images)) + 40
    codes, values = augment._draw(3, ids)
    names = ["", *OPERATIONS]
    for row, (found, image) in enumerate(zip(autoaugment(images, seed=3, ids=ids), images, strict=True)):
        expected = image[None]
        for code, value in zip(codes[row], values[row], strict=True):
            if code:
                expected = OPERATIONS[names[code]](expected, torch.tensor([value]))
        assert torch.equal(found, expected[0])


def test_sample_does_not_depend_on_its_batch(images: torch.Tensor) -> None:
    ids = np.arange(len(images)) * 17
    whole = autoaugment(images, seed=5, ids=ids)
    order = np.array([7, 0, 3, 11, 5])
    assert torch.equal(autoaugment(images[order], seed=5, ids=ids[order]), whole[order])
    assert torch.equal(autoaugment(images[4:5], seed=5, ids=ids[4:5]), whole[4:5])


def test_samples_of_a_batch_draw_their_own_policy(images: torch.Tensor) -> None:
    same = images[:1].expand(64, -1, -1, -1)
    found = autoaugment(same, seed=1, ids=np.arange(64))
    assert len({row.numpy().tobytes() for row in found}) > 15
    assert not torch.equal(found, autoaugment(same, seed=2, ids=np.arange(64)))
    assert torch.equal(found, autoaugment(same, seed=1, ids=np.arange(64)))


def test_draw_follows_the_policy_s_probabilities() -> None:
    codes, values = augment._draw(0, np.arange(40_000))
    names = ["", *OPERATIONS]
    for step in range(2):
        for name in OPERATIONS:
            expected = sum(policy[step][1] for policy in POLICIES if policy[step][0] == name) / len(POLICIES)
            share = (codes[:, step] == names.index(name)).mean()
            assert share == pytest.approx(expected, abs=0.01)
    turned = values[codes == names.index("rotate")] < 0
    assert turned.mean() == pytest.approx(0.5, abs=0.03)


def test_input_is_unmodified_and_the_memory_format_kept(images: torch.Tensor) -> None:
    channels_last = images.contiguous(memory_format=torch.channels_last)
    before = images.clone()
    ids = np.arange(len(images))
    found = autoaugment(channels_last, seed=9, ids=ids)
    plain = autoaugment(images, seed=9, ids=ids)
    assert torch.equal(channels_last, before)
    assert torch.equal(images, before)
    assert torch.equal(found, plain)
    assert plain.is_contiguous()
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_not_square_and_empty_batches() -> None:
    wide = torch.randint(0, 256, (30, 3, 8, 14), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    degrees = torch.linspace(-30, 30, 30)
    expected = torch.stack([reference.rotate(image, float(angle)) for image, angle in zip(wide, degrees, strict=True)])
    assert (augment.rotate(wide, degrees) != expected).float().mean() < 0.002
    assert autoaugment(wide[:0], seed=0, ids=np.empty(0, dtype=np.int64)).shape == (0, 3, 8, 14)


def test_wrong_images_are_refused(images: torch.Tensor) -> None:
    with pytest.raises(UserError, match="images must be uint8"):
        autoaugment(images.float(), seed=0, ids=np.arange(len(images)))
    with pytest.raises(UserError, match="with one id each"):
        autoaugment(images, seed=0, ids=np.arange(3))
