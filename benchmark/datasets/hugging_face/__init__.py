"""Sets read through Hugging Face `datasets`: a hub id or local files."""
