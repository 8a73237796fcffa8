"""A DFlash drafter's hyper-parameters, from config.json in a layout of `layouts`, and from a GGUF's keys.

A drafter is no Gemma: it is built as a Qwen3 (SiLU, two norms a layer, attention scaled by its head's width), has keys
and values of its own, and borrows embeddings and head of its target. What it reads there is the output of some layers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

from gemma_mtp.errors import CheckpointError
from gemma_mtp.files.gguf_reader import TensorInfo
from gemma_mtp.model.config import MOST_LAYERS, ConfigFields, Hyperparameters, is_integer, refuse_packed
from gemma_mtp.model.dflash.layouts import HEAD, Layout, layout_of
from gemma_mtp.model.part import Part

#: HF class -> part. speculators' files have either name, whatever wrote them last.
CLASSES = {"DFlashDraftModel": Part.ASSISTANT, "DFlashSpeculator": Part.ASSISTANT}
#: Settings of DFlash's successor, for which a file of this family has tensors that are not known here.
SUCCESSOR = ("conv_kernel_size", "conv_group_size", "selector_rank", "selector_top_k")
#: What tells a GGUF of it, which has the same architecture (llama.cpp's own sign).
SELECTOR = "selector_hidden.weight"
#: A tensor's name: the ids of the tokens that a head of its own knows.
TOKEN_IDS = "d2t"
#: How many target layers a drafter reads at most: more than any has.
MOST_READ = 64


@dataclass(frozen=True)
class DFlashParameters(Hyperparameters):
    """What a drafter has beside what every model has. `backbone` is its own width, for it is its target's, too.

    target_layers: of which layers it reads the output, from 0. A GGUF names them by whose input that is: one more.
    block: the newest token and the drafts after it. mask_token: what stands in a draft's place before it is drafted.
    embedding_scale: what its target's embeddings are multiplied by; None: the file does not say, llama.cpp takes 1.
    draft_vocabulary: the tokens that its own head knows; 0: all, and the head is the target's.
    windowed: whether any layer has the sliding window. causal: whether a place of a block sees only those before it.
    """

    family: ClassVar[str] = "dflash"
    proportional_rope: ClassVar[bool] = False

    target_layers: tuple[int, ...] = ()
    block: int = 16
    mask_token: int | None = None
    embedding_scale: float | None = None
    windowed: bool = False
    causal: bool | None = None
    draft_vocabulary: int = 0

    def told_by(self, tensors: Mapping[str, TensorInfo]) -> DFlashParameters:
        """No key says how many tokens a head of its own knows: the list of them does."""
        ids = tensors.get(TOKEN_IDS)
        return self if ids is None else replace(self, draft_vocabulary=sum(ids.shape[:1]))

    @property
    def most_drafts(self) -> int:
        """How many tokens a block can draft: all but its first, the newest token."""
        return self.block - 1

    @property
    def features(self) -> int:
        """How many numbers of a token it reads: those of all its target layers, side by side."""
        return len(self.target_layers) * self.backbone

    @property
    def known_tokens(self) -> int:
        """How many tokens its head knows, its own one or the target's."""
        return self.draft_vocabulary or self.vocabulary


def parse_config(config: Mapping[str, Any], path: Path) -> DFlashParameters:
    """The hyper-parameters of a config.json in any known layout. Raises CheckpointError; `path` is for its message."""
    refuse_packed(config, path)
    layout = layout_of(config, path)
    field = layout.fields(config, path)
    _refuse(field)
    layers, hidden, vocabulary = (
        field.count("num_hidden_layers", most=MOST_LAYERS),
        field.count("hidden_size"),
        field.count("vocab_size"),
    )
    sliding, draft_vocabulary = _sliding(field, layers), _draft_vocabulary(field, vocabulary)
    # Gemma 4's embeddings are scaled wherever they are looked up, whether a drafter's config says so or not.
    scale = scale_of(hidden) if layout.scaled else 1.0
    return DFlashParameters(
        architecture=str(config["architectures"][0]),
        context=field.count("max_position_embeddings"),
        norm_epsilon=field.number("rms_norm_eps", above=0),
        vocabulary=vocabulary,
        logit_softcap=_optional(field, "final_logit_softcapping"),
        target_layers=_target_layers(field, layout),
        block=field.count("block_size", least=2),
        mask_token=field.count("mask_token_id", least=0) if "mask_token_id" in field.config else None,
        embedding_scale=_optional(field, "input_embedding_scale") or scale,
        causal=_causal(field, layout, sliding),
        windowed=any(sliding),
        draft_vocabulary=draft_vocabulary,
        copies=layout.copies if draft_vocabulary or not layout.copies else (*layout.copies, HEAD),
        **_shape(
            layers=layers,
            hidden=hidden,
            intermediate=field.count("intermediate_size"),
            heads=field.count("num_attention_heads"),
            kv_heads=field.count("num_key_value_heads"),
            head_dim=field.count("head_dim"),
            sliding=sliding,
            window=field.count("sliding_window") if any(sliding) else 0,
            rope_base=_rope_base(field),
        ),
    )


