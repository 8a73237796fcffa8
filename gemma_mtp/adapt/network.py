"""The assistant in PyTorch, from its roles: what llama.cpp and transformers compute, with gradients."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from gemma_mtp.adapt.rounds import Cache, Tensor
from gemma_mtp.adapt.weights import EMBEDDING, Weights
from gemma_mtp.model.config import Hyperparameters
from gemma_mtp.model.roles import ASSISTANT_HEAD, LAYER, OUTPUT_NORM

#: Roles that are trained. The head (which is the embedding), the centroids that belong to it, and the layers' scales,
#: which are no parameters in the official implementation either, stay as they are.
FROZEN = frozenset({"layer_output_scale", "centroids", "token_ordering"})
TRAINED = tuple(role for role in (*LAYER, OUTPUT_NORM, *ASSISTANT_HEAD) if role.name not in FROZEN)
SMALL = frozenset(
    role.name for role in TRAINED if role.plain or role.name in ("nextn.pre_projection", "nextn.post_projection")
)
#: `--train` -> the roles.
SETS = {"body": frozenset(role.name for role in TRAINED), "projections": SMALL}


class Network:
    """An assistant. weights: mainline's tensor name -> float32 tensor; those of `SETS[train]` have gradients."""

    def __init__(self, model: Hyperparameters, weights: dict[str, Tensor], divisors: Tensor):
        """divisors: of the full layers' rotary frequencies, float32 [dim / 2]."""
        self.model, self.weights = model, weights
        self._frequencies = {
            "sliding": _frequencies(model.rope_base_sliding, model.head_dim_sliding, torch.ones(1)),
            "full": _frequencies(model.rope_base_full, model.head_dim_full, divisors),
        }
        self.watch: Any = None  # hears of (tensor name, what it is multiplied with), where somebody measures that

    @property
    def head(self) -> Tensor:
        """[vocabulary, hidden]"""
        return self.weights[EMBEDDING]

    def to(self, device: str) -> Network:
        self.weights = {name: weight.to(device) for name, weight in self.weights.items()}
        self._frequencies = {kind: values.to(device) for kind, values in self._frequencies.items()}
        return self

    def train(self, roles: frozenset[str]) -> dict[str, Tensor]:
        """Give gradients to the tensors of these roles, and only to them: name -> tensor."""
        for name, weight in self.weights.items():
            weight.requires_grad_(role_name(name) in roles)
        return {name: weight for name, weight in self.weights.items() if weight.requires_grad}

    def step(self, fed: Tensor, positions: Tensor, masks: dict[str, Tensor], cache: Cache) -> tuple[Tensor, Tensor]:
        """See `rounds.Drafts`."""
        x = self._times("nextn.pre_projection.weight", fed)
        for layer in range(self.model.layers):
            x = self._layer(x, layer, positions, masks, cache)
        y = self._norm(x, OUTPUT_NORM.name + ".weight")
        return y, self._times("nextn.post_projection.weight", y)

    def _layer(self, x: Tensor, layer: int, positions: Tensor, masks: dict[str, Tensor], cache: Cache) -> Tensor:
        at = f"blk.{layer}."
        kind = "sliding" if self.model.sliding[layer] else "full"
        read = self._attention(self._norm(x, at + "attn_norm.weight"), layer, kind, positions, masks[kind], cache[kind])
        x = x + self._norm(read, at + "post_attention_norm.weight")
        wide = self._norm(x, at + "ffn_norm.weight")
        gate = F.gelu(self._times(at + "ffn_gate.weight", wide), approximate="tanh")
        out = self._times(at + "ffn_down.weight", gate * self._times(at + "ffn_up.weight", wide))
        x = x + self._norm(out, at + "post_ffw_norm.weight")
        return x * self.weights[at + "layer_output_scale.weight"]

    def _attention(
        self, x: Tensor, layer: int, kind: str, positions: Tensor, mask: Tensor, cached: tuple[Tensor, Tensor]
    ) -> Tensor:
        at, (texts, count, _) = f"blk.{layer}.", x.shape
        width = self.model.head_dim(layer)
        queries = self._times(at + "attn_q.weight", x).view(texts, count, -1, width)
        queries = self._norm(queries, at + "attn_q_norm.weight").transpose(1, 2)
        queries = _rotated(queries, positions, self._frequencies[kind])
        keys, values = (part.to(queries.dtype) for part in cached)
        # Queries of one key head stand one behind another: copies of the keys for each would be kept for the gradients.
        heads = keys.shape[1]
        group = queries.shape[1] // heads
        queries = queries.reshape(texts, heads, group * count, width)
        mask = mask.repeat(1, 1, group, 1)
        read = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, scale=1.0)
        read = read.reshape(texts, heads * group, count, width)  # CUDA returns it with its axes turned
        return self._times(at + "attn_output.weight", read.transpose(1, 2).reshape(texts, count, -1))

    def _times(self, name: str, x: Tensor) -> Tensor:
        if self.watch:
            self.watch(name, x)
        return F.linear(x, self.weights[name])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        wide = x.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.model.norm_epsilon)
        return (wide * self.weights[name]).to(x.dtype)


def role_name(name: str) -> str:
    """`blk.3.attn_q.weight` -> `attn_q`."""
    plain = name.removesuffix(".weight")
    return plain.split(".", 2)[2] if plain.startswith("blk.") else plain


def build(assistant: Weights) -> Network:
    """The assistant in float32, nothing trainable. Raises BadFileError."""
    names = [name for name, slot in assistant.slots.items() if slot.role.name not in ("centroids", "token_ordering")]
    weights = {name: torch.from_numpy(assistant.whole(name).copy()) for name in names}
    return Network(assistant.model, weights, torch.from_numpy(assistant.rope_divisors().copy()))


def _frequencies(base: float, width: int, divisors: Tensor) -> Tensor:
    return base ** (-torch.arange(0, width, 2, dtype=torch.float32) / width) / divisors


def _rotated(x: Tensor, positions: Tensor, frequencies: Tensor) -> Tensor:
    """x: [texts, heads, rounds, width]; the two halves of a head are the real and the imaginary parts."""
    angles = positions[:, None].float() * frequencies
    cosine, sine = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    real, imaginary = x.chunk(2, dim=-1)
    return torch.cat([real * cosine - imaginary * sine, imaginary * cosine + real * sine], dim=-1)
