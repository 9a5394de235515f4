"""Backstop: backdoor attacks and defenses on CLIP-style models, measured.

Importing this package is cheap: neither torch, Ray nor open_clip is loaded until a stage needs it. What it offers, base
classes and the functions of `api`, is listed in `__init__.pyi` and loaded when it is asked for.
"""

import os as _os

import lazy_loader as _lazy_loader

# How many turns a waiting thread of torch (libgomp) spins before it sleeps. libgomp reads this when it is loaded,
# thus it is set here, before anything of ours loads torch; child processes and Ray's workers inherit it. With libgomp's
# own, beside other work two threads spend their time waiting for one another.
if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & _os.environ.keys():
    _os.environ["GOMP_SPINCOUNT"] = "1000"

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = _lazy_loader.attach_stub(__name__, __file__)