def of_keys(key: Mapping[str, Any], vocabulary: int) -> DFlashParameters | str:
    """The drafter that a GGUF's keys describe, or why they describe none. vocabulary: the number of tokens."""
    layers, window = key["block_count"], key.get("attention.sliding_window", 0)
    flags = key.get("attention.sliding_window_pattern")
    if window and flags is None:
        return "attention.sliding_window is there without attention.sliding_window_pattern"
    if key["attention.key_length"] != key["attention.value_length"]:
        return "attention.key_length and attention.value_length differ"
    widths = {
        name: _one(key[name]) for name in ("feed_forward_length", "attention.head_count", "attention.head_count_kv")
    }
    uneven = next((name for name, value in widths.items() if value is None), None)
    if uneven:
        return f"{uneven} differs between layers"
    return DFlashParameters(
        architecture="",
        context=key["context_length"],
        norm_epsilon=key["attention.layer_norm_rms_epsilon"],
        vocabulary=vocabulary,
        logit_softcap=key.get("final_logit_softcapping"),
        target_layers=tuple(number - 1 for number in key["target_layers"]),
        block=key["block_size"],
        embedding_scale=key.get("embedding_scale"),
        causal=key.get("attention.causal"),
        windowed=bool(window) and any(flags or ()),
        **_shape(
            layers=layers,
            hidden=key["embedding_length"],
            intermediate=widths["feed_forward_length"] or 0,
            heads=widths["attention.head_count"] or 0,
            kv_heads=widths["attention.head_count_kv"] or 0,
            head_dim=key["attention.key_length"],
            sliding=flags if window and flags else (False,) * layers,
            window=window,
            rope_base=key["rope.freq_base"],
        ),
    )


def values_of(model: DFlashParameters) -> dict[str, Any]:
    """By field, for drafters that have more of them."""
    return {one.name: getattr(model, one.name) for one in fields(model)}


def _one(value: int | tuple[int, ...]) -> int | None:
    """A value that all layers have; None if they differ."""
    values = {*value} if isinstance(value, tuple) else {value}
    return values.pop() if len(values) == 1 else None


def _shape(
    *,
    layers: int,
    hidden: int,
    intermediate: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    sliding: tuple[bool, ...],
    window: int,
    rope_base: float,
) -> dict[str, Any]:
    """What every model has, as a drafter of this family has it: one width of heads, one rope, nothing shared."""
    return {
        "part": Part.ASSISTANT,
        "layers": layers,
        "hidden": hidden,
        "intermediate": intermediate,
        "heads": heads,
        "kv_heads_sliding": kv_heads,
        "kv_heads_full": kv_heads,
        "head_dim_sliding": head_dim,
        "head_dim_full": head_dim,
        "sliding": sliding,
        "sliding_window": window,
        "rope_base_sliding": rope_base,
        "rope_base_full": rope_base,
        "rotary_share_full": 1.0,
        "shared_kv_layers": 0,
        "per_layer_input": 0,
        "double_wide_mlp": False,
        "values_are_keys": False,
        "experts": 0,
        "experts_used": 0,
        "expert_intermediate": 0,
        "backbone": hidden,
    }


