"""`kinds`: every method of Backstop at miniature size on drawn images, as the end-to-end check of the whole zoo.

Sizes are chosen so that each method really runs, not so that its numbers mean anything: every attack counts as planted.
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
from benchmark.config.spec import Gate, Grid, ModelSpec, Readouts, Splits, Suite
from benchmark.datasets.shapes.dataset import Shapes
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
from benchmark.types import Training

PATCH = {"size": 5, "pattern": "checkerboard"}
TRAINING = Training(epochs=3, batch_size=64, learning_rate=2e-3, warmup_steps=5)
SHORT = {"epochs": 1, "learning_rate": 1e-3, "warmup_steps": 2}


def suite() -> Suite:
    """The suite: models of every objective under every attack; repairs and detectors of one of them."""
    return Suite(
        name="kinds",
        title="Kinds: one method of every kind, in miniature",
        data=Shapes(num_rows=2100),
        splits=Splits(pretrain=800, clean=200, validation=120, test=160),
        model=ModelSpec(name="tiny-resnet"),
        pretrain=TRAINING,
        objectives=(
            MMCL(),
            MMCLSSL(),
            SigLIP(),
            SafeCLIP(unimodal_epochs=1, slow_epochs=1, bank_size=64),
            SafeCLIP(unimodal_epochs=1, slow_epochs=1, bank_size=64, variant="as_released"),
            RoCLIP(bank_size=64),
            ABL(isolation_epochs=1, unlearning_epochs=1),
        ),
        attacks=(
            BadNet(target="ring", poison_rate=0.05, **PATCH),
            Blended(target="star", poison_rate=0.05, strength=0.25, pattern="stripes"),
            SIG(target="star", poison_rate=0.05),
            WaNet(target="ring", poison_rate=0.05),
            WaNet(target="ring", poison_rate=0.05, variant="clip"),
            LabelConsistent(target="ring", poison_rate=0.05, **PATCH),
            BadNet(target="ring", poison_rate=0.05, captions="real", **PATCH),
            TDPA(num_pairs=10, captions_per_victim=5),
            BadCLIPL(target="star", poison_rate=0.05, size=5, num_images=256, epochs=2, learning_rate=1e-2),
            Quantisation(target="ring", size=5, epochs=1),
        ),
        repairs=(
            FineTuning(**SHORT),
            SSLOnly(**SHORT),
            BatchNormOnly(epochs=1),
            CleanCLIP(**SHORT),
            CleanCLIP(**SHORT, variant="as_released"),
            SupervisedFineTuning(**SHORT),
            HeavyWeightDecay(epochs=1, learning_rate=1e-3),
            ShrinkAndPerturb(epochs=1, learning_rate=1e-3),
            PAR(epochs=1, batch_size=64, learning_rate=1e-3),
            InverTune(patch_steps=5, inversion_steps=5, epochs=20),
            UBT(),
            EftCLIP(epochs=1, num_pairs=100, warmup_steps=2),
            RVPT(epochs=1),
            TBAR(epochs=1, batch_size=64, learning_rate=1e-3),
        ),
        detectors=(
            CLIPScore(),
            CLIPScoreOutside(),
            SLOF(),
            DAO(),
            DAO(retrain=True),
            STRIP(num_overlays=8),
            BDetCLIP(),
            DECREE(epochs=3, num_images=128),
        ),
        defended_objectives=frozenset({"mmcl"}),
        defended_attacks=frozenset({"badnet"}),
        gate=Gate(min_asr=0.0, max_accuracy_drop=1.0),
        readouts=Readouts(retrieval_pairs=100, similarity_samples=100, squash=True),
        also=(_transformer(),),
    )


def _transformer() -> Grid:
    """What needs a transformer and is not applicable to the other model, beside repairs that do not."""
    return Grid(
        model=ModelSpec(name="tiny-vit"),
        pretrain=TRAINING,
        objectives=(MMCL(),),
        attacks=(BadNet(target="ring", poison_rate=0.05, **PATCH),),
        repairs=(
            CleanCLIP(**SHORT),
            InverTune(patch_steps=5, inversion_steps=5, epochs=20),
            RVPT(depth=1, num_tokens=4, num_shots=4, epochs=2),
        ),
    )
