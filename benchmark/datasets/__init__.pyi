from .hugging_face.dataset import HuggingFace as HuggingFace
from .known import CC3M as CC3M
from .known import CC12M as CC12M
from .known import Cifar10 as Cifar10
from .known import CocoCaptions as CocoCaptions
from .known import ImageNet1K as ImageNet1K
from .shapes.dataset import Shapes as Shapes
