"""Label-consistent: images of the target class get a patch and keep their captions.

Turner et al. 2019, arXiv 1912.02771 (the idea); on CLIP: CleanCLIP, arXiv 2303.03323, appendix, with BadNet's patch.
Variant "as_intended" chooses among the pairs of the target class: by label, else by captions that hold the target as a
word. "as_released" chooses among captions that hold it as any substring ("ant" in "elephant"), case and all.
Differs: Turner et al. make the images harder to learn first (perturbation or interpolation); no paper on CLIP does.
Where fewer pairs name the target than `poison_rate` asks for, all of them are taken, as in the released code.
Reference code: github.com/nishadsinghi/CleanCLIP at d6e2f1d, github.com/LiangSiyuan21/BadCLIP at a7b1876
(backdoor/create_backdoor_data.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from benchmark.attacks.badnet import BadNet
from benchmark.errors import NotApplicable
from benchmark.types import Card, PoisonContext, PoisonRows, Published
from benchmark.types.sources import RECIPE_RATE, RELEASED

if TYPE_CHECKING:
    import numpy as np


BIBTEX = """
@article{turner2019label,
  title = {Label-Consistent Backdoor Attacks},
  author = {Turner, Alexander and Tsipras, Dimitris and Madry, Aleksander},
  journal = {arXiv preprint arXiv:1912.02771},
  year = {2019}, eprint = {1912.02771}, archiveprefix = {arXiv},
}
"""


class LabelConsistent(BadNet):
    """BadNet's trigger on pairs that name the target anyway."""

    name: ClassVar[str] = "label-consistent"
    card: ClassVar[Card] = Card(
        title="Label-consistent",
        citation="arXiv:1912.02771",
        bibtex=BIBTEX,
        access="data",
        summary="Opaque patch on images of the target class; captions unchanged.",
        differs=(
            RECIPE_RATE,
            Published(field="mode", value="fresh", source="CleanCLIP's code"),
            Published(field="location", value="random", source="CleanCLIP's code"),
            RELEASED,
        ),
    )

    variant: Literal["as_intended", "as_released"] = "as_intended"

    def poison(self, ctx: PoisonContext) -> PoisonRows:
        """Random rows among those of the target, with their own captions."""
        import numpy as np

        found = ctx.rows_naming(self.target) if self.variant == "as_intended" else _holding(self.target, ctx)
        if not len(found):
            raise NotApplicable(f"label-consistent needs pairs of {self.target!r}; this set has none")
        count = min(len(found), self.num_poisoned(ctx.num_rows))
        rows = np.sort(ctx.rng.choice(found, size=count, replace=False)).astype(np.int64)
        return PoisonRows(rows, ctx.captions(rows), rows)


def _holding(text: str, ctx: PoisonContext) -> np.ndarray:
    """(K,) int64 rows whose captions hold the text anywhere."""
    import numpy as np

    captions = ctx.captions(np.arange(ctx.num_rows))
    return np.flatnonzero([text in caption for caption in captions])
