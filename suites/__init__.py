"""Named suites: choices only, written as Python that reads top to bottom."""
