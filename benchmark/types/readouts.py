"""Names in outcome tables, which evaluation writes and metrics read."""

from __future__ import annotations

CLEAN, SQUASH = "clean", "squash"  # conditions; every other one is a trigger's, whatever its name
RETRIEVAL = ("retrieval_image_to_text", "retrieval_text_to_image")
RETRIEVAL_TARGET = "retrieval_target"
SIMILARITY, SIMILARITY_SQUARE = "similarity", "similarity_square"
TOP = 10  # captions that a retrieval attack is judged on
