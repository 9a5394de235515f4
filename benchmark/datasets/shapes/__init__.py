"""The embedded set of drawn shapes."""
