"""THE training loop: step, views, optimiser, checkpoints, micro-batches."""
