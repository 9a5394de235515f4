"""BDetCLIP by hand, its direction, and its frozen prompts."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmark.detectors.bdetclip import PROMPTS, BDetCLIP, class_means, read_prompts
from tests.helpers.detectors import Linear

pytestmark = pytest.mark.unit


def test_bdetclip_by_hand() -> None:
    class Texts:
        def encode_captions(self, captions: list[str]) -> torch.Tensor:
            seeds = [int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) for text in captions]
            rows = [torch.randn(6, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
            return torch.nn.functional.normalize(torch.stack(rows), dim=1)

    class Context(Linear):
        class_names = ("cat", "oak tree")

        def encode_images(self, model: Any, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(1)[:, :6]

    model, context, prompts = Texts(), Context(), read_prompts()
    images = torch.rand(3, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    detector = BDetCLIP()
    found = detector.score(model, images, detector.fit(model, context), context)  # pyright: ignore[reportArgumentType]
    omega = torch.zeros(3)
    for index, name in enumerate(Context.class_names):
        benign = [text.replace("{}", name) for text in prompts.benign]
        malignant = [text.replace("{}", name) + ", " + prompts.malignant[index] for text in prompts.templates]
        for texts, sign in ((benign, 1), (malignant, -1)):
            mean = model.encode_captions(texts).mean(0)
            omega += sign * context.encode_images(model, images) @ (mean / mean.norm())
    torch.testing.assert_close(found, -omega)
    assert class_means(model, [["a", "b"], ["c", "d"]]).norm(dim=1).tolist() == pytest.approx([1, 1])


def test_bdetclip_suspects_an_image_that_nonsense_leaves_alone() -> None:
    prompts, names = read_prompts(), ("cat", "oak tree", "ship")

    class Texts:
        """A description lies at its class, the class name before nonsense half way to a fourth axis."""

        def encode_captions(self, captions: list[str]) -> torch.Tensor:
            rows = torch.eye(5)[[next(i for i, name in enumerate(names) if name in text) for text in captions]]
            drowned = torch.tensor([any(text.endswith(end) for end in prompts.malignant) for text in captions])
            return torch.nn.functional.normalize(rows + drowned[:, None] * torch.eye(5)[3], dim=1)

    context: Any = SimpleNamespace(class_names=names, encode_images=lambda model, images: images.flatten(1)[:, :5])
    detector, model = BDetCLIP(), Texts()
    clean, triggered = torch.eye(5)[:3], torch.eye(5)[4:]  # of a class each; apart from all texts
    images = torch.cat([clean, triggered]).view(4, 5, 1, 1)
    scores = detector.score(model, images, detector.fit(model, context), context)
    torch.testing.assert_close(scores, torch.tensor([*[0.5**0.5 - 1] * 3, 0.0]))


def test_prompts_are_frozen_with_the_version() -> None:
    """Another text is another method: raise `version` in the file and in the class, then this hash."""
    assert read_prompts().version == BDetCLIP.version == 1
    assert hashlib.sha256(PROMPTS.read_bytes()).hexdigest()[:16] == "56f13fd5114185cf"
    prompts = read_prompts()
    assert all(text.count("{}") == 1 for text in (*prompts.benign, *prompts.templates))
    assert not any("{" in text for text in prompts.malignant)
    assert len(prompts.benign) == 7
