"""Small random checkpoints of every Gemma 4 family, made by transformers, with the demo pair's tokenizer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    Gemma4AssistantConfig,
    Gemma4AssistantForCausalLM,
    Gemma4AudioConfig,
    Gemma4Config,
    Gemma4ForCausalLM,
    Gemma4ForConditionalGeneration,
    Gemma4TextConfig,
    Gemma4UnifiedAssistantConfig,
    Gemma4UnifiedAssistantForCausalLM,
    Gemma4UnifiedConfig,
    Gemma4UnifiedForConditionalGeneration,
    Gemma4UnifiedTextConfig,
    Gemma4UnifiedVisionConfig,
    Gemma4VisionConfig,
)

from gemma_mtp.demo.pair import PAIR

VOCABULARY = 2048
SLIDING, FULL = "sliding_attention", "full_attention"

#: What all of them share; each family says where it differs.
COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 256,
    "intermediate_size": 384,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "global_head_dim": 64,
    "sliding_window": 64,
    "hidden_size_per_layer_input": 0,
    "vocab_size_per_layer_input": 0,
}
GLOBAL_KV = {"attention_k_eq_v": True, "num_global_key_value_heads": 1}
VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "head_dim": 16}
AUDIO = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "output_proj_dims": 32}
UNIFIED_VISION = {"mm_embed_dim": 32, "mm_posemb_size": 16, "output_proj_dims": 32}
MOE = {"enable_moe_block": True, "num_experts": 8, "top_k_experts": 2, "moe_intermediate_size": 64}


def text_config(layers: int, kind: type = Gemma4TextConfig, **changes):
    layer_types = [FULL if (layer + 1) % 6 == 0 or layer == layers - 1 else SLIDING for layer in range(layers)]
    # The unified classes have no fields for per-layer embeddings: their files don't mention them.
    common = {key: value for key, value in COMMON.items() if kind is Gemma4TextConfig or "per_layer" not in key}
    return kind(**{**common, "num_hidden_layers": layers, "layer_types": layer_types, **changes})


def assistant(kind: str = "", **changes):
    """An assistant for a target of width 320: three sliding layers and a full one, all sharing the target's KV."""
    classes = {
        "": (Gemma4TextConfig, Gemma4AssistantConfig, Gemma4AssistantForCausalLM),
        "unified": (Gemma4UnifiedTextConfig, Gemma4UnifiedAssistantConfig, Gemma4UnifiedAssistantForCausalLM),
    }
    text, whole, model = classes[kind]
    head = {
        key: changes.pop(key) for key in list(changes) if key.startswith(("use_ordered", "num_centroids", "centroid"))
    }
    config = text_config(4, text, num_kv_shared_layers=4, layer_types=[SLIDING] * 3 + [FULL], **changes)
    config.moe_intermediate_size = None  # upstream wants the field to be there
    return model(whole(text_config=config, backbone_hidden_size=320, **head))


def multimodal():
    """E2B's and 26B-A4B's class: the text model inside one with vision and audio towers."""
    vision = Gemma4VisionConfig(**VISION, num_key_value_heads=2, position_embedding_size=64)
    parts = {"text_config": text_config(6, **GLOBAL_KV), "vision_config": vision}
    tokens = {"image_token_id": 100, "audio_token_id": 101, "video_token_id": 102}
    return Gemma4ForConditionalGeneration(Gemma4Config(**parts, audio_config=Gemma4AudioConfig(**AUDIO), **tokens))


def unified():
    """The 12B's class: images and sound enter without towers. Some tokens must never be said."""
    text = text_config(6, Gemma4UnifiedTextConfig, **GLOBAL_KV)
    text.moe_intermediate_size = None  # upstream wants the field to be there
    vision = Gemma4UnifiedVisionConfig(**UNIFIED_VISION)
    tokens = {"image_token_id": 100, "audio_token_id": 101, "video_token_id": 102}
    model = Gemma4UnifiedForConditionalGeneration(Gemma4UnifiedConfig(text_config=text, vision_config=vision, **tokens))
    model.generation_config.suppress_tokens = [100, 101, 102]
    return model


FAMILIES: dict[str, Callable[[], torch.nn.Module]] = {
    "dense": lambda: Gemma4ForCausalLM(text_config(6, **GLOBAL_KV, final_logit_softcapping=30.0)),
    "moe": lambda: Gemma4ForCausalLM(text_config(6, **GLOBAL_KV, **MOE)),
    "per-layer": lambda: Gemma4ForCausalLM(
        text_config(
            6,
            hidden_size_per_layer_input=32,
            vocab_size_per_layer_input=VOCABULARY,
            layer_types=[SLIDING, SLIDING, FULL, SLIDING, SLIDING, FULL],
            num_kv_shared_layers=2,
            use_double_wide_mlp=True,
        )
    ),
    "multimodal": multimodal,
    "unified": unified,
    "assistant": lambda: assistant(**GLOBAL_KV),
    "centroid-assistant": lambda: assistant(
        use_ordered_embeddings=True, num_centroids=64, centroid_intermediate_top_k=4
    ),
    "unified-assistant": lambda: assistant("unified", **GLOBAL_KV),
}


def make_checkpoint(family: str, folder: Path, dtype: torch.dtype = torch.bfloat16) -> Path:
    """A seeded random checkpoint of that family in `folder`. Norms and scales are random too, not all ones."""
    torch.manual_seed(len(family))
    model = FAMILIES[family]()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith("token_ordering"):
                tensor.copy_(torch.randperm(VOCABULARY))
            else:
                tensor.normal_(1.0 if tensor.ndim == 1 else 0.0, 0.05)
    save_checkpoint(model, folder, dtype)
    return folder


def save_checkpoint(model: torch.nn.Module, folder: Path, dtype: torch.dtype = torch.bfloat16) -> None:
    """The model, with the demo pair's tokenizer."""
    model.to(dtype).save_pretrained(folder)
    for path in (PAIR / "assistant").glob("tokenizer*"):
        shutil.copy(path, folder)


def to_older_config(folder: Path) -> None:
    """Rewrite config.json as transformers wrote it before `per_layer_config`: the same model, told otherwise."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    text = config.get("text_config", config)
    layer = next(iter(text.pop("per_layer_config").values()))
    text["global_head_dim"] = layer["head_dim"]
    text["num_global_key_value_heads"] = layer.get("num_key_value_heads")
    path.write_text(json.dumps(config))


def to_single_experts(folder: Path, prefix: str = "experts") -> None:
    """Save each expert's matrices by themselves, in two shards."""
    tensors = load_file(folder / "model.safetensors")
    shards: tuple[dict, dict] = ({}, {})
    for name, tensor in tensors.items():
        layer, _, kind = name.rpartition(".experts.")
        if not layer:
            shards[0][name] = tensor
            continue
        for number, expert in enumerate(tensor.unbind()):
            whole = {"down_proj": expert}
            gate, up = expert.chunk(2)
            for projection, matrix in (whole if kind == "down_proj" else {"gate_proj": gate, "up_proj": up}).items():
                shards[number % 2][f"{layer}.{prefix}.{number}.{projection}.weight"] = matrix.contiguous()
    (folder / "model.safetensors").unlink()
    names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    for name, shard in zip(names, shards, strict=True):
        save_file(shard, folder / name)
    weight_map = {tensor: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
