"""Input sizes of models are known without torch and open_clip."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmark.errors import UnknownNameError
from benchmark.models.architectures import TINY, image_size, threads_for

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("name", "size"), [("ViT-B-32", 224), ("ViT-L-14-336", 336), ("RN50x4", 288), ("tiny-resnet", 32), ("tiny-vit", 32)]
)
def test_known_sizes(name: str, size: int) -> None:
    assert image_size(name) == size


def test_asking_loads_nothing_heavy() -> None:
    code = (
        "import sys; from benchmark.models.architectures import image_size; assert image_size('ViT-B-32') == 224; "
        "print([name for name in ('torch', 'open_clip', 'ray') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_unknown_models_are_named_with_the_closest() -> None:
    with pytest.raises(UnknownNameError, match="unknown model 'ViT-B32'; did you mean ViT-B-32"):
        image_size("ViT-B32")
    with pytest.raises(UnknownNameError, match="did you mean tiny-resnet"):
        image_size("tiny-resnt")


def test_tiny_configurations_differ_in_batch_norm() -> None:
    assert isinstance(TINY["tiny-resnet"]["vision_cfg"]["layers"], tuple)  # a ResNet, which has BatchNorm
    assert isinstance(TINY["tiny-vit"]["vision_cfg"]["layers"], int)


@pytest.mark.parametrize(
    ("names", "environment", "threads"),
    [
        (["tiny-resnet"], {}, 1),
        (["tiny-resnet", "tiny-vit"], {"OMP_PROC_BIND": "true"}, 1),
        (["tiny-resnet", "small-resnet"], {}, None),
        (["RN50"], {}, None),
        (["tiny-resnet"], {"OMP_NUM_THREADS": "2"}, None),
    ],
    ids=["tiny", "all tiny", "the largest decides", "large", "the user decides"],
)
def test_tiny_models_run_on_one_thread(names: list[str], environment: dict[str, str], threads: int | None) -> None:
    assert threads_for(names, environment) == threads