def scale_of(width: int) -> float:
    """What a Gemma 4 of this width multiplies its embeddings by (transformers, `Gemma4TextScaledWordEmbedding`)."""
    return math.sqrt(width)


def _refuse(field: ConfigFields) -> None:
    """Raises CheckpointError for what llama.cpp's graph, or this reader, does not know."""
    later = next((name for name in SUCCESSOR if name in field.config), None)
    if later:
        raise CheckpointError(
            f"{later} shows that this is a DFlash2 drafter, which is not converted here",
            where=field.path,
            hint="llama.cpp's convert_hf_to_gguf.py converts it",
        )
    if field.value("hidden_act", lambda value: isinstance(value, str), "a name") != "silu":
        raise CheckpointError(f"hidden_act is {field.config['hidden_act']}, not silu", where=field.path)
    if field.config.get("sample_from_anchor"):
        raise CheckpointError(
            "sample_from_anchor is true: it drafts from the newest token's own place on, which draft-dflash leaves out",
            where=field.path,
        )
    if field.flag("attention_bias"):
        raise CheckpointError("attention_bias is true: llama.cpp's graph has no biases", where=field.path)


def _optional(field: ConfigFields, name: str) -> float | None:
    return field.optional_number(name) if field.config.get(name) is not None else None


def _causal(field: ConfigFields, layout: Layout, sliding: tuple[bool, ...]) -> bool | None:
    """Whether a place of a block sees only those before it; None: it is not said, and all see each other.

    Raises CheckpointError for a drafter whose layers differ in that.
    """
    if layout.one_way:
        if not any(sliding) or field.flag(layout.one_way):
            return None
        if all(sliding):
            return True
        raise CheckpointError(
            f"{layout.one_way} is false: inside a block its sliding layers see only what is before them, its full ones "
            "everything; llama.cpp has one of the two for all layers",
            where=field.path,
        )
    said = next((name for name in ("is_causal", "causal") if field.config.get(name) is not None), None)
    return None if said is None else field.flag(said)


def _draft_vocabulary(field: ConfigFields, vocabulary: int) -> int:
    """How many tokens a head of its own knows; 0 where it is the target's."""
    if "draft_vocab_size" not in {**field.defaults, **field.config}:
        return 0
    count = field.count("draft_vocab_size", most=vocabulary)
    return 0 if count == vocabulary else count


def _rope_base(field: ConfigFields) -> float:
    """One base for all layers. Raises CheckpointError for a rope that is scaled, or has several."""
    rope = field.config.get("rope_parameters") or {}
    scaling = field.config.get("rope_scaling")
    kinds = {
        one.get("rope_type", one.get("type", "default")) for one in (rope, scaling or {}) if isinstance(one, Mapping)
    }
    if not isinstance(rope, Mapping) or "full_attention" in rope or kinds - {"default", None}:
        raise CheckpointError(
            "its rope is not the plain one of one base, which is all that is converted", where=field.path
        )
    return ConfigFields({**rope, **field.config}, field.defaults, field.path).number("rope_theta", above=0)


def _sliding(field: ConfigFields, layers: int) -> tuple[bool, ...]:
    """Which layers are sliding. As upstream's converter: none, unless use_sliding_window says so."""
    kinds = field.config.get("layer_types")
    if field.config.get("use_sliding_window") is not True or not field.config.get("sliding_window") or kinds is None:
        return (False,) * layers
    known = ("sliding_attention", "full_attention")
    if not isinstance(kinds, list) or len(kinds) != layers or any(kind not in known for kind in kinds):
        raise CheckpointError(f"layer_types must name {layers} layers as one of {', '.join(known)}", where=field.path)
    return tuple(kind == "sliding_attention" for kind in kinds)


def _target_layers(field: ConfigFields, layout: Layout) -> tuple[int, ...]:
    """From 0."""

    def fits(value: Any) -> bool:
        return (
            isinstance(value, list)
            and 0 < len(value) <= MOST_READ
            and all(is_integer(number) and 0 <= number - layout.first < MOST_LAYERS for number in value)
        )

    wanted = f"a list of the target's layers, from {layout.first}"
    return tuple(number - layout.first for number in field.value(layout.target_layers, fits, wanted))
