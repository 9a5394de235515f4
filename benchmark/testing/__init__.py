"""Contract tests that every method must pass, importable by outside packages; no test framework is needed."""
