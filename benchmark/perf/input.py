"""Input: pairs prepared by our path and by one as CleanCLIP's released code has it.

The baseline opens and decodes every photograph twice a step (once for the base, once for the augmented view),
augments with torchvision's AutoAugment on the CPU, and resizes, crops and normalises each copy on its own; captions and
their augmented copies are tokenized once before training, so its text costs nothing here, while ours is drawn anew in
every epoch. Both sides use one thread and end in normalised float batches with tokens.
Facts of the baseline: github.com/nishadsinghi/CleanCLIP at c19dfc4 (src/data.py).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmark.config.spec import ModelSpec
from benchmark.data.pools import CachedPool
from benchmark.data.text_augmentation import augment_captions
from benchmark.models.clip import ClipModel, build
from benchmark.objectives.mmcl_ssl import MMCLSSL
from benchmark.perf.photos import SIZE, Photos, decoded, load_photos
from benchmark.perf.report import Line, Settings, at_least, in_turn, seconds
from benchmark.perf.training import BareStep, Resident, epochs_in_turn
from benchmark.training.views import make_inputs
from benchmark.types import Training

PAIRS, BATCH, EPOCHS = 2560, 128, 10  # epochs that one decoding serves: those of the suite `smoke`
REPEATS = 4
Sample = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


class TwoDecodes(Dataset[Sample]):
    """The baseline's data set."""

    def __init__(self, photos: Photos, model: ClipModel) -> None:
        rows = np.arange(len(photos.captions))
        self._encoded = photos.encoded
        self._tokens = model.tokenize(photos.captions)
        self._augmented = model.tokenize(augment_captions(photos.captions, rows, seed=0, epoch=None))
        bicubic = transforms.InterpolationMode.BICUBIC
        self._augment: Callable[[Image.Image], Image.Image] = transforms.AutoAugment(
            transforms.AutoAugmentPolicy.IMAGENET
        )
        self._process: Callable[[Image.Image], torch.Tensor] = transforms.Compose(
            [
                transforms.Resize(SIZE, interpolation=bicubic),
                transforms.CenterCrop(SIZE),
                transforms.ToTensor(),
                transforms.Normalize(model.mean.tolist(), model.std.tolist()),
            ]
        )

    def __len__(self) -> int:
        return len(self._encoded)

    def __getitem__(self, row: int) -> Sample:
        base, copy = self._open(row), self._augment(self._open(row))
        return self._process(base), self._process(copy), self._tokens[row], self._augmented[row]

    def _open(self, row: int) -> Image.Image:
        return Image.open(io.BytesIO(self._encoded[row])).convert("RGB")


def run(settings: Settings) -> list[Line]:
    """Input alone, with and without the decoding that comes first, and end to end."""
    photos = load_photos(settings.data, PAIRS)
    model = build(ModelSpec(), seed=0)
    pool, published = decoded(photos), TwoDecodes(photos, model)
    decode_s = min(seconds(lambda: decoded(photos)) for _ in range(3))
    epochs = iter(range(1_000_000))  # a new epoch each time: new augmentations, new captions

    def ours() -> None:
        for _ in _ours(pool, model, next(epochs)):
            pass

    def baseline() -> None:
        for _ in _theirs(published):
            pass

    times = in_turn(ours, baseline, repeats=REPEATS)
    with_decoding = [(f"{EPOCHS} epochs, decoded once", decode_s / EPOCHS, 3.0), ("from the cache", 0.0, 3.0)]
    return [
        at_least(
            f"{what} (pairs/s)",
            f"{PAIRS / (times.ours + extra):,.0f}",
            f"{PAIRS / times.baseline:,.0f}",
            ratio=1 / (times.ratio + extra / times.baseline),
            limit=limit,
        )
        for what, extra, limit in with_decoding
    ] + [_end_to_end(pool, published)]


def _ours(pool: CachedPool, model: ClipModel, epoch: int) -> Iterator[Resident]:
    for batch in pool.epoch(seed=0, epoch=epoch, batch_size=BATCH):
        inputs = make_inputs(batch, MMCLSSL.views, model, seed=0, epoch=epoch, text_frozen=False)
        images = model.normalise(torch.cat(list(inputs.images.values())))
        yield Resident(images, torch.cat(list(inputs.tokens.values())), BATCH)


def _theirs(published: TwoDecodes) -> Iterator[Resident]:
    for base, copy, tokens, augmented in DataLoader(published, BATCH, shuffle=True, drop_last=True):
        images = torch.cat((base, copy)).contiguous(memory_format=torch.channels_last)
        yield Resident(images, torch.cat((tokens, augmented)), BATCH)


def _end_to_end(pool: CachedPool, published: TwoDecodes) -> Line:
    """Whole epochs of MMCL+SSL: our loop against the bare step behind the baseline's input."""
    training = Training(epochs=3, batch_size=BATCH, learning_rate=1e-3)
    bare = BareStep(MMCLSSL(), training)

    def epoch_of_theirs() -> None:
        for batch in _theirs(published):
            bare(batch)

    times = epochs_in_turn(pool, MMCLSSL(), training, epoch_of_theirs)
    rates = (f"{PAIRS / times.ours:,.0f}", f"{PAIRS / times.baseline:,.0f}")
    return Line("end to end, mmcl-ssl (pairs/s)", *rates, 1 / times.ratio)
