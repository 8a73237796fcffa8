"""config.json -> `Hyperparameters`: both config styles and all defaults end here and nowhere else.

config.json comes in two styles: `global_head_dim` and `num_global_key_value_heads` in the text config, or (newer
transformers) `per_layer_config: {"3": {"head_dim": 512, "num_key_value_heads": 2}}`. It also leans on the defaults of
transformers' `Gemma4TextConfig`; those that are relied on are in `DEFAULTS`, everything else must be said.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from gemma_mtp.advice import LORA_REMEDY
from gemma_mtp.errors import CheckpointError, some
from gemma_mtp.files import text
from gemma_mtp.files.gguf_reader import TensorInfo
from gemma_mtp.files.text import shown
from gemma_mtp.model.config_fields import beyond_the_graph, unknown_fields
from gemma_mtp.model.part import Part

#: HF class -> which part of a pair it is.
ARCHITECTURES = {
    "Gemma4AssistantForCausalLM": Part.ASSISTANT,
    "Gemma4UnifiedAssistantForCausalLM": Part.ASSISTANT,
    "Gemma4ForCausalLM": Part.TARGET,
    "Gemma4ForConditionalGeneration": Part.TARGET,
    "Gemma4UnifiedForConditionalGeneration": Part.TARGET,
    "Gemma4UnifiedForCausalLM": Part.TARGET,  # the 12B's text model alone, which upstream's converter does not take
}

#: Defaults of transformers' Gemma4TextConfig and Gemma4AssistantConfig (5.22) that a config.json may rely on.
#: `backbone_hidden_size` has one there too (1536), but a width that decides which target fits is never assumed.
DEFAULTS: dict[str, Any] = {
    "head_dim": 256,
    "global_head_dim": 512,
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 131072,
    "final_logit_softcapping": None,
    "tie_word_embeddings": True,
    "attention_k_eq_v": False,
    "num_kv_shared_layers": 0,
    "hidden_size_per_layer_input": 256,
    "use_double_wide_mlp": False,
    "enable_moe_block": False,
    "num_experts": None,
    "top_k_experts": None,
    "moe_intermediate_size": None,
    "num_global_key_value_heads": None,
    "per_layer_config": None,
    "use_ordered_embeddings": False,
    "num_centroids": 2048,
    "centroid_intermediate_top_k": 32,
    "rope_parameters": {
        "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
        "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1_000_000.0},
    },
}

#: Where the defaults of the unified classes (12B) differ; there are no per-layer embeddings among them.
UNIFIED_DEFAULTS: dict[str, Any] = {**DEFAULTS, "max_position_embeddings": 262144, "hidden_size_per_layer_input": 0}

#: Checkpoints whose weights are already packed: config key or value -> what it is.
PACKED_FORMATS = {"quantization_config": "quantized weights", "quantization": "MLX-quantized weights"}

#: As many as llama.cpp takes (LLAMA_MAX_LAYERS, LLAMA_MAX_EXPERTS).
MOST_LAYERS, MOST_EXPERTS = 512, 1024
#: FLOAT32's largest number.
LARGEST = 3.4028234663852886e38
#: What `per_layer_config` may change from layer to layer.
PER_LAYER = ("head_dim", "num_key_value_heads")
ROPE_WANTED = (
    "sliding_attention and full_attention with a rope_theta above 0 each, and a partial_rotary_factor above 0 up to 1"
)


@dataclass(frozen=True)
class Hyperparameters:
    """One model's text part. Per-layer values are tuples of `layers` entries; widths are numbers of elements.

    family: the name of its record (`model.family`); a family whose drafters have more to say has a class of its own.
    proportional_rope: whether a GGUF of it has the tensor of `rope_factors`.
    """

    family: ClassVar[str] = "mtp"
    proportional_rope: ClassVar[bool] = True

    part: Part
    architecture: str  # the HF class
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads_sliding: int
    kv_heads_full: int | None  # None: the same as sliding
    head_dim_sliding: int
    head_dim_full: int
    sliding: tuple[bool, ...]  # whether a layer sees only the window
    sliding_window: int
    context: int
    norm_epsilon: float
    rope_base_sliding: float
    rope_base_full: float
    rotary_share_full: float  # the share of a full layer's head that is rotated
    vocabulary: int
    logit_softcap: float | None
    shared_kv_layers: int  # trailing layers without keys and values of their own
    per_layer_input: int  # width of the per-layer embeddings, 0 without
    double_wide_mlp: bool  # whether shared-KV layers have twice the intermediate width
    values_are_keys: bool  # full layers without a v_proj (attention_k_eq_v)
    experts: int
    experts_used: int
    expert_intermediate: int
    tied_head: bool = True  # whether the embedding is the head too
    # Assistants only:
    backbone: int = 0  # the target's hidden width
    centroids: int = 0  # clusters of the centroid head, 0 without
    centroid_top_k: int = 0
    notes: tuple[str, ...] = ()  # what config.json says and was not heeded, for people
    copies: tuple[str, ...] = ()  # tensors of a checkpoint that are another model's, and not converted

    def told_by(self, tensors: Mapping[str, TensorInfo]) -> Hyperparameters:
        """The same with what a GGUF's tensors alone tell, and no key."""
        return self

    def head_dim(self, layer: int) -> int:
        return self.head_dim_sliding if self.sliding[layer] else self.head_dim_full

    def kv_heads(self, layer: int) -> int:
        full = self.kv_heads_sliding if self.kv_heads_full is None else self.kv_heads_full
        return self.kv_heads_sliding if self.sliding[layer] else full

    def shares_kv(self, layer: int) -> bool:
        return layer >= self.layers - self.shared_kv_layers

    def layer_intermediate(self, layer: int) -> int:
        return self.intermediate * (2 if self.double_wide_mlp and self.shares_kv(layer) else 1)

    def rope_factors(self) -> list[float]:
        """Divisors of the full layers' rotary frequencies: see `proportional_rope_factors`."""
        return proportional_rope_factors(self.head_dim_full, self.rotary_share_full)


