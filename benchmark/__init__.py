"""Backstop: backdoor attacks and defenses on CLIP-style models, measured.

Importing this package is cheap: neither torch, Ray nor open_clip is loaded until a stage needs it.
"""

__version__ = "0.1.0"
