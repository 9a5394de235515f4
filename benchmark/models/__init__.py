"""CLIP models and what is done to them: adapters, prompts, BatchNorm, model transforms, segmenters."""
