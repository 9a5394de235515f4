"""Repairs of poisoned models: one file each.

Each is exported by its class's name and loaded when it is asked for; `__init__.pyi` lists them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
