"""BDetCLIP: a triggered image does not care whether a class is described or its name is drowned in nonsense.

Niu et al., ICML 2025, arXiv:2405.15269, section 4. Per class, benign texts describe it and malignant texts name it and
then ramble; each kind is averaged and normalised, b_c and m_c. Omega(x) = sum over classes of f(x) b_c - f(x) m_c; a
small Omega is suspicious, so the score is minus Omega.
Differs: texts are those of `bdetclip_prompts.toml`, frozen with this version and generic in the class name, where the
paper asks GPT-4 for seven descriptions and one random sentence for each class of its data sets and uses 80 templates.
The threshold is the engine's, from clean reference images.
Limits: the sum over classes makes Omega the projection of an image on one direction for all images. Of many classes, it
is what descriptions have and nonsense lacks; of ten, and under a text tower that knows little but their names, another
draw of nonsense gives another direction, and an AUROC on either side of a half.
Reference code: github.com/Purshow/BDetCLIP_badCLIP, the authors', at 3d457a1 (src/evaluate.py); a re-implementation,
github.com/jsrdcht/SSL-Backdoor at 138b78c (ssl_backdoor/defenses/bdetclip/evaluation.py, prompts.py).
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from benchmark.types import Card, DefenderContext, InputDetector, Model, State

if TYPE_CHECKING:
    import torch

BIBTEX = """
@inproceedings{niu2025bdetclip,
  title = {Test-Time Multimodal Backdoor Detection by Contrastive Prompting},
  author = {Niu, Yuwei and He, Shuo and Wei, Qi and Wu, Zongyu and Liu, Feng and Feng, Lei},
  booktitle = {International Conference on Machine Learning (ICML)},
  year = {2025}, eprint = {2405.15269}, archiveprefix = {arXiv},
}
"""

PROMPTS = Path(__file__).with_name("bdetclip_prompts.toml")


class Prompts(NamedTuple):
    """The frozen texts."""

    version: int
    benign: tuple[str, ...]  # with "{}" for the class
    templates: tuple[str, ...]  # with "{}" for the class
    malignant: tuple[str, ...]


class BDetCLIP(InputDetector):
    """Minus the summed drop in similarity from descriptions of the classes to nonsense about them."""

    name: ClassVar[str] = "bdetclip"
    version: ClassVar[int] = 1  # that of the prompts
    card: ClassVar[Card] = Card(
        title="BDetCLIP",
        citation="arXiv:2405.15269",
        bibtex=BIBTEX,
        access="outputs",
        needs=frozenset({"class_names"}),
        external=("texts by a language model, frozen",),
        summary="Insensitivity to benign against malignant class texts; one forward pass an image.",
    )

    def fit(self, model: Model, ctx: DefenderContext) -> State:
        """ "direction" (D,) float32: the sum over classes of b_c - m_c."""
        prompts = read_prompts()
        benign, malignant = [], []
        for index, name in enumerate(ctx.class_names):
            nonsense = prompts.malignant[index % len(prompts.malignant)]
            benign.append([text.replace("{}", name) for text in prompts.benign])
            malignant.append([f"{text.replace('{}', name)}, {nonsense}" for text in prompts.templates])
        return {"direction": (class_means(model, benign) - class_means(model, malignant)).sum(0)}

    def score(self, model: Model, images: torch.Tensor, state: State, ctx: DefenderContext) -> torch.Tensor:
        """(B,) float32; see `InputDetector.score`."""
        import torch

        with torch.no_grad():
            return -(ctx.encode_images(model, images) @ state["direction"])


def read_prompts() -> Prompts:
    """Reads the frozen texts."""
    found = tomllib.loads(PROMPTS.read_text(encoding="utf-8"))
    return Prompts(found["version"], *(tuple(found[name]) for name in Prompts._fields[1:]))


def class_means(model: Model, texts: list[list[str]]) -> torch.Tensor:
    """(C, D): per class the normalised mean of its texts' embeddings; every class has as many texts."""
    import torch
    from torch.nn import functional

    with torch.no_grad():
        embeddings = torch.cat([model.encode_captions(each) for each in texts])
    return functional.normalize(embeddings.unflatten(0, (len(texts), -1)).mean(1), dim=1)
