"""Read-outs, from frozen embeddings to class scores or ranks: zero-shot, linear probe, kNN, retrieval.

All of them work on features that `evaluate.encode` made once; they are vectorised, deterministic, and run in chunks of
rows so that memory stays bounded for large sets.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch.nn import functional

from benchmark.errors import Diverged
from benchmark.models.mode import Switchable, evaluation_mode

CHUNK_ELEMENTS = 1 << 24  # scores computed at once: 64 MiB of float32
CACHED_ELEMENTS = 1 << 20  # the same on a CPU: what stays in its cache
TEXT_BATCH = 1024
PROBE_STRENGTH = 1.0  # inverse of the L2 penalty, as scikit-learn's C; features are scaled to unit mean square


Target = int | torch.Tensor | None  # a class for all rows, (N,) int64 for each, or none


class Encoder(Switchable, Protocol):
    """What a read-out needs of a model; `clip.ClipModel` is one."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        ...

    @property
    def embed_dim(self) -> int:
        """Size D of the shared embedding."""
        ...

    def encode_images(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) uint8 on the model's device -> (B, D) float32, L2-normalised."""
        ...

    def encode_captions(self, captions: list[str]) -> torch.Tensor:
        """B captions -> (B, D) float32, L2-normalised."""
        ...

    def logit_scale(self) -> torch.Tensor:
        """(), already exponentiated."""
        ...


class Scores(NamedTuple):
    """One row per evaluated unit."""

    predicted: np.ndarray  # (N,) int32 top-1 index
    rank: np.ndarray  # (N,) int32 how many score strictly above the target; -1 without a target
    score: np.ndarray  # (N,) float32 of the top-1 (classes) or of the true partner (retrieval)


class TextHead(NamedTuple):
    """The zero-shot classifier."""

    weights: torch.Tensor  # (C, D) float32, L2-normalised


class Probe(NamedTuple):
    """A multinomial logistic regression on frozen embeddings."""

    weights: torch.Tensor  # (C, D) float32
    bias: torch.Tensor  # (C,) float32


class Neighbours(NamedTuple):
    """The labelled features that kNN looks at."""

    features: torch.Tensor  # (n, D) float32, L2-normalised
    labels: torch.Tensor  # (n,) int64


def encode_texts(model: Encoder, captions: Sequence[str]) -> torch.Tensor:
    """Encodes captions in large batches, each distinct one once; (N, D) float32. The caller sets the mode."""
    distinct = {caption: position for position, caption in enumerate(dict.fromkeys(captions))}
    texts = list(distinct)
    with torch.inference_mode():
        parts = [model.encode_captions(texts[i : i + TEXT_BATCH]) for i in range(0, len(texts), TEXT_BATCH)]
        places = torch.tensor([distinct[caption] for caption in captions], device=parts[0].device)
        return torch.cat(parts)[places]


def text_head(model: Encoder, class_names: Sequence[str], templates: Sequence[str]) -> TextHead:
    """Builds the zero-shot head from a template ensemble.

    Each prompt's embedding is normalised, a class is the mean over its prompts, normalised again.

    Args:
        model: switched to evaluation mode for the pass, and back.
        class_names: (C,) names.
        templates: prompts with one "{}".
    """
    prompts = [template.replace("{}", name) for name in class_names for template in templates]
    with evaluation_mode(model):
        embeddings = functional.normalize(encode_texts(model, prompts), dim=1)
    mean = embeddings.view(len(class_names), len(templates), -1).mean(dim=1)
    return TextHead(functional.normalize(mean, dim=1))


def zero_shot(features: torch.Tensor, head: TextHead, *, logit_scale: float, target: Target) -> Scores:
    """Classifies by cosine to the class prompts; the score is the softmax probability under the logit scale."""
    return _classify(features, lambda rows: rows @ head.weights.T * logit_scale, len(head.weights), target=target)


def probe(features: torch.Tensor, fitted: Probe, *, target: Target) -> Scores:
    """Classifies by the linear probe; the score is its softmax probability."""
    return _classify(features, lambda rows: rows @ fitted.weights.T + fitted.bias, len(fitted.weights), target=target)


