"""A GGUF's model keys -> `Hyperparameters`, with a sentence for each key that is missing or wrong.

llama.cpp takes a key of exactly one type and stops at any other; where it has a default, `assumed` says which. A
default that would be wrong for every Gemma 4 (a rope base of 10,000 for the full layers) is not taken: such a file
loads and is silently wrong, so the key counts as required. Source: llama.cpp, src/llama-model.cpp `load_hparams` and
src/models/gemma4.cpp, gemma4-assistant.cpp.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from gemma_mtp.files.gguf_values import Value, ValueType
from gemma_mtp.model.config import Hyperparameters
from gemma_mtp.model.dialects import CENTROID_COUNT, CENTROID_TOP_K, Dialect

MAX_LAYERS = 512  # llama.cpp's LLAMA_MAX_LAYERS
MAX_COUNT = 2**31 - 1
ASSISTANT, TARGET = "assistant", "target"


class Kind(Enum):
    """What a key must hold, in the words of a message."""

    LAYERS = f"a UINT32 from 1 to {MAX_LAYERS}"
    COUNT = "a UINT32 above 0"
    SIZE = "a UINT32"
    REAL = "a FLOAT32 above 0"
    PER_LAYER = "a UINT32 above 0, or an array with one for each layer"
    FLAGS = "an array with a boolean for each layer"


@dataclass(frozen=True)
class Key:
    """A model key, named as in mainline without the architecture's prefix.

    parts: which models must have it. assumed: the key or the number that llama.cpp takes where it is absent.
    """

    name: str
    kind: Kind
    parts: tuple[str, ...] = (ASSISTANT, TARGET)
    assumed: str | int | float | None = None


#: In such an order that a key stands behind the one that it is assumed from.
KEYS = (
    Key("block_count", Kind.LAYERS),
    Key("context_length", Kind.COUNT),
    Key("embedding_length", Kind.COUNT),
    Key("feed_forward_length", Kind.PER_LAYER),
    Key("attention.head_count", Kind.PER_LAYER),
    Key("attention.head_count_kv", Kind.PER_LAYER, assumed="attention.head_count"),
    Key("attention.key_length", Kind.COUNT),
    Key("attention.value_length", Kind.COUNT),
    Key("attention.key_length_swa", Kind.COUNT),
    Key("attention.value_length_swa", Kind.COUNT),
    Key("attention.layer_norm_rms_epsilon", Kind.REAL),
    Key("attention.sliding_window", Kind.COUNT),
    Key("attention.sliding_window_pattern", Kind.FLAGS),
    Key("attention.shared_kv_layers", Kind.SIZE, assumed=0),
    Key("rope.freq_base", Kind.REAL),
    Key("rope.freq_base_swa", Kind.REAL, assumed=10_000.0),
    Key("rope.dimension_count", Kind.COUNT, assumed="attention.key_length"),
    Key("rope.dimension_count_swa", Kind.COUNT, assumed="rope.dimension_count"),
    Key("embedding_length_per_layer_input", Kind.SIZE, (TARGET,), assumed=0),
    Key("expert_count", Kind.SIZE, (TARGET,), assumed=0),
    Key("expert_used_count", Kind.SIZE, (TARGET,), assumed=0),
    Key("expert_feed_forward_length", Kind.PER_LAYER, (TARGET,), assumed=0),
    Key("embedding_length_out", Kind.COUNT, (ASSISTANT,)),
    Key("nextn_predict_layers", Kind.COUNT, (ASSISTANT,)),
    Key(CENTROID_COUNT, Kind.SIZE, (ASSISTANT,), assumed=0),
    Key(CENTROID_TOP_K, Kind.SIZE, (ASSISTANT,), assumed=0),
)


def spelled(dialect: Dialect, key: str) -> str | None:
    """The full name of mainline's `key` in a dialect; None if that dialect has no such key."""
    name = dialect.keys.get(key, key)
    return None if name is None else f"{dialect.architecture}.{name}"


@dataclass(frozen=True)
class ModelKeys:
    """A file's model keys by mainline's name, and what is wrong with them.

    values: each key that is there and right, or assumed. faults: a sentence for each of the others.
    """

    values: Mapping[str, Any]
    faults: tuple[str, ...]


def read_keys(metadata: Mapping[str, Value], dialect: Dialect, part: str) -> ModelKeys:
    values: dict[str, Any] = {}
    faults: list[str] = []
    for key in KEYS:
        name = spelled(dialect, key.name)
        if part not in key.parts or name is None:
            continue
        stored = metadata.get(name)
        if stored is not None:
            value = READERS[key.kind](stored, values.get("block_count", 0))
            if value is None:
                faults.append(f"{name} is {describe(stored)}, not {key.kind.value}")
            else:
                values[key.name] = value
        elif key.assumed is None:
            faults.append(f"{name} is missing")
        elif isinstance(key.assumed, str):
            values.update({key.name: values[key.assumed]} if key.assumed in values else {})
        else:
            values[key.name] = key.assumed
    return ModelKeys(values, tuple(faults))


def describe(value: Value) -> str:
    """A value's type and, if it is short, its content."""
    if value.type is ValueType.ARRAY:
        return f"an array of {value.count:,} {value.item_type.name if value.item_type is not None else ''}"
    return f"{value.type.name} {str(value.decode())[:40]!r}"


