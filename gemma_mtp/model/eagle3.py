"""An EAGLE3 head in a GGUF: one layer that drafts token by token from the rows of three of its target's layers.

Only files are read: nothing converts one here, and llama.cpp's C++ engine alone drafts with it. Source: llama.cpp,
src/models/eagle3.cpp, common/speculative.cpp and conversion/llama.py (b11549).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from gemma_mtp.files.gguf_values import ValueType
from gemma_mtp.model.config import Hyperparameters
from gemma_mtp.model.dflash import parameters, tables
from gemma_mtp.model.dflash.parameters import DFlashParameters
from gemma_mtp.model.dialects import Dialect
from gemma_mtp.model.keys import ASSISTANT, COUNT, FLAG, ITEMS, MAX_LAYERS, Form, Key
from gemma_mtp.model.roles import ROPE_FREQS, Role, always, never, of_hidden

MAINLINE = Dialect(name="mainline", architecture="eagle3", runtimes="llama.cpp since 2026 and what is built on it")
#: Of how many layers it reads the rows: no more and no fewer.
LAYERS_READ = 3


@dataclass(frozen=True)
class Eagle3Parameters(DFlashParameters):
    """target_layers: numbers as llama.cpp counts them, of the layers whose input it reads; one more than the last is
    what comes out of that. backbone: the target's width, which need not be its own. normed: the rows are normed before
    they are put together.
    """

    family: ClassVar[str] = "eagle3"

    normed: bool = False


def of_keys(key: Mapping[str, Any], vocabulary: int) -> Eagle3Parameters | str:
    """The head that a GGUF's keys describe, or why they describe none. vocabulary: the number of tokens."""
    heads = key["attention.head_count"]
    heads = heads[0] if isinstance(heads, tuple) else heads
    width = key["embedding_length"] // heads  # llama.cpp's, where the file does not say
    wide = {name: key.get(name, width) for name in ("attention.key_length", "attention.value_length")}
    found = parameters.of_keys({**key, **wide, "block_size": 0}, vocabulary)
    if isinstance(found, str):
        return found
    if found.layers != 1:
        return f"block_count is {found.layers}: a head has one layer"
    read = key["target_layers"]
    if len(read) != LAYERS_READ:
        return f"target_layers names {len(read)} layers: a head reads {LAYERS_READ}"
    return Eagle3Parameters(
        **{**parameters.values_of(found), "target_layers": read, "backbone": key["target_hidden_size"]},
        normed=key.get("norm_before_fc", False),
    )


def _head(model: Hyperparameters) -> Eagle3Parameters:
    assert isinstance(model, Eagle3Parameters)
    return model


def _normed(model: Hyperparameters, _: int) -> bool:
    return _head(model).normed


def _two_rows(rows: int, model: Hyperparameters) -> tuple[int, int]:
    """Of a matrix that reads a token's embedding and its target's rows, side by side."""
    return rows, 2 * model.hidden


ROLES = (
    *(role for role in tables.ROLES if not role.layered and role.name != "enc.output_norm"),
    Role("enc.output_norm", "", lambda h, _: (_head(h).features,), layered=False, needed=_normed, plain=True),
    Role("attn_norm", "", of_hidden, plain=True),
    Role("attn_norm_2", "", of_hidden, plain=True),
    Role("attn_q", "", lambda h, layer: _two_rows(h.heads * h.head_dim(layer), h)),
    Role("attn_k", "", lambda h, layer: _two_rows(h.kv_heads(layer) * h.head_dim(layer), h)),
    Role("attn_v", "", lambda h, layer: _two_rows(h.kv_heads(layer) * h.head_dim(layer), h)),
    *(role for role in tables.ROLES if role.name in ("attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down")),
    replace(ROPE_FREQS, needed=never, allowed=always),
)

READ = Form(
    f"an array of INT32 from 0 to {MAX_LAYERS}",
    None,
    (ValueType.INT32, ValueType.UINT32),
    ITEMS,
    high=MAX_LAYERS,
)
KEYS = (
    *tables.LAYER_KEYS,
    Key("target_layers", READ, parts=ASSISTANT),
    Key("target_hidden_size", COUNT, parts=ASSISTANT),
    *(Key(name, COUNT, parts=ASSISTANT, needed=False) for name in ("attention.key_length", "attention.value_length")),
    *(Key(name, FLAG, parts=ASSISTANT, needed=False) for name in ("norm_before_residual", "norm_before_fc")),
)
