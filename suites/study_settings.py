"""What the published suites share: ImageNet-1K as the judge, the noise patch of the released code, read-outs, gate."""

from __future__ import annotations

from benchmark.attacks.badnet import BadNet
from benchmark.config.spec import Gate, Readouts
from benchmark.datasets.known import ImageNet1K
from suites.openai_prompts import OPENAI_PROMPTS

TARGET = "banana"  # ImageNet class 954; CleanCLIP's code, which the later studies follow

# Test is all of ImageNet's validation images; what selects is drawn from its training images, where the studies
# selected on test. Class names are the first synonyms of the set, not the edited list of CLIP's authors.
NUM_VALIDATION, NUM_TEST = 10_000, 50_000

# Clean pairs have no labels, so that neither probe nor neighbours can be fitted; ImageNet has no captions to retrieve.
READOUTS = Readouts(probe=False, knn=False, retrieval=False, squash=True)

# Ours: the studies repair whatever they trained. At 1.5 points a poisoned model is as good as its twin.
GATE = Gate(min_asr=0.8, max_accuracy_drop=0.015)


def imagenet() -> ImageNet1K:
    """ImageNet-1K under the 80 prompts of CLIP's authors."""
    return ImageNet1K(evaluation_templates=OPENAI_PROMPTS)


def badnet(num_poisons: int, num_pairs: int) -> BadNet:
    """The released patch: 16 px of uniform noise, drawn anew for each image, anywhere; captions from the test prompts.

    CleanCLIP's code at d6e2f1d (backdoor/utils.py): a patch that is not clipped wraps to uniform noise.
    """
    return BadNet(
        target=TARGET,
        templates="as_published",
        poison_rate=num_poisons / num_pairs,
        size=16,
        pattern="uniform",
        mode="fresh",
        location="random",
    )
