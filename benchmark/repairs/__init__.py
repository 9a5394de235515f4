"""Repairs of poisoned models: one file each."""
