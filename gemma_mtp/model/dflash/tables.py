"""A DFlash drafter's tensors, keys and spellings. Sources: llama.cpp, src/models/dflash.cpp (b11549) and
conversion/qwen.py, `DFlashModel`; Lucebox's loader of `gemma4-dflash-draft` files.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from gemma_mtp.files.gguf_values import ValueType
from gemma_mtp.model.config import Hyperparameters
from gemma_mtp.model.dflash.parameters import TOKEN_IDS, DFlashParameters
from gemma_mtp.model.dialects import Dialect
from gemma_mtp.model.keys import (
    ASSISTANT,
    COUNT,
    DEPTH,
    FLAG,
    FLAGS,
    ITEMS,
    MAX_LAYERS,
    NUMBER,
    PER_LAYER,
    REAL,
    WINDOW,
    Form,
    Key,
)
from gemma_mtp.model.roles import Role, always, never, of_head, of_hidden, of_key_value, of_query, of_wide

MAINLINE = Dialect(name="mainline", architecture="dflash", runtimes="llama.cpp since July 2026 and what is built on it")

#: No tokenizer, and nothing that the target says too; layers are counted as in the checkpoint.
LUCEBOX = Dialect(
    name="lucebox",
    architecture="gemma4-dflash-draft",
    runtimes="Lucebox and forks of llama.cpp that took its form over",
    keys=MappingProxyType(
        {
            "block_size": "dflash.block_size",
            "target_layers": "dflash.target_layer_ids",
            "embedding_scale": None,
            "attention.sliding_window_pattern": None,
        }
    ),
    tensors=MappingProxyType({"fc": "dflash.fc.weight", "enc.output_norm": "dflash.hidden_norm.weight"}),
)
DIALECTS = {dialect.name: dialect for dialect in (MAINLINE, LUCEBOX)}


def _parameters(model: Hyperparameters) -> DFlashParameters:
    assert isinstance(model, DFlashParameters)
    return model


def _features(model: Hyperparameters, _: int) -> tuple[int, ...]:
    return (model.hidden, _parameters(model).features)


def _table(model: Hyperparameters, _: int) -> tuple[int, ...]:
    return (model.vocabulary, model.hidden)


def _own_head(model: Hyperparameters, _: int) -> tuple[int, ...]:
    return (_parameters(model).known_tokens, model.hidden)


def _chooses_tokens(model: Hyperparameters, _: int) -> bool:
    return _parameters(model).draft_vocabulary > 0


ROLES = (
    # Embeddings and head are the target's, unless a file has its own.
    Role("token_embd", "embed_tokens.weight", _table, layered=False, needed=never, allowed=always),
    Role("output", "lm_head.weight", _own_head, layered=False, needed=_chooses_tokens, allowed=always),
    Role("fc", "fc.weight", _features, layered=False),
    Role("enc.output_norm", "hidden_norm.weight", of_hidden, layered=False, plain=True),
    Role("attn_norm", "input_layernorm.weight", of_hidden, plain=True),
    Role("attn_q", "self_attn.q_proj.weight", of_query),
    Role("attn_q_norm", "self_attn.q_norm.weight", of_head, plain=True),
    Role("attn_k", "self_attn.k_proj.weight", of_key_value),
    Role("attn_k_norm", "self_attn.k_norm.weight", of_head, plain=True),
    Role("attn_v", "self_attn.v_proj.weight", of_key_value),
    Role("attn_output", "self_attn.o_proj.weight", lambda h, layer: (h.hidden, h.heads * h.head_dim(layer))),
    Role("ffn_norm", "post_attention_layernorm.weight", of_hidden, plain=True),
    Role("ffn_gate", "mlp.gate_proj.weight", of_wide),
    Role("ffn_up", "mlp.up_proj.weight", of_wide),
    Role("ffn_down", "mlp.down_proj.weight", lambda h, layer: (h.hidden, h.layer_intermediate(layer))),
    Role("output_norm", "norm.weight", of_hidden, layered=False, plain=True),
    # Which token each row of a head of its own stands for; a checkpoint has each less the row's number.
    Role(
        TOKEN_IDS,
        TOKEN_IDS,
        lambda h, _: (_parameters(h).draft_vocabulary,),
        layered=False,
        needed=_chooses_tokens,
        integers=True,
    ),
)

LAYER_NUMBERS = Form(
    f"an array of INT32 from 1 to {MAX_LAYERS}",
    None,
    (ValueType.INT32, ValueType.UINT32),
    ITEMS,
    low=1,
    high=MAX_LAYERS,
)

#: llama.cpp knows silu, which it takes where nothing is said, and gelu.
ACTIVATION = Form(
    "one of silu, gelu, gelu_pytorch_tanh", ValueType.STRING, choices=("silu", "gelu", "gelu_pytorch_tanh")
)


def _key(name: str, form: Form, attribute: str = "", **more: Any) -> Key:
    return Key(name, form, lambda model: getattr(model, attribute) if attribute else None, ASSISTANT, **more)


#: Of every drafter's layers, in the order of upstream's converter; and all of a DFlash drafter's.
LAYER_KEYS = (
    _key("block_count", DEPTH, "layers"),
    _key("context_length", COUNT, "context"),
    _key("embedding_length", COUNT, "hidden"),
    _key("feed_forward_length", PER_LAYER, "intermediate"),
    _key("attention.head_count", PER_LAYER, "heads"),
    _key("attention.head_count_kv", PER_LAYER, "kv_heads_sliding", assumed="attention.head_count"),
    _key("rope.freq_base", REAL, "rope_base_full", assumed=10_000.0),
    _key("attention.layer_norm_rms_epsilon", REAL, "norm_epsilon"),
)
KEYS = (
    *LAYER_KEYS,
    _key("attention.key_length", COUNT, "head_dim_full"),
    _key("attention.value_length", COUNT, "head_dim_full"),
    _key("block_size", COUNT, "block", assumed=16),
    _key("final_logit_softcapping", NUMBER, "logit_softcap", needed=False),
    _key("embedding_scale", NUMBER, "embedding_scale", needed=False),
    Key(
        "target_layers",
        LAYER_NUMBERS,
        lambda model: tuple(layer + 1 for layer in _parameters(model).target_layers),
        ASSISTANT,
    ),
    Key(
        "attention.sliding_window",
        WINDOW,
        lambda model: model.sliding_window if _parameters(model).windowed else None,
        ASSISTANT,
        needed=False,
    ),
    Key(
        "attention.sliding_window_pattern",
        FLAGS,
        lambda model: model.sliding if _parameters(model).windowed else None,
        ASSISTANT,
        needed=False,
    ),
    _key("attention.causal", FLAG, "causal", needed=False),
    # Read from every drafter, and in none of z-lab's for Gemma 4.
    _key("attention.scale", NUMBER, needed=False),
    _key("attention.value_scale", NUMBER, needed=False),
    _key("logit_scale", NUMBER, needed=False),
    _key("hidden_activation", ACTIVATION, needed=False),
)