def proportional_rope_factors(head_dim: int, share: float) -> list[float]:
    """Divisors of a full layer's rotary frequencies, [head_dim / 2]: 1 where rotated, 1e30 where not.

    Gemma 4's "proportional" rope rotates the first share of a head's pairs; ggml rotates all of them, so the rest get
    a frequency of practically zero (upstream's converter, `generate_extra_tensors`).
    """
    rotated = int(head_dim * share / 2)
    return [1.0] * rotated + [1e30] * (head_dim // 2 - rotated)


def read_config(folder: Path) -> dict[str, Any]:
    """What the config.json in `folder` says. Raises CheckpointError: there is none, or it is no JSON."""
    path = folder / "config.json"
    if not path.exists() and (folder / "adapter_config.json").exists():
        raise CheckpointError("this is a LoRA adapter, not a model", where=folder, hint=LORA_REMEDY)
    return read_json(path)


def read_json(path: Path, parse: Callable[[bytes], Any] | None = None) -> dict[str, Any]:
    """A JSON object from a file of a checkpoint; a large one by the parser `parse`. Raises CheckpointError."""
    if not os.path.lexists(path):
        raise CheckpointError(
            f"there is no {path.name}", where=path.parent, hint="name a folder with a Hugging Face checkpoint in it"
        )
    if parse is None:
        content = text.read_json(path, error=CheckpointError)
    else:
        content = text.read_large_json(path, parse, error=CheckpointError)
    if not isinstance(content, dict):
        raise CheckpointError("is JSON, but no object", where=path)
    return content


def parse_config(config: Mapping[str, Any], path: Path) -> Hyperparameters:
    """The hyper-parameters of a Gemma 4 target or assistant; `path` is for messages.

    Raises CheckpointError: another architecture, packed weights, a field missing or odd.
    """
    architecture = _architecture(config, path)
    part = ARCHITECTURES[architecture]
    refuse_packed(config, path)
    nested = config.get("text_config")
    if nested is not None and not isinstance(nested, Mapping):
        raise CheckpointError(f"text_config is {shown(nested)}, not an object", where=path)
    defaults = UNIFIED_DEFAULTS if architecture.startswith("Gemma4Unified") else DEFAULTS
    field = ConfigFields({**config, **(nested or {})}, defaults, path)
    is_assistant = part is Part.ASSISTANT
    layers = field.count("num_hidden_layers", most=MOST_LAYERS)
    _refuse_beyond_the_graph(field.config, is_assistant, path)
    sliding, notes = _layer_types(field, layers)
    unknown = unknown_fields(config)
    if unknown:
        notes += (
            f"config.json has fields that are unknown and were not heeded: {some((name[:80] for name in unknown), 8)}",
        )
    full_layers = [layer for layer in range(layers) if not sliding[layer]]
    rope = field.value("rope_parameters", _is_rope, ROPE_WANTED)
    experts = bool(field.flag("enable_moe_block"))
    ordered = is_assistant and field.flag("use_ordered_embeddings")
    return Hyperparameters(
        part=part,
        architecture=architecture,
        layers=layers,
        hidden=field.count("hidden_size"),
        intermediate=field.count("intermediate_size"),
        heads=field.count("num_attention_heads"),
        kv_heads_sliding=field.count("num_key_value_heads"),
        kv_heads_full=_full_kv_heads(field, full_layers),
        head_dim_sliding=field.count("head_dim"),
        head_dim_full=_full_head_dim(field, full_layers),
        sliding=sliding,
        sliding_window=field.count("sliding_window"),
        context=field.count("max_position_embeddings"),
        norm_epsilon=field.number("rms_norm_eps", above=0),
        rope_base_sliding=float(rope["sliding_attention"]["rope_theta"]),
        rope_base_full=float(rope["full_attention"]["rope_theta"]),
        rotary_share_full=float(rope["full_attention"].get("partial_rotary_factor", 1.0)),
        vocabulary=field.count("vocab_size"),
        logit_softcap=field.optional_number("final_logit_softcapping"),
        shared_kv_layers=layers if is_assistant else field.count("num_kv_shared_layers", least=0),
        per_layer_input=0 if is_assistant else field.count("hidden_size_per_layer_input", least=0),
        double_wide_mlp=field.flag("use_double_wide_mlp"),
        values_are_keys=field.flag("attention_k_eq_v"),
        experts=field.count("num_experts", most=MOST_EXPERTS) if experts else 0,
        experts_used=field.count("top_k_experts") if experts else 0,
        expert_intermediate=field.count("moe_intermediate_size") if experts else 0,
        tied_head=field.flag("tie_word_embeddings"),
        backbone=field.count("backbone_hidden_size") if is_assistant else 0,
        centroids=field.count("num_centroids") if ordered else 0,
        centroid_top_k=field.count("centroid_intermediate_top_k") if ordered else 0,
        notes=notes,
    )


def refuse_packed(config: Mapping[str, Any], path: Path) -> None:
    """Raises CheckpointError for a checkpoint whose weights are packed already."""
    for key, what in PACKED_FORMATS.items():
        if config.get(key):
            raise CheckpointError(
                f"{key} says that this checkpoint has {what}", where=path, hint="start from the original checkpoint"
            )


def _refuse_beyond_the_graph(fields: Mapping[str, Any], is_assistant: bool, path: Path) -> None:
    beyond = list(beyond_the_graph(fields, is_assistant=is_assistant))
    if beyond:
        raise CheckpointError(
            "; ".join(beyond), where=path, hint="no GGUF of this checkpoint would compute what the checkpoint does"
        )


class ConfigFields:
    """Typed access to a config's fields, with the documented defaults and one way to complain."""

    def __init__(self, config: Mapping[str, Any], defaults: Mapping[str, Any], path: Path):
        self.config, self.defaults, self.path = config, defaults, path

    def value(self, key: str, fits: Callable[[Any], bool], wanted: str) -> Any:
        """The field, or its default. Raises CheckpointError if it is absent without a default, or does not fit."""
        value = self.config.get(key)
        if value is None:
            if key not in self.defaults:
                raise CheckpointError(
                    f"the field {key} is missing", where=self.path, hint="the checkpoint is incomplete"
                )
            value = self.defaults[key]
        if not fits(value):
            raise CheckpointError(f"{key} is {shown(value)}, not {wanted}", where=self.path)
        return value

    def count(self, key: str, least: int = 1, most: int = 2**31 - 1) -> int:
        wanted = f"a whole number from {least} to {most:,}"
        return int(self.value(key, lambda value: is_integer(value) and least <= value <= most, wanted))

    def number(self, key: str, above: float) -> float:
        return float(self.value(key, lambda value: _is_number(value) and value > above, f"a number above {above}"))

    def optional_number(self, key: str) -> float | None:
        value = self.value(key, lambda value: value is None or _is_number(value), "a number")
        return None if value is None else float(value)

    def flag(self, key: str) -> bool:
        return bool(self.value(key, lambda value: isinstance(value, bool), "true or false"))


def is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    """A number that a GGUF's FLOAT32 can hold: no NaN, nothing infinite."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and -LARGEST <= value <= LARGEST


def _is_rope(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return False
    parts = [value.get("sliding_attention"), value.get("full_attention")]
    return all(
        isinstance(part, Mapping)
        and _is_number(part.get("rope_theta"))
        and part["rope_theta"] > 0
        and _is_number(share := part.get("partial_rotary_factor", 1.0))
        and 0 < share <= 1
        for part in parts
    )


def _architecture(config: Mapping[str, Any], path: Path) -> str:
    named = config.get("architectures")
    architecture = named[0] if isinstance(named, list) and named else None
    if isinstance(architecture, str) and architecture in ARCHITECTURES:
        return architecture
    if architecture is not None and not isinstance(architecture, str):
        architecture = shown(architecture)
    known = ", ".join(ARCHITECTURES)
    raise CheckpointError(
        f"the architecture is {architecture or 'not named'}, which is neither a Gemma 4 assistant nor a Gemma 4 target "
        f"({known})",
        where=path,
        hint="for other models use llama.cpp's convert_hf_to_gguf.py",
    )


def _layer_types(field: ConfigFields, layers: int) -> tuple[tuple[bool, ...], tuple[str, ...]]:
    """Which layers are sliding, and a note. Without `layer_types`: five sliding, one full, and so on.

    The last is always full: transformers makes it so, whatever is said (`Gemma4TextConfig.__post_init__`).
    """
    kinds = field.config.get("layer_types")
    if kinds is None:
        kinds = ["full_attention" if (layer + 1) % 6 == 0 else "sliding_attention" for layer in range(layers)]
        kinds[-1] = "full_attention"
    known = ("sliding_attention", "full_attention")
    if not isinstance(kinds, list) or len(kinds) != layers or any(kind not in known for kind in kinds):
        raise CheckpointError(f"layer_types must name {layers} layers as one of {', '.join(known)}", where=field.path)
    notes: tuple[str, ...] = ()
    if kinds[-1] != "full_attention":
        notes = ("the last layer is converted as a full one, which transformers makes of it whatever layer_types says",)
    return (*(kind == "sliding_attention" for kind in kinds[:-1]), False), notes


def _full_layers_value(field: ConfigFields, full_layers: list[int], key: str) -> int | None:
    """`key` as the newer config style changes it for the full layers; None if it does not, or the style is the older.

    A GGUF has one value for all full layers and one for all sliding ones. Raises CheckpointError for other configs.
    """
    per_layer = field.config.get("per_layer_config")
    if per_layer is None:
        return None
    if not isinstance(per_layer, Mapping) or not all(isinstance(layer, Mapping) for layer in per_layer.values()):
        raise CheckpointError("per_layer_config must be an object of objects", where=field.path)
    per_layer = {str(layer): changes for layer, changes in per_layer.items()}
    base, full = field.count(key), set(map(str, full_layers))
    for layer, changes in per_layer.items():
        other = next((name for name in changes if name not in PER_LAYER), None)
        if other is not None:
            what = f"per_layer_config changes {other[:80]} in layer {layer[:80]}, which no GGUF of Gemma 4 can say"
            raise CheckpointError(what, where=field.path)
        if layer not in full and changes.get(key, base) != base and layer.isdecimal():
            what = f"per_layer_config gives the sliding layer {layer[:80]} the {key} {shown(changes[key])}, not {base}"
            raise CheckpointError(what, where=field.path)
    found = [per_layer.get(layer, {}).get(key, base) for layer in map(str, full_layers)]
    if any(value != found[0] for value in found) or not (is_integer(found[0]) and 0 < found[0] < 2**31):
        raise CheckpointError(f"per_layer_config gives the full layers the odd {key} {shown(found)}", where=field.path)
    named = any(key in per_layer.get(str(layer), {}) for layer in full_layers)
    return int(found[0]) if named else None


def _full_head_dim(field: ConfigFields, full_layers: list[int]) -> int:
    """The full layers' head width. transformers heeds `global_head_dim` in the older style alone."""
    older = field.config.get("per_layer_config") is None
    return _full_layers_value(field, full_layers, "head_dim") or field.count("global_head_dim" if older else "head_dim")


def _full_kv_heads(field: ConfigFields, full_layers: list[int]) -> int | None:
    """The full layers' KV heads. In the older style transformers heeds them only together with attention_k_eq_v."""
    if field.config.get("per_layer_config") is not None:
        return _full_layers_value(field, full_layers, "num_key_value_heads")
    if not field.flag("attention_k_eq_v") or field.config.get("num_global_key_value_heads") is None:
        return None
    return field.count("num_global_key_value_heads")
