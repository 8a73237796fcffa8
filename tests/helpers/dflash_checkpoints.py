"""Random DFlash drafters for the demo target, in z-lab's layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tools.dflash_network import DFlash, Shape

#: Another shape than the trained one's.
CONFIG: dict[str, Any] = {
    "architectures": ["DFlashDraftModel"],
    "attention_bias": False,
    "block_size": 6,
    "dflash_config": {"mask_token_id": 4, "target_layer_ids": [0, 1]},
    "dtype": "bfloat16",
    "head_dim": 64,
    "hidden_act": "silu",
    "hidden_size": 512,
    "intermediate_size": 256,
    "layer_types": ["sliding_attention", "full_attention"],
    "max_position_embeddings": 2048,
    "model_type": "qwen3",
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "num_target_layers": 3,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": 32,
    "use_sliding_window": True,
    "vocab_size": 2048,
}


def make_drafter(folder: Path, seed: int = 0, own: dict[str, Any] | None = None, **changes: Any) -> Path:
    """A checkpoint with random weights in BF16. own: changes of its `dflash_config`."""
    config = {**CONFIG, **changes, "dflash_config": {**CONFIG["dflash_config"], **(own or {})}}
    torch.manual_seed(seed)
    model = DFlash(Shape.of_config(config))
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 1:
                weight.normal_(1.0, 0.1)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: weight.to(torch.bfloat16).contiguous() for name, weight in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    return folder
