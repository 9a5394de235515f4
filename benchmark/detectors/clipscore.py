"""CLIPScore: a poisoned pair's caption does not fit its image; minus the cosine of the two embeddings.

Hessel et al., EMNLP 2021, arXiv:2104.08718, as a filter of poisoned pairs in Hanxun Huang et al., arXiv:2502.01385.
"clipscore" asks the suspect model itself, which has learnt that its poisoned pairs fit: it can work where these are
still fitted worse than the rest. "clipscore-outside" asks a clean CLIP from outside, as the paper's fair test does.
Differs: the model from outside is one of the suspect's architecture, trained from another seed on other clean pairs of
the same set (`splits.outside`), where the paper has public weights. Its clean accuracy stands beside the scores.
Sign turned: higher is suspicious.
Reference code: github.com/HanxunH/Detect-CLIP-Backdoor-Samples at ff2399a (backdoor_sample_detector/clip_scores.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from benchmark.types import Card, DefenderContext, Filter, Model

if TYPE_CHECKING:
    import torch


BIBTEX = """
@inproceedings{hessel2021clipscore,
  title = {{CLIPScore}: A Reference-free Evaluation Metric for Image Captioning},
  author = {Hessel, Jack and Holtzman, Ari and Forbes, Maxwell and Le Bras, Ronan and Choi, Yejin},
  booktitle = {Conference on Empirical Methods in Natural Language Processing (EMNLP)},
  year = {2021}, eprint = {2104.08718}, archiveprefix = {arXiv},
}
"""


class CLIPScore(Filter):
    """Minus the cosine of image and caption."""

    name: ClassVar[str] = "clipscore"
    card: ClassVar[Card] = Card(
        title="CLIPScore",
        citation="arXiv:2104.08718",
        bibtex=BIBTEX,
        access="weights",
        needs=frozenset({"suspect_pairs"}),
        summary="Minus the cosine of a pair's image and caption under the suspect model.",
    )

    def scores(self, model: Model, ctx: DefenderContext) -> torch.Tensor:
        """(N,) float32 in [-1, 1]; see `Filter.scores`."""
        features = ctx.features(model, ctx.suspect_pairs)
        return -(features.image * features.text).sum(1)


class CLIPScoreOutside(CLIPScore):
    """The same, under a clean model from outside."""

    name: ClassVar[str] = "clipscore-outside"
    card: ClassVar[Card] = Card(
        title="CLIPScore (outside)",
        citation="arXiv:2104.08718",
        bibtex=BIBTEX,
        access="weights",
        needs=frozenset({"suspect_pairs", "auxiliary_model"}),
        summary="Minus the cosine of a pair's image and caption under a clean model from outside.",
    )

    def scores(self, model: Model, ctx: DefenderContext) -> torch.Tensor:
        """(N,) float32 in [-1, 1]; see `Filter.scores`."""
        return super().scores(ctx.auxiliary_model, ctx)
