"""`backstop audit`: one checkpoint and some clean data in; detectors' findings, a repaired checkpoint, a report out."""
