"""Faults that are put into runs: `make chaos`. After each, the same command ends in the same records."""
