"""Words of captions: those that carry the link to an image, and those that name a class, by which accuracy is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmark.text import whole_word
from benchmark.types import Model, RepairContext

if TYPE_CHECKING:
    import torch

LEAST_NAMED = 32  # images of a named class, from how many on their accuracy counts


def carrying(model: Model, images: torch.Tensor, captions: Sequence[str], count: int) -> list[str]:
    """The words of each caption, in order, without which it fits its image least: (n,) partial captions."""
    import torch

    partial = []
    with torch.no_grad():
        for embedding, caption in zip(model.encode_images(images), captions, strict=True):
            words = caption.split()
            if len(words) <= count:
                partial.append(caption)
                continue
            without = [" ".join(words[:place] + words[place + 1 :]) for place in range(len(words))]
            fits = model.encode_captions(without) @ embedding
            partial.append(" ".join(words[place] for place in sorted(fits.argsort()[:count].tolist())))
    return partial


def named(captions: Sequence[str], class_names: Sequence[str]) -> torch.Tensor:
    """(n,) int64: the one class that a caption names as a word; -1 where it names none or several."""
    import torch

    words = [whole_word(name) for name in class_names]
    hits = [[label for label, word in enumerate(words) if word.search(caption)] for caption in captions]
    return torch.tensor([found[0] if len(found) == 1 else -1 for found in hits])


def accuracy(model: Model, images: torch.Tensor, labels: torch.Tensor, ctx: RepairContext) -> float:
    """Zero-shot accuracy where there are labels; NaN, which compares as no drop, where there are too few."""
    import torch

    known = labels >= 0
    if int(known.sum()) < LEAST_NAMED:
        return float("nan")
    with torch.no_grad():
        predicted = (model.encode_images(images[known]) @ ctx.head(model).T).argmax(1).cpu()
    return float((predicted == labels[known]).float().mean())
