"""What several cards share: BibTeX entries, and published values; those of one method stand in its own file."""

from __future__ import annotations

from benchmark.types.base import Published

RELEASED = Published(field="variant", value="as_released", source="the released code")
RECIPE_RATE = Published(field="poison_rate", value=0.003, source="CleanCLIP on CLIP's weights: 1,500 of 500,000 pairs")
RECIPE = (
    RECIPE_RATE,
    Published(field="templates", value="as_published", source="CleanCLIP's code: captions from prompts of evaluation"),
)

CLEANCLIP = """
@inproceedings{bansal2023cleanclip,
  title = {{CleanCLIP}: Mitigating Data Poisoning Attacks in Multimodal Contrastive Learning},
  author = {Bansal, Hritik and Singhi, Nishad and Yang, Yu and Yin, Fan and Grover, Aditya and Chang, Kai-Wei},
  booktitle = {IEEE/CVF International Conference on Computer Vision (ICCV)},
  year = {2023}, eprint = {2303.03323}, archiveprefix = {arXiv},
}
"""

VERMA = """
@article{verma2025effective,
  title = {Effective Backdoor Mitigation in Vision-Language Models Depends on the Pre-training Objective},
  author = {Verma, Sahil and Bhatt, Gantavya and Schwarzschild, Avi and Singhal, Soumye and Das, Arnav Mohanty and
    Shah, Chirag and Dickerson, John P. and Chen, Pin-Yu and Bilmes, Jeff},
  journal = {Transactions on Machine Learning Research (TMLR)},
  year = {2025}, eprint = {2311.14948}, archiveprefix = {arXiv},
}
"""

HUANG = """
@inproceedings{huang2025detecting,
  title = {Detecting Backdoor Samples in Contrastive Language Image Pretraining},
  author = {Huang, Hanxun and Erfani, Sarah and Li, Yige and Ma, Xingjun and Bailey, James},
  booktitle = {International Conference on Learning Representations (ICLR)},
  year = {2025}, eprint = {2502.01385}, archiveprefix = {arXiv},
}
"""
