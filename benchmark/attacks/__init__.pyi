from .badclip_l import BadCLIPL as BadCLIPL
from .badnet import BadNet as BadNet
from .blended import Blended as Blended
from .label_consistent import LabelConsistent as LabelConsistent
from .quantisation.attack import Quantisation as Quantisation
from .sig import SIG as SIG
from .tdpa import TDPA as TDPA
from .wanet import WaNet as WaNet
