"""Artifacts and manifests, content keys, schemas of what is stored."""
