"""What an assistant takes from its target: hidden rows, and the keys and values of two donor layers.

llama.cpp binds the assistant's sliding layers to the target's layer n-2 and its full layer to n-1; where these share
the KV cache of earlier layers, that is the last sliding and the last full layer of their own (src/llama-model.cpp,
`create_memory`, `share`). Whoever asks whether two models fit asks here.
"""

from __future__ import annotations

from typing import NamedTuple

from gemma_mtp.model.config import Hyperparameters


class Attachment(NamedTuple):
    """What one side gives, or the other expects. kv_heads and head_dims: of sliding and of full layers."""

    width: int
    kv_heads: tuple[int, int]
    head_dims: tuple[int, int]


def given(target: Hyperparameters) -> Attachment:
    """What a target hands over."""
    return Attachment(target.hidden, *_layers(target))


def expected(assistant: Hyperparameters) -> Attachment:
    """What an assistant was made for."""
    return Attachment(assistant.backbone, *_layers(assistant))


def _layers(model: Hyperparameters) -> tuple[tuple[int, int], tuple[int, int]]:
    full = model.kv_heads_sliding if model.kv_heads_full is None else model.kv_heads_full
    return (model.kv_heads_sliding, full), (model.head_dim_sliding, model.head_dim_full)


def misplaced_donors(target: Hyperparameters) -> list[int]:
    """Layers of a target that an assistant would read and that are of the wrong kind: n-2 must be sliding, n-1 full,
    among all layers and among those with keys and values of their own. A negative one does not exist."""
    return [
        layer
        for end in (target.layers, target.layers - target.shared_kv_layers)
        for layer, kind in ((end - 2, True), (end - 1, False))
        if layer < 0 or target.sliding[layer] is not kind
    ]
