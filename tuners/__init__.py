"""Hyper-parameter search with Ray Tune and Optuna: spaces, searcher, stopping, selection."""
