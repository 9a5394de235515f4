"""Known sets as configurations of `hf`: pinned revision, licence, citation, row counts, templates.

A `path` gives local files of the same layout instead of the hub. Row counts and columns: each set's hub page.
"""

from __future__ import annotations

from typing import ClassVar

from benchmark.datasets import _templates
from benchmark.datasets.hugging_face.dataset import HuggingFace
from benchmark.datasets.hugging_face.fields import Templates
from benchmark.types import Card

_KRIZHEVSKYLEARNING = """
@techreport{krizhevsky2009learning,
  title = {Learning Multiple Layers of Features from Tiny Images},
  author = {Krizhevsky, Alex},
  institution = {University of Toronto},
  year = {2009},
}
"""

_SHARMACONCEPTUAL = """
@inproceedings{sharma2018conceptual,
  title = {Conceptual Captions: A Cleaned, Hypernymed, Image Alt-text Dataset For Automatic Image Captioning},
  author = {Sharma, Piyush and Ding, Nan and Goodman, Sebastian and Soricut, Radu},
  booktitle = {Annual Meeting of the Association for Computational Linguistics (ACL)},
  year = {2018},
}
"""

_CHANGPINYOCONCEPTUAL = """
@inproceedings{changpinyo2021conceptual,
  title = {Conceptual {12M}: Pushing Web-Scale Image-Text Pre-Training To Recognize Long-Tail Visual Concepts},
  author = {Changpinyo, Soravit and Sharma, Piyush and Ding, Nan and Soricut, Radu},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  year = {2021}, eprint = {2102.08981}, archiveprefix = {arXiv},
}
"""

_CHENCOCO = """
@article{chen2015coco,
  title = {Microsoft {COCO} Captions: Data Collection and Evaluation Server},
  author = {Chen, Xinlei and Fang, Hao and Lin, Tsung-Yi and Vedantam, Ramakrishna and Gupta, Saurabh and Dollar,
    Piotr and Zitnick, C. Lawrence},
  journal = {arXiv preprint arXiv:1504.00325},
  year = {2015}, eprint = {1504.00325}, archiveprefix = {arXiv},
}
"""

_RUSSAKOVSKYIMAGENET = """
@article{russakovsky2015imagenet,
  title = {{ImageNet} Large Scale Visual Recognition Challenge},
  author = {Russakovsky, Olga and Deng, Jia and Su, Hao and Krause, Jonathan and Satheesh, Sanjeev and Ma, Sean and
    Huang, Zhiheng and Karpathy, Andrej and Khosla, Aditya and Bernstein, Michael and Berg, Alexander C. and
    Fei-Fei, Li},
  journal = {International Journal of Computer Vision},
  year = {2015}, eprint = {1409.0575}, archiveprefix = {arXiv},
}
"""


class Cifar10(HuggingFace):
    """CIFAR-10: 60,000 photographs of 32 x 32 pixels in ten classes."""

    name: ClassVar[str] = "cifar10"
    card: ClassVar[Card] = Card(
        title="CIFAR-10",
        citation="Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images",
        bibtex=_KRIZHEVSKYLEARNING,
        access="data",
        summary="labelled photographs of 32 px in ten classes; captions through templates",
    )

    hub: str | None = "uoft-cs/cifar10"
    hub_revision: str | None = "0b2714987fa478483af9968de7c934580d0bb9a2"
    image_column: str | None = "img"
    label_column: str | None = "label"
    test_split: str | None = "test"
    caption_templates: Templates = _templates.CIFAR10_CAPTIONS
    evaluation_templates: Templates = _templates.CIFAR10_PROMPTS
    expected_rows: dict[str, int] = {"train": 50_000, "test": 10_000}
    licence: str = "unknown (as stated on the hub)"
    citation: str = "Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images"


