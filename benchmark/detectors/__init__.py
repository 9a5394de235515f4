"""Detectors: of poisoned pairs, of triggered inputs, of attacked models. One file each; `density` is shared."""
