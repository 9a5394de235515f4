"""`cifar10-zoo`: the repairs and detectors against five attacks on photographs; `--set data.path=FOLDER`.

Published hyper-parameters are for models a hundred times larger that see a hundred times more pairs. What is adapted to
half a million weights, 32 pixels and 1,500 clean pairs stands beside each method; what is not named keeps its published
default. CleanCLIP is searched, nothing else is, and nothing is trained again after a filter.
"""

from __future__ import annotations

from benchmark.attacks.badclip_l import BadCLIPL
from benchmark.attacks.badnet import BadNet
from benchmark.attacks.blended import Blended
from benchmark.attacks.label_consistent import LabelConsistent
from benchmark.attacks.quantisation.attack import Quantisation
from benchmark.attacks.sig import SIG
from benchmark.attacks.tdpa import TDPA
from benchmark.attacks.wanet import WaNet
from benchmark.config.spec import Gate, Grid, ModelSpec, Search, Splits, Suite
from benchmark.datasets.known import Cifar10
from benchmark.detectors.bdetclip import BDetCLIP
from benchmark.detectors.clipscore import CLIPScore, CLIPScoreOutside
from benchmark.detectors.dao import DAO
from benchmark.detectors.decree import DECREE
from benchmark.detectors.slof import SLOF
from benchmark.detectors.strip import STRIP
from benchmark.objectives.abl import ABL
from benchmark.objectives.mmcl import MMCL
from benchmark.objectives.mmcl_ssl import MMCLSSL
from benchmark.objectives.roclip import RoCLIP
from benchmark.objectives.safeclip import SafeCLIP
from benchmark.objectives.siglip import SigLIP
from benchmark.repairs.batch_norm_only import BatchNormOnly
from benchmark.repairs.cleanclip import CleanCLIP
from benchmark.repairs.eftclip.repair import EftCLIP
from benchmark.repairs.fine_tuning import FineTuning
from benchmark.repairs.heavy_weight_decay import HeavyWeightDecay
from benchmark.repairs.invertune.repair import InverTune
from benchmark.repairs.par import PAR
from benchmark.repairs.rvpt import RVPT
from benchmark.repairs.shrink_and_perturb import ShrinkAndPerturb
from benchmark.repairs.ssl_only import SSLOnly
from benchmark.repairs.supervised_fine_tuning import SupervisedFineTuning
from benchmark.repairs.tbar import TBAR
from benchmark.repairs.ubt.repair import UBT
from benchmark.types import Range, Training

PATCH = {"size": 5, "pattern": "checkerboard"}
BADNET = BadNet(target="bird", poison_rate=0.02, **PATCH)
BLENDED = Blended(target="truck", poison_rate=0.02, strength=0.3, pattern="stripes")
TRAINING = Training(epochs=14, batch_size=128, learning_rate=2e-3, warmup_steps=60)
TUNING = {"epochs": 5, "learning_rate": 1e-3, "warmup_steps": 10}  # published: 1e-5, 10 epochs


