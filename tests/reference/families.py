"""Small random checkpoints of every Gemma 4 family, made by transformers, with the demo pair's tokenizer."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import (
    Gemma4AssistantConfig,
    Gemma4AssistantForCausalLM,
    Gemma4ForCausalLM,
    Gemma4TextConfig,
    Gemma4UnifiedAssistantConfig,
    Gemma4UnifiedAssistantForCausalLM,
    Gemma4UnifiedTextConfig,
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
MOE = {"enable_moe_block": True, "num_experts": 8, "top_k_experts": 2, "moe_intermediate_size": 64}


def text_config(layers: int, kind: type = Gemma4TextConfig, **changes):
    layer_types = [FULL if (layer + 1) % 6 == 0 or layer == layers - 1 else SLIDING for layer in range(layers)]
    return kind(**{**COMMON, "num_hidden_layers": layers, "layer_types": layer_types, **changes})


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


FAMILIES: dict[str, Callable[[], torch.nn.Module]] = {
    "dense": lambda: Gemma4ForCausalLM(
        text_config(6, attention_k_eq_v=True, num_global_key_value_heads=1, final_logit_softcapping=30.0)
    ),
    "moe": lambda: Gemma4ForCausalLM(text_config(6, attention_k_eq_v=True, num_global_key_value_heads=1, **MOE)),
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
    "assistant": lambda: assistant(attention_k_eq_v=True, num_global_key_value_heads=1),
    "centroid-assistant": lambda: assistant(
        use_ordered_embeddings=True, num_centroids=64, centroid_intermediate_top_k=4
    ),
    "unified-assistant": lambda: assistant("unified", attention_k_eq_v=True, num_global_key_value_heads=1),
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
    model.to(dtype).save_pretrained(folder)
    for path in (PAIR / "assistant").glob("tokenizer*"):
        shutil.copy(path, folder)
    return folder
