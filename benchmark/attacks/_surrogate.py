"""What an attacker reads off a clean model of its own: embeddings, and which rows to poison by how it sees them.

Selection: Liang et al., CVPR 2024, arXiv 2311.12075, section 4 (a third each of boundary, furthest and random samples).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from benchmark.errors import NotApplicable

if TYPE_CHECKING:
    import numpy as np
    import torch

    from benchmark.types import Model, PoisonContext

PROMPTS, ENCODE_BATCH = 80, 256

Selection = Literal["mixed", "boundary", "furthest", "nearest", "random"]


class Nearness(NamedTuple):
    """Per row of the pool, how a zero-shot head sees it."""

    similarity: np.ndarray  # (N,) cosine to the prompts of the target
    gap: np.ndarray  # (N,) what the best class has more than the target; inf where the target is the best


def frozen(surrogate: Model) -> Model:
    """A copy in evaluation mode whose weights ask for no gradient."""
    model = surrogate.clone().eval()
    model.network.requires_grad_(False)
    return model


def embedded(model: Model, ctx: PoisonContext, rows: np.ndarray) -> torch.Tensor:
    """(N, D) embeddings of the images of rows, without gradient."""
    import torch

    starts = range(0, len(rows), ENCODE_BATCH)
    with torch.no_grad():
        return torch.cat([model.encode_images(ctx.images(rows[at : at + ENCODE_BATCH])) for at in starts])


def nearness(ctx: PoisonContext, target: str) -> Nearness:
    """How near the surrogate sees every row of the pool to the target.

    Raises:
        NotApplicable: fewer than two class names.
    """
    import numpy as np
    import torch
    from torch.nn.functional import normalize

    if len(ctx.class_names) < 2:
        raise NotApplicable("selection by a zero-shot head needs class names; choose selection=random")
    model = frozen(ctx.surrogate)

    def head(name: str) -> torch.Tensor:
        prompts = sorted(set(ctx.target_captions(name, PROMPTS, templates="as_published")))
        with torch.no_grad():
            return normalize(model.encode_captions(prompts).mean(0), dim=0)

    heads = torch.stack([head(name) for name in ctx.class_names])
    cosine = (embedded(model, ctx, np.arange(ctx.num_rows)) @ heads.T).cpu().numpy()
    similarity = cosine[:, int((heads @ head(target)).argmax())]
    gap = cosine.max(1) - similarity
    return Nearness(similarity, np.where(gap > 0, gap, np.inf))


def selected(ctx: PoisonContext, target: str, count: int, *, by: Selection) -> np.ndarray:
    """(count,) distinct rows of the pool by how the surrogate sees them.

    Args:
        ctx: of the attack.
        target: the class.
        count: how many.
        by: "boundary": all but taken for the target; "furthest", "nearest": by cosine to it; "mixed": a third each of
            boundary, furthest and random.
    """
    import numpy as np

    shuffled = ctx.rng.permutation(ctx.num_rows)
    if by == "random":
        return shuffled[:count]
    similarity, gap = nearness(ctx, target)
    orders = {
        "boundary": np.argsort(gap, kind="stable"),  # the gap is infinite where the target wins
        "furthest": np.argsort(similarity, kind="stable"),
        "nearest": np.argsort(-similarity, kind="stable"),
        "random": shuffled,
    }
    if by != "mixed":
        return orders[by][:count]
    chosen = np.empty(0, np.int64)
    for part, kind in enumerate(("boundary", "furthest", "random"), start=1):
        fresh = orders[kind][~np.isin(orders[kind], chosen)]
        chosen = np.append(chosen, fresh[: count * part // 3 - len(chosen)])
    return chosen
