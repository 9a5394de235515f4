"""Checkpoints as other programs write them: folders of open_clip and of transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tests.helpers.tiny import model, tensors


def open_clip_folder(root: Path, name: str, **changed: Any) -> Path:
    """A folder as open_clip pushes it to the hub."""
    from benchmark.models.architectures import TINY

    config = json.loads(json.dumps(TINY[name])) | changed
    pixels = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.1]}
    (root / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": pixels}))
    save_file(tensors(model(name)), root / "open_clip_model.safetensors")
    return root


def transformers_folder(root: Path) -> Path:
    """tiny-vit as transformers would name it, written the other way round than the reader does it."""
    found, out = tensors(model("tiny-vit")), {}
    for tower, ours in (("vision", "visual.transformer"), ("text", "transformer")):
        for layer in range(2 if tower == "vision" else 1):
            there, here = f"{tower}_model.encoder.layers.{layer}", f"{ours}.resblocks.{layer}"
            for kind in ("weight", "bias"):
                for part, chunk in zip("qkv", found[f"{here}.attn.in_proj_{kind}"].chunk(3), strict=True):
                    out[f"{there}.self_attn.{part}_proj.{kind}"] = chunk.clone()
                out[f"{there}.self_attn.out_proj.{kind}"] = found[f"{here}.attn.out_proj.{kind}"]
                out[f"{there}.mlp.fc1.{kind}"] = found[f"{here}.mlp.c_fc.{kind}"]
                out[f"{there}.mlp.fc2.{kind}"] = found[f"{here}.mlp.c_proj.{kind}"]
                out[f"{there}.layer_norm1.{kind}"] = found[f"{here}.ln_1.{kind}"]
                out[f"{there}.layer_norm2.{kind}"] = found[f"{here}.ln_2.{kind}"]
    for kind in ("weight", "bias"):
        out[f"vision_model.pre_layrnorm.{kind}"] = found[f"visual.ln_pre.{kind}"]
        out[f"vision_model.post_layernorm.{kind}"] = found[f"visual.ln_post.{kind}"]
        out[f"text_model.final_layer_norm.{kind}"] = found[f"ln_final.{kind}"]
    out["vision_model.embeddings.class_embedding"] = found["visual.class_embedding"]
    out["vision_model.embeddings.patch_embedding.weight"] = found["visual.conv1.weight"]
    out["vision_model.embeddings.position_embedding.weight"] = found["visual.positional_embedding"]
    out["vision_model.embeddings.position_ids"] = torch.arange(17)[None]
    out["text_model.embeddings.token_embedding.weight"] = found["token_embedding.weight"]
    out["text_model.embeddings.position_embedding.weight"] = found["positional_embedding"]
    out["visual_projection.weight"] = found["visual.proj"].T.contiguous()
    out["text_projection.weight"] = found["text_projection"].T.contiguous()
    out["logit_scale"] = found["logit_scale"]
    save_file(out, root / "model.safetensors")
    vision = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"patch_size": 8, "image_size": 32, "hidden_act": "gelu"}
    text |= {"max_position_embeddings": 16, "vocab_size": 4096, "hidden_act": "gelu"}
    config = {"model_type": "clip", "projection_dim": 64, "vision_config": vision, "text_config": text}
    (root / "config.json").write_text(json.dumps(config))
    (root / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.1] * 3, "image_std": [0.2] * 3}))
    return root
