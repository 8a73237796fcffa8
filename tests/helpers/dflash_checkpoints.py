"""DFlash drafters for the demo target: random ones in z-lab's layout, and any such in RedHatAI's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from gemma_mtp.demo.pair import PAIR
from tools import dflash_network
from tools.dflash_network import DFlash, Shape

#: Another shape than the trained one's.
CONFIG: dict[str, Any] = {
    **dflash_network.CONFIG,
    "block_size": 6,
    "final_logit_softcapping": None,
    "num_key_value_heads": 2,
    "rope_theta": 1000000.0,
    "sliding_window": 32,
}
#: What speculators has at the top; all else stands in `transformer_layer_config`.
ELSEWHERE = ("architectures", "block_size", "dflash_config", "num_target_layers", "final_logit_softcapping", "dtype")


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


def in_speculators_layout(source: Path, folder: Path, chosen: torch.Tensor | None = None, **changes: Any) -> Path:
    """z-lab's checkpoint `source` as vllm-project/speculators saves one (convert/dflash/converter.py, model.py).

    chosen: the ids of the tokens that its own head knows, ascending; None: all. changes: of the fields at the top.
    """
    config = json.loads((source / "config.json").read_text())
    layers = {name: value for name, value in config.items() if name not in ELSEWHERE}
    theta = layers.pop("rope_theta")
    own = config["dflash_config"]
    embeddings = load_file(PAIR / "target" / "model.safetensors")["model.embed_tokens.weight"].to(torch.bfloat16)
    weights = load_file(source / "model.safetensors") | {"embed_tokens.weight": embeddings}
    if chosen is None:
        weights["lm_head.weight"] = embeddings.clone()
    else:
        weights["lm_head.weight"] = embeddings[chosen].clone()
        weights["d2t"] = chosen - torch.arange(len(chosen))
        weights["t2d"] = torch.isin(torch.arange(len(embeddings)), chosen)
    plain = {
        "architectures": ["DFlashDraftModel"],
        "aux_hidden_state_layer_ids": [layer + 1 for layer in own["target_layer_ids"]],
        "block_size": config["block_size"],
        "draft_vocab_size": len(embeddings) if chosen is None else len(chosen),
        "mask_token_id": own["mask_token_id"],
        "sample_from_anchor": False,
        "sliding_window_non_causal": True,
        "speculators_model_type": "dflash",
        "transformer_layer_config": layers | {"rope_parameters": {"rope_type": "default", "rope_theta": theta}},
        **changes,
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(plain))
    return folder
