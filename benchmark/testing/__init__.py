"""Contract tests that every method must pass, importable by outside packages."""
