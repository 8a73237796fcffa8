"""A DFlash drafter in plain PyTorch, as z-lab's checkpoints define it: what the GGUF's graph is compared with.

A drafter has keys and values of its own, of two kinds: of the target's hidden states (`fc` makes one row of those of
several layers), and of the block that it fills in: the newest token, followed by mask tokens. All places of the block
are computed at once and see each other; place j is asked for the token that follows j tokens after the newest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: The shipped drafter's config.json: small enough for a package; the window is crossed in every demo text.
CONFIG = {
    "architectures": ["DFlashDraftModel"],
    "attention_bias": False,
    "block_size": 8,
    "dflash_config": {"mask_token_id": 4, "target_layer_ids": [0, 1]},
    "dtype": "bfloat16",
    "final_logit_softcapping": 30.0,
    "head_dim": 64,
    "hidden_act": "silu",
    "hidden_size": 512,
    "intermediate_size": 256,
    "layer_types": ["sliding_attention", "full_attention"],
    "max_position_embeddings": 2048,
    "model_type": "qwen3",
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 1,
    "num_target_layers": 3,
    "rms_norm_eps": 1e-06,
    "rope_theta": 10000.0,
    "sliding_window": 64,
    "tie_word_embeddings": False,
    "use_sliding_window": True,
    "vocab_size": 2048,
}


@dataclass(frozen=True)
class Shape:
    """What config.json says. target_layers: whose output is read, counted from 0. sliding: for each layer."""

    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    sliding: tuple[bool, ...]
    window: int
    target_layers: tuple[int, ...]
    block: int
    mask_token: int
    rope_base: float
    epsilon: float = 1e-6

    @classmethod
    def of_config(cls, config: Mapping) -> Shape:
        """From z-lab's config.json."""
        own = config["dflash_config"]
        return cls(
            hidden=config["hidden_size"],
            intermediate=config["intermediate_size"],
            heads=config["num_attention_heads"],
            kv_heads=config["num_key_value_heads"],
            head_dim=config["head_dim"],
            sliding=tuple(kind == "sliding_attention" for kind in config["layer_types"]),
            window=config["sliding_window"],
            target_layers=tuple(own["target_layer_ids"]),
            block=config["block_size"],
            mask_token=own["mask_token_id"],
            rope_base=config["rope_theta"],
            epsilon=config["rms_norm_eps"],
        )


class Norm(nn.Module):
    def __init__(self, width: int, epsilon: float):
        super().__init__()
        self.weight, self.epsilon = nn.Parameter(torch.ones(width)), epsilon

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), self.weight, self.epsilon)


def rotated(x: Tensor, positions: Tensor, base: float) -> Tensor:
    """Rotary positions in the style of NeoX: x [B, heads, L, width], positions [B, L]."""
    half = x.shape[-1] // 2
    frequencies = base ** (-torch.arange(half, dtype=torch.float32, device=x.device) / half)
    angles = positions[:, None, :, None].float() * frequencies
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


class Attention(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.shape = shape
        self.q_proj = nn.Linear(shape.hidden, shape.heads * shape.head_dim, bias=False)
        self.k_proj = nn.Linear(shape.hidden, shape.kv_heads * shape.head_dim, bias=False)
        self.v_proj = nn.Linear(shape.hidden, shape.kv_heads * shape.head_dim, bias=False)
        self.o_proj = nn.Linear(shape.heads * shape.head_dim, shape.hidden, bias=False)
        self.q_norm, self.k_norm = Norm(shape.head_dim, shape.epsilon), Norm(shape.head_dim, shape.epsilon)

    def heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.shape.head_dim)).transpose(1, 2)

    def forward(self, block: Tensor, places: Tensor, fused: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        """block [B, Q, hidden] at `places` [B, Q], fused [B, L, hidden] at `positions` [B, L], mask [B, 1, Q, L + Q]"""
        base, both = self.shape.rope_base, torch.cat([fused, block], 1)
        q = rotated(self.q_norm(self.heads(self.q_proj(block))), places, base)
        k = rotated(self.k_norm(self.heads(self.k_proj(both))), torch.cat([positions, places], 1), base)
        v = self.heads(self.v_proj(both))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
        return self.o_proj(y.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden, shape.intermediate, bias=False)
        self.up_proj = nn.Linear(shape.hidden, shape.intermediate, bias=False)
        self.down_proj = nn.Linear(shape.intermediate, shape.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.input_layernorm = Norm(shape.hidden, shape.epsilon)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = Norm(shape.hidden, shape.epsilon)
        self.mlp = MLP(shape)

    def forward(self, x: Tensor, *attended: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), *attended)
        return x + self.mlp(self.post_attention_layernorm(x))


class DFlash(nn.Module):
    """Parameters are named as in a checkpoint."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.shape = shape
        self.fc = nn.Linear(len(shape.target_layers) * shape.hidden, shape.hidden, bias=False)
        self.hidden_norm = Norm(shape.hidden, shape.epsilon)
        self.layers = nn.ModuleList(Layer(shape) for _ in shape.sliding)
        self.norm = Norm(shape.hidden, shape.epsilon)

    def forward(self, rows: Tensor, embedded: Tensor, anchors: Tensor) -> Tensor:
        """Hidden rows [B, A * block, hidden] of blocks at `anchors` [B, A], for the target's head.

        rows: the target's hidden states [B, L, layers * hidden] at positions 0 to L - 1; a block sees those before its
        anchor. embedded: the blocks' tokens [B, A * block, hidden], as the target's layers get them (scaled).
        """
        block, width = self.shape.block, rows.shape[1]
        positions = torch.arange(width, device=rows.device)[None].expand(len(rows), -1)
        places = (anchors[..., None] + torch.arange(block, device=rows.device)).flatten(1)
        fused, x = self.hidden_norm(self.fc(rows)), embedded
        masks = {sliding: self._mask(positions, places, anchors, sliding) for sliding in set(self.shape.sliding)}
        for layer, sliding in zip(self.layers, self.shape.sliding, strict=True):
            x = layer(x, places, fused, positions, masks[sliding])
        return self.norm(x)

    def _mask(self, positions: Tensor, places: Tensor, anchors: Tensor, sliding: bool) -> Tensor:
        """[B, 1, Q, L + Q], true where a place sees a target's row, or another place of its block."""
        block, count = self.shape.block, anchors.shape[1]
        starts = anchors.repeat_interleave(block, 1)
        before = positions[:, None] < starts[..., None]
        if sliding:
            before &= places[..., None] - positions[:, None] < self.shape.window
        own = torch.block_diag(*[torch.ones(block, block, device=places.device)] * count).bool()
        return torch.cat([before, own[None].expand(len(places), -1, -1)], -1)[:, None]
