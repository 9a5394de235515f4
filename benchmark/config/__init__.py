"""Specifications of suites and experiments, and the registry of methods and suites."""