class CC3M(HuggingFace):
    """Conceptual Captions, the 2021 download: 2,905,954 pairs of the 3,318,333 links."""

    name: ClassVar[str] = "cc3m"
    card: ClassVar[Card] = Card(
        title="CC3M",
        citation="Sharma et al. 2018, Conceptual Captions, ACL",
        bibtex=_SHARMACONCEPTUAL,
        access="data",
        summary="photographs from the web with their alternative texts; WebDataset shards",
    )

    hub: str | None = "pixparse/cc3m-wds"
    hub_revision: str | None = "46f3d69f840e59d77d52e8decfe5baec97e94c7f"
    image_column: str | None = "jpg"
    caption_column: str | None = "txt"
    key_column: str | None = "__key__"
    streaming: bool = True
    held_out_window: int | None = 100_000
    expected_rows: dict[str, int] = {"train": 2_905_954}
    licence: str = "conceptual-captions (free for any purpose, acknowledgement asked; images keep their own terms)"
    citation: str = "Sharma, Ding, Goodman, Soricut 2018, Conceptual Captions, ACL"


class CC12M(HuggingFace):
    """Conceptual 12M, the 2023 download: just under eleven of the twelve million links."""

    name: ClassVar[str] = "cc12m"
    card: ClassVar[Card] = Card(
        title="CC12M",
        citation="arXiv:2102.08981",
        bibtex=_CHANGPINYOCONCEPTUAL,
        access="data",
        summary="photographs from the web with their alternative texts; WebDataset shards",
    )

    hub: str | None = "pixparse/cc12m-wds"
    hub_revision: str | None = "796118f2eabdb9984f23f7f15d1e74d388612fc6"
    image_column: str | None = "jpg"
    caption_column: str | None = "txt"
    key_column: str | None = "__key__"
    streaming: bool = True
    held_out_window: int | None = 100_000
    expected_rows: dict[str, int] = {"train": 10_968_539}
    licence: str = "conceptual-12m (free for any purpose, acknowledgement asked; images keep their own terms)"
    citation: str = "Changpinyo, Sharma, Ding, Soricut 2021, Conceptual 12M, arXiv:2102.08981"


class CocoCaptions(HuggingFace):
    """COCO captions in Karpathy's splits, one row per caption; rows of one image stay in one split."""

    name: ClassVar[str] = "coco-captions"
    card: ClassVar[Card] = Card(
        title="COCO captions",
        citation="arXiv:1504.00325",
        bibtex=_CHENCOCO,
        access="data",
        summary="photographs with about five human captions each, Karpathy's splits",
    )

    hub: str | None = "jxie/coco_captions"
    hub_revision: str | None = "a2ed90d49b61dd13dd71f399c70f5feb897f8bec"
    image_column: str | None = "image"
    caption_column: str | None = "caption"
    key_column: str | None = "filename"
    group_column: str | None = "cocoid"
    test_split: str | None = "test"
    expected_rows: dict[str, int] = {"train": 566_747, "test": 25_010}
    licence: str = "captions CC BY 4.0; images under Flickr's terms of use"
    citation: str = "Chen et al. 2015, Microsoft COCO Captions, arXiv:1504.00325; splits: arXiv:1412.2306"


class ImageNet1K(HuggingFace):
    """ImageNet-1K (ILSVRC 2012); its validation images are the fixed test split, since its test labels are hidden."""

    name: ClassVar[str] = "imagenet-1k"
    card: ClassVar[Card] = Card(
        title="ImageNet-1K",
        citation="arXiv:1409.0575",
        bibtex=_RUSSAKOVSKYIMAGENET,
        access="data",
        summary="labelled photographs in 1,000 classes; access on the hub is asked for first",
    )

    hub: str | None = "ILSVRC/imagenet-1k"
    hub_revision: str | None = "49e2ee26f3810fb5a7536bbf732a7b07389a47b5"
    image_column: str | None = "image"
    label_column: str | None = "label"
    test_split: str | None = "validation"
    caption_templates: Templates = _templates.IMAGENET_CAPTIONS
    evaluation_templates: Templates = _templates.IMAGENET_PROMPTS
    expected_rows: dict[str, int] = {"train": 1_281_167, "validation": 50_000}
    licence: str = "ImageNet terms of access: non-commercial research and education"
    citation: str = "Russakovsky et al. 2015, ImageNet Large Scale Visual Recognition Challenge, arXiv:1409.0575"

    def display_name(self, name: str) -> str:
        """The first of a class's synonyms."""
        return name.split(",")[0].strip()
