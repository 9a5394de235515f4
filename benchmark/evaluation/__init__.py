"""Evaluation of a model: read-outs, outcomes, and their reduction to measures."""
