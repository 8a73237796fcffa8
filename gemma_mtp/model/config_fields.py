"""Every field of transformers' Gemma 4 configuration classes: heeded, harmless, or bound to what llama.cpp computes.

A field that changes the mathematics and that a GGUF has no place for must not be dropped in silence: it is in `BOUNDS`
with the values that llama.cpp's graph computes (src/models/gemma4.cpp, gemma4-assistant.cpp). What is in none of the
tables is unknown, and is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from gemma_mtp.files.text import shown

#: Read into `Hyperparameters`, by the conversion of the tokenizer, or by the refusal of packed weights.
USED = frozenset(
    [
        "architectures",
        "text_config",
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "global_head_dim",
        "num_global_key_value_heads",
        "per_layer_config",
        "max_position_embeddings",
        "rms_norm_eps",
        "rope_parameters",
        "sliding_window",
        "layer_types",
        "final_logit_softcapping",
        "attention_k_eq_v",
        "num_kv_shared_layers",
        "hidden_size_per_layer_input",
        "use_double_wide_mlp",
        "enable_moe_block",
        "num_experts",
        "top_k_experts",
        "moe_intermediate_size",
        "tie_word_embeddings",
        "backbone_hidden_size",
        "use_ordered_embeddings",
        "num_centroids",
        "centroid_intermediate_top_k",
        "pad_token_id",
        "eos_token_id",
        "bos_token_id",
        "unk_token_id",
        "sep_token_id",
        "mask_token_id",
        "_name_or_path",
        "quantization_config",
        "quantization",
    ]
)

_TOKENS = "a token's number, which the multimodal processor uses"
_TRAINING = "for training and the beginning of it alone"
_OUTPUT = "what a call of transformers returns"
_LABELS = "of classifiers, which these classes are not"
_WRITER = "says what wrote the file"
_PRECISION = "the weights' types are read from the weights"
#: Field -> why its value makes no difference to a text GGUF.
HARMLESS: Mapping[str, str] = MappingProxyType(
    {
        "vision_config": "a text GGUF has no vision tower",
        "audio_config": "a text GGUF has no audio tower",
        "boi_token_id": _TOKENS,
        "eoi_token_id": _TOKENS,
        "boa_token_id": _TOKENS,
        "eoa_token_id": _TOKENS,
        "eoa_token_index": _TOKENS,
        "image_token_id": _TOKENS,
        "audio_token_id": _TOKENS,
        "video_token_id": _TOKENS,
        "initializer_range": _TRAINING,
        "attention_dropout": _TRAINING,
        "use_cache": "the runtime decides about its cache",
        "vocab_size_per_layer_input": "the table of per-layer embeddings must have vocab_size rows in any case",
        "output_attentions": _OUTPUT,
        "output_hidden_states": _OUTPUT,
        "return_dict": _OUTPUT,
        "id2label": _LABELS,
        "label2id": _LABELS,
        "problem_type": _LABELS,
        "chunk_size_feed_forward": "parts of the same computation, one after the other",
        "model_type": "architectures names the class",
        "transformers_version": _WRITER,
        "unsloth_version": _WRITER,
        "unsloth_fixed": _WRITER,
        "dtype": _PRECISION,
        "torch_dtype": _PRECISION,
        "_attn_implementation": "which kernel of transformers computes attention",
        "attn_implementation": "which kernel of transformers computes attention",
    }
)


@dataclass(frozen=True)
class Bound:
    """A field with values that llama.cpp's graph does not compute.

    fits: whether it computes this value, for a config of these fields. graph: what it computes, as people are told.
    """

    fits: Callable[[Any, Mapping[str, Any]], bool]
    graph: str


def _one_of(*values: Any) -> Callable[[Any, Mapping[str, Any]], bool]:
    return lambda value, _: any(value is wanted or (value == wanted and not _is_bool(value)) for wanted in values)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


#: For every model.
BOUNDS: Mapping[str, Bound] = MappingProxyType(
    {
        # gelu_new is the same formula under its older name.
        "hidden_activation": Bound(_one_of(None, "gelu_pytorch_tanh", "gelu_new"), "gelu_pytorch_tanh"),
        "attention_bias": Bound(_one_of(None, False), "attention without biases"),
        "use_bidirectional_attention": Bound(_one_of(None, "vision"), "causal attention between text tokens"),
        "is_encoder_decoder": Bound(_one_of(None, False), "a decoder alone"),
    }
)
#: For assistants too: what transformers refuses in one, and mainline's graph of one does not have.
ASSISTANT_BOUNDS: Mapping[str, Bound] = MappingProxyType(
    {
        "hidden_size_per_layer_input": Bound(_one_of(None, 0), "an assistant without per-layer embeddings"),
        "enable_moe_block": Bound(_one_of(None, False), "an assistant without experts"),
        "use_double_wide_mlp": Bound(_one_of(None, False), "an assistant whose layers are equally wide"),
        "num_kv_shared_layers": Bound(
            lambda value, config: _one_of(None, 0, config.get("num_hidden_layers"))(value, config),
            "an assistant whose layers all share the target's keys and values",
        ),
    }
)

#: The kind of layer -> the types of rope whose frequencies a Gemma 4 GGUF can say.
ROPE_TYPES = {"sliding_attention": "default", "full_attention": "proportional"}
_ROPE_USED = frozenset(("rope_type", "type", "rope_theta", "partial_rotary_factor", "factor"))
#: Fields of `RopeParameters` that only refused types of rope read, or other models' classes.
_ROPE_HARMLESS = frozenset(
    [
        "original_max_position_embeddings",
        "attention_factor",
        "beta_fast",
        "beta_slow",
        "short_factor",
        "long_factor",
        "low_freq_factor",
        "high_freq_factor",
        "mscale",
        "mscale_all_dim",
        "truncate",
        "mrope_section",
    ]
)
ROPE_KNOWN = _ROPE_USED | _ROPE_HARMLESS


def beyond_the_graph(fields: Mapping[str, Any], *, is_assistant: bool) -> Iterator[str]:
    """What config.json asks for and llama.cpp does not compute, a clause each. `fields`: those of the text model."""
    bounds = {**BOUNDS, **(ASSISTANT_BOUNDS if is_assistant else {})}
    for name, bound in bounds.items():
        if name in fields and not bound.fits(fields[name], fields):
            yield f"{name} is {shown(fields[name])}, and llama.cpp computes {bound.graph}"
    rope = fields.get("rope_parameters")
    for layers, wanted in ROPE_TYPES.items():
        part = rope.get(layers) if isinstance(rope, Mapping) else None
        if isinstance(part, Mapping):
            yield from _rope_beyond(layers, part, wanted)


def _rope_beyond(layers: str, rope: Mapping[str, Any], wanted: str) -> Iterator[str]:
    place = f"rope_parameters.{layers}"
    found = rope.get("rope_type", rope.get("type", "default"))
    if found != wanted:
        yield f"{place}.rope_type is {shown(found)}, and llama.cpp computes {wanted} rope there"
    elif not _one_of(None, 1)(rope.get("factor"), rope):
        yield f"{place}.factor is {shown(rope['factor'])}, and llama.cpp computes rope that is not scaled"
    if wanted == "default" and not _one_of(None, 1)(rope.get("partial_rotary_factor"), rope):
        share = shown(rope["partial_rotary_factor"])
        yield f"{place}.partial_rotary_factor is {share}, and llama.cpp rotates the whole head there"


def unknown_fields(config: Mapping[str, Any]) -> list[str]:
    """The fields of config.json and its text_config that are in no table, with their places."""
    known = USED | HARMLESS.keys() | BOUNDS.keys()
    nested = config.get("text_config")
    text: Mapping[str, Any] = nested if isinstance(nested, Mapping) else {}
    rope = text.get("rope_parameters", config.get("rope_parameters"))
    parts = [rope.get(layers) for layers in ROPE_TYPES] if isinstance(rope, Mapping) else []
    return [
        *(name for name in config if name not in known),
        *(f"text_config.{name}" for name in text if name not in known),
        *(f"rope_parameters.{name}" for name in (rope if isinstance(rope, Mapping) else ()) if name not in ROPE_TYPES),
        *(
            f"rope_parameters.{layers}.{name}"
            for layers, part in zip(ROPE_TYPES, parts, strict=False)
            for name in (part if isinstance(part, Mapping) else ())
            if name not in ROPE_KNOWN
        ),
    ]