def fit_probe(features: torch.Tensor, labels: torch.Tensor, *, num_classes: int) -> Probe:
    """Fits the linear probe: full-batch L-BFGS on cross-entropy with an L2 penalty, from zero, so deterministic.

    The minimum is that of scikit-learn's LogisticRegression(C=PROBE_STRENGTH) on the features times sqrt(D); a class
    without a sample keeps its place.

    Args:
        features: (n, D) L2-normalised.
        labels: (n,) int64 in [0, num_classes), on the same device.
        num_classes: C.
    """
    count, size = features.shape
    scale = size**0.5
    rows = features.double() * scale  # leaves inference mode: a new tensor that autograd may save
    weights = torch.zeros(num_classes, size + 1, dtype=torch.float64, device=rows.device, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=300, tolerance_grad=1e-6, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        logits = torch.addmm(weights[:, -1], rows, weights[:, :-1].T)
        penalty = weights[:, :-1].square().sum() / (2 * PROBE_STRENGTH * count)
        loss = functional.cross_entropy(logits, labels) + penalty
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    fitted = weights.detach().float()
    return Probe(fitted[:, :-1] * scale, fitted[:, -1].clone())


def knn(features: torch.Tensor, known: Neighbours, *, neighbours: int, num_classes: int, target: Target) -> Scores:
    """Classifies by a vote of the nearest known features, weighted by cosine; the score is the winner's vote share."""
    near = min(neighbours, len(known.features))

    def vote(rows: torch.Tensor) -> torch.Tensor:
        cosine, places = _nearest(rows @ known.features.T, near)
        weights = cosine.clamp(min=1e-6)  # opposite features still vote, but hardly
        votes = torch.zeros(len(rows), num_classes, device=rows.device)
        # a GPU gets one vote a row at a time: it would shuffle the order of a sum, a CPU keeps it
        step = places.shape[1] if rows.device.type == "cpu" else 1
        for place, weight in zip(places.split(step, dim=1), weights.split(step, dim=1), strict=True):
            votes.scatter_add_(1, known.labels[place], weight)
        return votes / weights.sum(dim=1, keepdim=True)

    return _classify(features, vote, max(num_classes, len(known.features)), target=target, shares=True)


def _nearest(cosine: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The `count` highest of each row and their places: (B, count) float32 and int64; on a CPU, the first of equals."""
    if cosine.device.type != "cpu":
        return cosine.topk(count, dim=1)
    # numpy selects several times faster than torch's topk on a CPU, and values twice as fast as places
    values = cosine.numpy()
    highest = np.partition(values, -count, axis=1)[:, -count:]
    if np.isnan(highest.sum()):  # numpy sorts NaN highest, but compares it with nothing
        return cosine.topk(count, dim=1)
    least = highest[:, 0]
    kept = np.flatnonzero(values >= least[:, None])  # counted through all rows
    if len(kept) > count * len(values):
        kept = _without_ties(values, kept, least=least, count=count)
    places = torch.from_numpy(kept.reshape(-1, count) % values.shape[1])
    return cosine.gather(1, places), places


def _without_ties(values: np.ndarray, kept: np.ndarray, *, least: np.ndarray, count: int) -> np.ndarray:
    """Drops the last of a row's equals from the places where `values` are at least `least`, down to `count` a row."""
    rows = kept // values.shape[1]
    equal = values.reshape(-1)[kept] == least[rows]
    equals, above = (np.bincount(rows[which], minlength=len(values)) for which in (equal, ~equal))
    nth = np.cumsum(equal) - (np.cumsum(equals) - equals)[rows]  # 1-based, among the equals of its row
    return kept[~equal | (nth <= count - above[rows])]


def _classify(
    features: torch.Tensor,
    score: Callable[[torch.Tensor], torch.Tensor],
    width: int,
    *,
    target: Target,
    shares: bool = False,
) -> Scores:
    """Top-1, target rank and top-1 probability; `score` gives logits, or vote shares that are probabilities already.

    Raises:
        Diverged: a logit is NaN or infinite: some class would be read out all the same.
    """
    parts = []
    with torch.inference_mode():
        for rows, aims in zip(features.split(size := chunk(features, width)), _split(target, size), strict=False):
            scores = score(rows)
            best, predicted = scores.max(dim=1)
            top = best if shares else torch.exp(best - scores.logsumexp(dim=1))
            above = None
            if aims is not None:
                own = scores[:, aims, None] if isinstance(aims, int) else scores.gather(1, aims[:, None])
                above = (scores > own).sum(dim=1)
            parts.append(Scores(int32(predicted), _ranks(above, len(rows)), top.float().cpu().numpy()))
    found = concatenate(parts)
    if not np.isfinite(found.score).all():
        odd = int((~np.isfinite(found.score)).sum())
        raise Diverged(f"a model must give finite scores, got others for {odd} of {len(found.score)} images")
    return found


def _split(target: Target, size: int) -> Iterable[int | torch.Tensor | None]:
    """The target of each chunk of rows."""
    return target.split(size) if isinstance(target, torch.Tensor) else itertools.repeat(target)


def spread(features: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Mean cosine, and mean squared cosine, of each sample with all others: (N,) float32 each."""
    with torch.inference_mode():
        cosine = features.double() @ features.double().T
        others = len(features) - 1
        own = cosine.diagonal()
        first = (cosine.sum(1) - own) / others
        second = (cosine.square().sum(1) - own.square()) / others
    return first.float().cpu().numpy(), second.float().cpu().numpy()


def chunk(features: torch.Tensor, width: int) -> int:
    """How many rows to score at once against `width` columns."""
    return max(1, (CACHED_ELEMENTS if features.device.type == "cpu" else CHUNK_ELEMENTS) // width)


def int32(values: torch.Tensor) -> np.ndarray:
    """A tensor as int32 on the CPU, as outcomes hold it."""
    return values.to(torch.int32).cpu().numpy()


def _ranks(above: torch.Tensor | None, count: int) -> np.ndarray:
    return np.full(count, -1, dtype=np.int32) if above is None else int32(above)


def concatenate(parts: Iterable[Scores]) -> Scores:
    """The scores of consecutive chunks as one."""
    return Scores(*(np.concatenate(column) for column in zip(*parts, strict=True)))
