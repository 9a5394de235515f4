from .bdetclip import BDetCLIP as BDetCLIP
from .clipscore import CLIPScore as CLIPScore
from .clipscore import CLIPScoreOutside as CLIPScoreOutside
from .dao import DAO as DAO
from .decree import DECREE as DECREE
from .slof import SLOF as SLOF
from .strip import STRIP as STRIP
