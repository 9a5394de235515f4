from .abl import ABL as ABL
from .mmcl import MMCL as MMCL
from .mmcl_ssl import MMCLSSL as MMCLSSL
from .roclip import RoCLIP as RoCLIP
from .safeclip import SafeCLIP as SafeCLIP
from .siglip import SigLIP as SigLIP
from .ssl import SSL as SSL
