"""A fixed linear model, noisy prototypes and a trigger, evaluated; outcomes by condition and read-out."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import torch
from torch.nn import functional

from benchmark.config.spec import Readouts
from benchmark.evaluation.evaluate import Condition, HeldOut, encode, evaluate
from benchmark.store.keys import derive_seed

CLASSES = ["circle", "square", "star", "cross"]
TEMPLATES = ["a photo of a {}.", "a drawing of a {}", "the {}"]
SIZE, EMBED, TARGET = 6, 16, 2


class FakeModel:
    """A fixed linear image encoder and hashed captions; counts what it encodes, and in which mode."""

    def __init__(self) -> None:
        self.device, self.embed_dim, self.training = torch.device("cpu"), EMBED, True
        self.images_seen, self.captions_seen = 0, []
        self._weights = torch.randn(3 * SIZE * SIZE, EMBED, generator=torch.Generator().manual_seed(0))

    def encode_images(self, images: torch.Tensor) -> torch.Tensor:
        assert not self.training
        assert images.dtype == torch.uint8
        self.images_seen += len(images)
        return functional.normalize((images.float() / 255 - 0.5).flatten(1) @ self._weights, dim=1)

    def encode_captions(self, captions: list[str]) -> torch.Tensor:
        assert not self.training
        self.captions_seen += captions
        seeds = [derive_seed("caption", caption) for caption in captions]
        rows = [torch.randn(EMBED, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return functional.normalize(torch.stack(rows), dim=1)

    def logit_scale(self) -> torch.Tensor:
        return torch.tensor(20.0, requires_grad=True)

    def train(self, mode: bool = True) -> FakeModel:
        self.training = mode
        return self


def held_out(count: int, seed: int) -> HeldOut:
    """Noisy class prototypes."""
    generator = torch.Generator().manual_seed(seed)
    prototypes = torch.rand(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(99))
    labels = torch.randint(0, 4, (count,), generator=generator)
    noise = torch.randn(count, 3, SIZE, SIZE, generator=generator) * 0.35
    images = ((prototypes[labels] + noise).clamp(0, 1) * 255).to(torch.uint8)
    captions = [f"a {CLASSES[label]} with number {row % 37}" for row, label in enumerate(labels.tolist())]
    return HeldOut(images, labels.numpy(), captions, np.arange(count) + 1000 * seed)


def stamp(images: torch.Tensor, ids: np.ndarray) -> torch.Tensor:
    stamped = images.clone()
    stamped[:, :, :2, :2] = torch.from_numpy(ids % 256).to(torch.uint8).view(-1, 1, 1, 1)
    return stamped


CLEAN = Condition("clean")
BADNET = Condition("badnet", TARGET, stamp)
TEST, SPLIT = held_out(150, seed=1), held_out(120, seed=2)


def run(model: FakeModel, wanted: Readouts | None = None, **changes: object) -> dict[str, pa.Table]:
    arguments = {
        "class_names": CLASSES,
        "templates": TEMPLATES,
        "readouts": wanted or Readouts(knn_neighbours=7, retrieval_pairs=60),
        "clean": SPLIT,
        "target": TARGET,
        "batch_size": 64,
    } | changes
    return evaluate(model, TEST, [CLEAN, BADNET], **arguments).outcomes


def rows(outcomes: dict[str, pa.Table], condition: str, readout: str) -> dict[str, np.ndarray]:
    frame = outcomes[condition].to_pandas()
    part = frame[(frame["readout"] == readout) & (frame["condition"] == condition)]
    return {name: part[name].to_numpy() for name in part}


def features_of(split: HeldOut, condition: Condition = CLEAN) -> np.ndarray:
    return encode(FakeModel(), split, condition, batch_size=1000).numpy()
