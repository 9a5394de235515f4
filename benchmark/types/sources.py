"""BibTeX entries that several methods share; an entry of one method stands in its own file."""

from __future__ import annotations

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