def hyperparameters(keys: ModelKeys, part: str, vocabulary: int, values_are_keys: bool) -> Hyperparameters | str:
    """The model that the keys describe, or why they describe none.

    vocabulary: the number of tokens. values_are_keys: whether the full layers come without values, which is written in
    no key. The share of a head that is rotated is in no key either (the tensor `rope_freqs` tells): it is NaN.
    """
    key = keys.values
    layers, sliding = key["block_count"], key["attention.sliding_window_pattern"]
    kv_heads = _by_kind(per_layer(key["attention.head_count_kv"], layers), sliding)
    if kv_heads is None:
        return "attention.head_count_kv differs between layers of the same kind"
    if len(set(per_layer(key["attention.head_count"], layers))) > 1:
        return "attention.head_count differs between layers"
    for suffix in ("", "_swa"):
        if key[f"attention.key_length{suffix}"] != key[f"attention.value_length{suffix}"]:
            return f"attention.key_length{suffix} and attention.value_length{suffix} differ"
    shared = layers if part == ASSISTANT else key["attention.shared_kv_layers"]
    if shared > layers or (part == TARGET and shared > layers - 2):
        return f"attention.shared_kv_layers is {shared} of {layers} layers; two at least must have their own keys"
    widths = per_layer(key["feed_forward_length"], layers)
    own, sharing = set(widths[: layers - shared]), set(widths[layers - shared :])
    double = part == TARGET and bool(own) and bool(sharing) and sharing == {2 * width for width in own}
    if len(own | sharing) > 1 and not (double and len(own) == 1):
        return "feed_forward_length differs between layers"
    return Hyperparameters(
        part=part,
        architecture="",
        layers=layers,
        hidden=key["embedding_length"],
        intermediate=widths[0],
        heads=per_layer(key["attention.head_count"], layers)[0],
        kv_heads_sliding=kv_heads[0],
        kv_heads_full=kv_heads[1],
        head_dim_sliding=key["attention.key_length_swa"],
        head_dim_full=key["attention.key_length"],
        sliding=sliding,
        sliding_window=key["attention.sliding_window"],
        context=key["context_length"],
        norm_epsilon=key["attention.layer_norm_rms_epsilon"],
        rope_base_sliding=key["rope.freq_base_swa"],
        rope_base_full=key["rope.freq_base"],
        rotary_share_full=math.nan,
        vocabulary=vocabulary,
        logit_softcap=None,
        shared_kv_layers=shared,
        per_layer_input=key.get("embedding_length_per_layer_input", 0),
        double_wide_mlp=double,
        values_are_keys=values_are_keys,
        experts=key.get("expert_count", 0),
        experts_used=key.get("expert_used_count", 0),
        expert_intermediate=per_layer(key.get("expert_feed_forward_length", 0), layers)[0],
        backbone=key.get("embedding_length_out", 0),
        centroids=key.get(CENTROID_COUNT, 0),
        centroid_top_k=key.get(CENTROID_TOP_K, 0),
    )


def per_layer(value: int | tuple[int, ...], layers: int) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,) * layers


def _by_kind(values: tuple[int, ...], sliding: tuple[bool, ...]) -> tuple[int, int] | None:
    """The one value of the sliding and the one of the full layers (the other kind's where there is none)."""
    kinds = [
        {value for value, is_sliding in zip(values, sliding, strict=True) if is_sliding is kind}
        for kind in (True, False)
    ]
    if any(len(found) > 1 for found in kinds):
        return None
    of_sliding, of_full = kinds
    either = next(iter(of_sliding | of_full))
    return next(iter(of_sliding), either), next(iter(of_full), either)


def _count(value: Value, _: int) -> int | None:
    number = _size(value, 0)
    return number if number else None


def _size(value: Value, _: int) -> int | None:
    if value.type is not ValueType.UINT32:
        return None
    number = int(value.decode())
    return number if number <= MAX_COUNT else None


def _layers(value: Value, _: int) -> int | None:
    number = _count(value, 0)
    return number if number and number <= MAX_LAYERS else None


def _real(value: Value, _: int) -> float | None:
    if value.type is not ValueType.FLOAT32:
        return None
    number = float(value.decode())
    return number if math.isfinite(number) and number > 0 else None


def _per_layer(value: Value, layers: int) -> int | tuple[int, ...] | None:
    if not value.is_array_of(ValueType.UINT32, ValueType.INT32):
        return _count(value, 0)
    numbers = tuple(int(number) for number in value.decode()) if value.count == layers else ()
    return numbers if numbers and min(numbers) > 0 and max(numbers) <= MAX_COUNT else None


def _flags(value: Value, layers: int) -> tuple[bool, ...] | None:
    if value.count != layers or not value.is_array_of(ValueType.BOOL, ValueType.UINT32, ValueType.INT32):
        return None
    return tuple(bool(flag) for flag in value.decode())


READERS: dict[Kind, Callable[[Value, int], Any]] = {
    Kind.LAYERS: _layers,
    Kind.COUNT: _count,
    Kind.SIZE: _size,
    Kind.REAL: _real,
    Kind.PER_LAYER: _per_layer,
    Kind.FLAGS: _flags,
}
