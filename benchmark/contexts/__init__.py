"""What methods are handed, gated by their cards."""