def suite() -> Suite:
    """The suite; one seed."""
    return Suite(
        name="cifar10-zoo",
        title="CIFAR-10 zoo: repairs and detectors on photographs",
        data=Cifar10(),
        splits=Splits(pretrain=8000, clean=1000, validation=800, test=2000),
        model=ModelSpec(name="tiny-resnet"),
        pretrain=TRAINING,
        objectives=(
            MMCL(),
            MMCLSSL(),
            SigLIP(),
            # published: 5 and 1 of 32 epochs, 5e-6 for the slow one; here that teaches more, the trigger included
            SafeCLIP(
                unimodal_epochs=1,
                slow_epochs=4,
                slow_learning_rate=1e-3,
                bank_size=1024,
                safe_posterior=0.5,
                growth_rate=0.1,
            ),
            RoCLIP(every=3, bank_size=160),  # 2 % of the pairs
            RoCLIP(every=100, bank_size=160),  # the control: its augmentation alone
            # chosen by what it isolates of BadNet and Blended under another seed
            ABL(isolation_epochs=2, isolation_rate=0.01, unlearning_epochs=2, unlearning_learning_rate_share=0.4),
        ),
        attacks=(
            BADNET,
            BLENDED,
            WaNet(target="frog", poison_rate=0.08, strength=10, noise_ratio=0),  # 0.5 hardly moves a pixel of 32
            SIG(target="ship", poison_rate=0.03, amplitude=30),  # 60 is half of these images' contrast
            BadCLIPL(target="cat", poison_rate=0.03, size=7, num_images=1000, epochs=15, learning_rate=0.05),
        ),
        repairs=(
            FineTuning(**TUNING),
            SSLOnly(**TUNING),
            BatchNormOnly(epochs=5),
            CleanCLIP(**TUNING),
            SupervisedFineTuning(batch_size=80, learning_rate=1e-3, warmup_steps=20),
            HeavyWeightDecay(batch_size=128, learning_rate=1e-3, weight_decay=30, warmup_steps=10, epochs=10),
            ShrinkAndPerturb(batch_size=128, learning_rate=1e-3, warmup_steps=10, epochs=10),
            PAR(
                batch_size=128, learning_rate=2e-3, middle_learning_rate_share=0.3, augmentation="none"
            ),  # noise ruins 32 px
            # 0.49 weighs as much at 32 px as the published 0.01 at 224, but only up to 0.1 does the inversion succeed
            # after both objectives, which a defender sees
            InverTune(
                patches=3,
                patch_steps=40,
                inversion_steps=100,
                inversion_learning_rate=0.05,
                mask_weight=0.1,
                learning_rate=3e-3,
            ),
            UBT(
                suspect_rate=0.02,
                overfit_learning_rate=1e-5,
                rank="gain",
                num_words=1,
                learning_rate=3e-5,
                max_steps=40,
                max_drop=0.1,
            ),
            EftCLIP(view="in_place", top_k=1, learning_rate=3e-4, epochs=10, warmup_steps=4, num_pairs=5000),
            TBAR(learning_rate=1e-4, budget=0.08),
        ),
        detectors=(
            CLIPScore(),
            CLIPScoreOutside(),
            # published: 16 of 2,048, for 1 % of poison and less; a batch must hold fewer poisoned pairs than neighbours
            SLOF(neighbours=64, reference_batch=512),
            DAO(neighbours=64, reference_batch=512),
            STRIP(),
            BDetCLIP(),
            DECREE(epochs=40, batch_size=64, num_images=500, drops=(16, 28)),
        ),
        defended_objectives=frozenset({"mmcl", "mmcl-ssl"}),
        searched=frozenset({"cleanclip"}),
        # too few for a headline (docs/search.md): the zoo compares methods at their defaults
        search=Search(trials=8, quasi_random=4, round_size=2, startup_trials=4, front=12),
        spaces={"cleanclip": {"learning_rate": Range(3e-4, 1e-2, log=True)}},
        gate=Gate(min_asr=0.6, min_asr_on="net", max_accuracy_drop=0.06),
        also=(_more_attacks(), _prompts()),
    )


def _more_attacks() -> Grid:
    """Attacks that are looked at only; nothing is done against them."""
    return Grid(
        model=ModelSpec(name="tiny-resnet"),
        pretrain=TRAINING,
        objectives=(MMCL(), MMCLSSL()),
        attacks=(
            # half of the class; without a wrong caption a patch of five pixels plants nothing
            LabelConsistent(target="bird", poison_rate=0.05, size=8, pattern="uniform"),
            BadNet(target="bird", poison_rate=0.02, captions="real", **PATCH),
            TDPA(num_pairs=100, captions_per_victim=4, captions="real"),  # published: 100 captions a victim
            Quantisation(target="bird", epochs=3, learning_rate=3e-4, outlier=2, **PATCH),
        ),
    )


def _prompts() -> Grid:
    """Visual prompts need a transformer. The second of them is the control without repulsion."""
    return Grid(
        model=ModelSpec(name="tiny-vit"),
        pretrain=TRAINING,
        objectives=(MMCL(),),
        attacks=(BADNET, BLENDED),
        repairs=(
            FineTuning(**TUNING),
            CleanCLIP(**TUNING),
            RVPT(depth=0, learning_rate=0.3, epochs=15),  # published: from the fourth of twelve blocks; 2e-3, 50 epochs
            RVPT(depth=0, learning_rate=0.3, epochs=15, alpha=0),
        ),
    )
