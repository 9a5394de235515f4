"""Segmenters: what the classical one finds in drawn pictures, and what a folder of weights must be."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.errors import NotApplicable, UnknownNameError
from benchmark.models import segmenters
from benchmark.models.segmenters import sam
from benchmark.models.segmenters.classical import Classical, distinct, joined

pytestmark = pytest.mark.unit


def picture(*, size: int = 32) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """A noisy green ground with a red square and, in the corner, a checkerboard; and their masks."""
    unit = size // 32
    rng = np.random.default_rng(0)
    image = np.full((size, size, 3), (60, 140, 70)) + rng.normal(0, 6, (size, size, 3))
    masks = {"square": np.zeros((size, size), bool), "trigger": np.zeros((size, size), bool)}
    masks["square"][6 * unit : 18 * unit, 5 * unit : 17 * unit] = True
    masks["trigger"][-5 * unit :, -5 * unit :] = True
    image[masks["square"]] = (200, 40, 40)
    down, across = np.indices((size, size)) // unit
    image[masks["trigger"]] = ((down + across) % 2 * 255)[masks["trigger"]][:, None]
    pixels = torch.from_numpy(image.clip(0, 255).astype(np.uint8)).permute(2, 0, 1)
    return pixels, {name: torch.from_numpy(mask) for name, mask in masks.items()}


def overlap(regions: torch.Tensor, mask: torch.Tensor) -> float:
    """Intersection over union of a mask with the region that fits it best."""
    return max(float((one & mask).sum() / (one | mask).sum()) for one in regions)


@pytest.mark.parametrize("size", [32, 64])
def test_object_and_texture_are_regions(size: int) -> None:
    image, masks = picture(size=size)
    (regions,) = segmenters.build("classical").regions(image.unsqueeze(0))
    assert regions.dtype == torch.bool and regions.shape[1:] == (size, size)
    assert overlap(regions, masks["square"]) > 0.8
    assert overlap(regions, masks["trigger"]) > (0.5 if size == 32 else 0.3)
    areas = regions.flatten(1).sum(1)
    assert bool((areas[:-1] >= areas[1:]).all()) and int(areas.max()) <= 0.6 * size * size


def test_an_even_picture_has_no_region() -> None:
    even = torch.full((1, 3, 32, 32), 90, dtype=torch.uint8)
    (regions,) = Classical().regions(even)
    assert regions.shape == (0, 32, 32)


def test_a_batch_is_cut_image_by_image() -> None:
    image, _ = picture()
    batch = torch.stack([image, image.flip(2)])
    one, two = Classical().regions(batch)
    assert torch.equal(one, Classical().regions(batch[:1])[0])
    assert not torch.equal(one, two)
    assert torch.equal(batch[0], image)


def test_the_closest_neighbours_are_joined_first() -> None:
    colours = np.array([0.0, 0.05, 0.5, 0.52, 1.0])
    drawn = np.repeat(np.repeat(colours, 4)[None, :, None], 6, 0).repeat(3, 2)
    cut = np.repeat(np.repeat(np.arange(5), 4)[None], 6, 0)
    assert [joined(drawn, cut, 0.04)[0, 4 * n] for n in range(5)] == [0, 1, 2, 2, 4]
    assert len(np.unique(joined(drawn, cut, 0.08))) == 3
    assert len(np.unique(joined(drawn, cut, 2.0))) == 1


def test_nearly_equal_masks_are_one() -> None:
    one = np.zeros((10, 10), bool)
    one[:5] = True
    close, other = one.copy(), one.copy()
    close[0, 0], other[:2] = False, False
    assert len(distinct([one, close, other])) == 2


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="unknown segmenter 'sma'; did you mean sam"):
        segmenters.build("sma")


def test_sam_without_weights_is_not_applicable(tmp_path: Path) -> None:
    for weights in (None, str(tmp_path)):
        with pytest.raises(NotApplicable, match=r"needs `weights`, a local folder with config\.json and model\.safet"):
            segmenters.build("sam", weights)


def test_a_pickle_is_no_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "sam"}')
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(NotApplicable, match="needs `weights`"):
        segmenters.build("sam", str(tmp_path))


def test_weights_are_named_by_content(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "abc"]
    for folder, text in zip(folders, ("same", "same", "other"), strict=True):
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_text(text)
        (folder / "readme.md").write_text(str(folder))
    one, two, three = (segmenters.content_hash(str(folder)) for folder in folders)
    assert one == two != three
    assert segmenters.content_hash(str(tmp_path)) == "absent"


def test_stability_and_overlap_by_hand() -> None:
    logits = torch.tensor([[[2.0, 2.0], [0.5, -0.5]], [[2.0, 2.0], [-3.0, -3.0]]])
    assert sam.stability(logits).tolist() == [0.5, 1.0]
    masks = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0]], dtype=torch.bool).view(4, 2, 2)
    kept = sam.apart(masks, torch.tensor([0.9, 0.95, 0.5, 1.0]), same=0.7)
    assert kept.flatten(1).int().tolist() == [[1, 1, 1, 1], [0, 0, 0, 1]]


@pytest.fixture
def tiny_sam(tmp_path: Path) -> Path:
    """A SAM of random weights; needs the library."""
    transformers: Any = pytest.importorskip("transformers")
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "mlp_dim": 32}
    vision = small | {"image_size": 64, "patch_size": 16, "output_channels": 16, "global_attn_indexes": [0]}
    config = transformers.SamConfig(
        vision_config=vision | {"window_size": 2, "num_pos_feats": 8},
        prompt_encoder_config={"hidden_size": 16, "image_size": 64, "patch_size": 16, "mask_input_channels": 4},
        mask_decoder_config=small | {"iou_head_hidden_dim": 16},
    )
    torch.manual_seed(0)
    transformers.SamModel(config).save_pretrained(tmp_path)
    return tmp_path


def test_sam_runs_from_a_local_folder(tiny_sam: Path) -> None:
    found = segmenters.build("sam", str(tiny_sam))
    assert found.name == "sam"
    assert isinstance(found, sam.Sam)
    eager = replace(found, grid=4, least_iou=-9.0, least_stability=0.0)
    images = torch.randint(0, 256, (2, 3, 32, 24), dtype=torch.uint8)
    regions = eager.regions(images)
    assert [one.shape[1:] for one in regions] == [(32, 24), (32, 24)]
    assert all(len(one) and one.dtype == torch.bool for one in regions)


def test_a_damaged_or_foreign_checkpoint_is_not_applicable(tiny_sam: Path) -> None:
    config = json.loads((tiny_sam / "config.json").read_text())
    (tiny_sam / "config.json").write_text(json.dumps(config | {"model_type": "clip"}))
    with pytest.raises(NotApplicable, match="holds 'clip'"):
        segmenters.build("sam", str(tiny_sam))
    (tiny_sam / "config.json").write_text(json.dumps(config))
    weights = tiny_sam / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])
    with pytest.raises(NotApplicable, match="cannot be read"):
        segmenters.build("sam", str(tiny_sam))
