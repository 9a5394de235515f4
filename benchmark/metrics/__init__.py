"""Metrics over the outcome table: one file each."""
