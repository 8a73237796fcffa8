"""`Hyperparameters` <-> a GGUF's keys, both ways by the table of `gemma_mtp.model.keys`.

Reading has a sentence for each key that is missing or wrong.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_values import Value, ValueType
from gemma_mtp.model.config import Hyperparameters
from gemma_mtp.model.dialects import CENTROID_COUNT, CENTROID_TOP_K, Dialect
from gemma_mtp.model.family import FAMILIES, FAMILY, Family, family_of
from gemma_mtp.model.keys import (
    COMMON_KEYS,
    ITEMS,
    LAYERS,
    PRECISIONS,
    TENSOR_NAMES,
    TOKENS,
    Form,
    Key,
    Said,
)
from gemma_mtp.model.part import Part

TOKENS_KEY = "tokenizer.ggml.tokens"


def spelled(dialect: Dialect, key: str) -> str | None:
    """The full name of mainline's `key` in a dialect; None if that dialect has no such key."""
    name = dialect.keys.get(key, key)
    return None if name is None else f"{dialect.architecture}.{name}"


def architecture(part: Part, family: Family = FAMILY) -> str:
    """What mainline calls a model's architecture."""
    return family.architectures[part]


def written_keys(model: Hyperparameters) -> dict[str, Value]:
    """The model's keys in mainline's dialect, in upstream's order. Those of a centroid head are the head's to write."""
    family = FAMILIES[model.family]
    prefix = architecture(model.part, family)
    said = ((key, key.of(model)) for key in family.keys if model.part in key.parts)
    return {f"{prefix}.{key.name}": _encoded(value, key.form) for key, value in said if value is not None}


def _encoded(value: Said, form: Form) -> Value:
    if isinstance(value, tuple):
        return gv.array(ValueType.BOOL if ValueType.BOOL in form.items else ValueType.INT32, value)
    assert form.scalar is not None
    return gv.string(value) if isinstance(value, str) else gv.scalar(form.scalar, value or 0)


@dataclass(frozen=True)
class ModelKeys:
    """A file's model keys by mainline's name, and what is wrong with them.

    values: each key that is there and right, or assumed. faults: a sentence for each of the others.
    family: whose keys they are.
    """

    values: Mapping[str, Any]
    faults: tuple[str, ...]
    family: Family = FAMILY


def read_keys(metadata: Mapping[str, Value], dialect: Dialect, part: Part, family: Family | None = None) -> ModelKeys:
    """The keys of the model. Those of its tokenizer and of the file: `common_faults`.

    family: whose they are; None: that of the dialect's architecture.
    """
    values: dict[str, Any] = {}
    faults: list[str] = []
    family = family or family_of(dialect.architecture)
    for key in family.keys:
        name = spelled(dialect, key.name)
        if part not in key.parts or name is None:
            continue
        stored = metadata.get(name)
        if stored is not None:
            value = held(stored, key.form, {LAYERS: values.get("block_count", 0)})
            if value is None:
                faults.append(_wrong(name, stored, key.form))
            else:
                values[key.name] = value
        elif isinstance(key.assumed, str):
            values.update({key.name: values[key.assumed]} if key.assumed in values else {})
        elif key.assumed is not None:
            values[key.name] = key.assumed
        elif key.needed:
            faults.append(f"{name} is missing")
    return ModelKeys(values, tuple(faults), family)


def common_faults(metadata: Mapping[str, Value]) -> tuple[str, ...]:
    """A sentence for each key of the tokenizer and of the file that llama.cpp would stop at."""
    lengths = {TOKENS: _count(metadata, TOKENS_KEY), TENSOR_NAMES: _count(metadata, TENSOR_NAMES)}
    names = metadata.get(TENSOR_NAMES)
    has_names = names is not None and names.type is ValueType.ARRAY
    read = (key for key in COMMON_KEYS if has_names or key.name != PRECISIONS)
    faults = [fault for key in read if (fault := _common_fault(key, metadata, lengths))]
    if has_names and PRECISIONS not in metadata:
        faults.append(f"{TENSOR_NAMES} is there without {PRECISIONS}")
    return tuple(faults)


def _common_fault(key: Key, metadata: Mapping[str, Value], lengths: Mapping[str, int]) -> str | None:
    stored = metadata.get(key.name)
    if stored is None:
        return f"{key.name} is missing" if key.needed else None
    return None if held(stored, key.form, lengths) is not None else _wrong(key.name, stored, key.form)


def _count(metadata: Mapping[str, Value], key: str) -> int:
    value = metadata.get(key)
    return value.count if value is not None and value.type is ValueType.ARRAY else 0


def _wrong(name: str, stored: Value, form: Form) -> str:
    return f"{name} is {describe(stored)}, not {form.words}"


def held(stored: Value, form: Form, lengths: Mapping[str, int]) -> Any | None:
    """What a value holds, if it is of this form: a number, a text, a tuple with an item for each layer.

    lengths: what the form's `length` may name. Of other arrays the length stands for them: a vocabulary is not decoded.
    """
    if stored.type is not ValueType.ARRAY:
        return _single(stored, form, lengths)
    if stored.item_type not in form.items or not _is_long_enough(stored.count, form, lengths):
        return None
    if stored.item_type is ValueType.STRING:
        return stored.count
    if form.length not in (LAYERS, ITEMS):
        return stored.count
    numbers = stored.decode()
    if not numbers.size or numbers.min() < form.low or numbers.max() > form.high:
        return None
    return tuple(numbers.astype(bool).tolist() if ValueType.BOOL in form.items else numbers.tolist())


def _single(stored: Value, form: Form, lengths: Mapping[str, int]) -> Any | None:
    if stored.type is not form.scalar:
        return 0 if form.single_ignored else None
    value = stored.decode()
    if isinstance(value, str):
        return value if not form.choices or value in form.choices else None
    in_bounds = form.low <= value <= form.high and (not form.below_tokens or value < lengths.get(TOKENS, 0))
    return value if in_bounds else None


def _is_long_enough(count: int, form: Form, lengths: Mapping[str, int]) -> bool:
    """llama.cpp wants exactly one item a layer, and for each token one at least."""
    if form.length == ITEMS:
        return count > 0
    wanted = lengths.get(form.length, 0)
    return not form.length or (count >= wanted if form.length == TOKENS else count == wanted)


def describe(value: Value) -> str:
    """A value's type and, if it is short, its content."""
    if value.type is ValueType.ARRAY:
        return f"an array of {value.count:,} {value.item_type.name if value.item_type is not None else ''}"
    return f"{value.type.name} {str(value.decode())[:40]!r}"


def hyperparameters(keys: ModelKeys, part: Part, vocabulary: int, values_are_keys: bool) -> Hyperparameters | str:
    """The model that the keys describe, or why they describe none.

    vocabulary: the number of tokens. values_are_keys: whether the full layers come without values, which is written in
    no key. The share of a head that is rotated is in no key either (the tensor `rope_freqs` tells): it is NaN.
    """
    key = keys.values
    if part is Part.ASSISTANT and keys.family.of_keys is not None:
        return keys.family.of_keys(key, vocabulary)
    contradiction = _contradiction(key, part)
    if contradiction:
        return contradiction
    layers, sliding = key["block_count"], key["attention.sliding_window_pattern"]
    kv_heads = _by_kind(per_layer(key["attention.head_count_kv"], layers), sliding)
    assert kv_heads is not None
    widths = per_layer(key["feed_forward_length"], layers)
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
        logit_softcap=key.get("final_logit_softcapping"),
        shared_kv_layers=_shared_layers(key, part),
        per_layer_input=key.get("embedding_length_per_layer_input", 0),
        double_wide_mlp=len(set(widths)) > 1,
        values_are_keys=values_are_keys,
        experts=key.get("expert_count", 0),
        experts_used=max(per_layer(key.get("expert_used_count", 0), layers)),
        expert_intermediate=per_layer(key.get("expert_feed_forward_length", 0), layers)[0],
        backbone=key.get("embedding_length_out", 0),
        centroids=key.get(CENTROID_COUNT, 0),
        centroid_top_k=key.get(CENTROID_TOP_K, 0),
    )


def _shared_layers(key: Mapping[str, Any], part: Part) -> int:
    return int(key["block_count"] if part is Part.ASSISTANT else key["attention.shared_kv_layers"])


def _contradiction(key: Mapping[str, Any], part: Part) -> str | None:
    """What two keys, each of them right, say against each other."""
    layers, sliding = key["block_count"], key["attention.sliding_window_pattern"]
    if _by_kind(per_layer(key["attention.head_count_kv"], layers), sliding) is None:
        return "attention.head_count_kv differs between layers of the same kind"
    if len(set(per_layer(key["attention.head_count"], layers))) > 1:
        return "attention.head_count differs between layers"
    for suffix in ("", "_swa"):
        length, rotated = key[f"attention.key_length{suffix}"], key[f"rope.dimension_count{suffix}"]
        if length != key[f"attention.value_length{suffix}"]:
            return f"attention.key_length{suffix} and attention.value_length{suffix} differ"
        if rotated > length or rotated % 2:
            return f"rope.dimension_count{suffix} is {rotated}: of {length} dimensions an even number can be rotated"
    return _contradicting_widths(key, part) or _contradicting_experts(key)


def _contradicting_widths(key: Mapping[str, Any], part: Part) -> str | None:
    layers, shared = key["block_count"], _shared_layers(key, part)
    if shared > layers or (part is Part.TARGET and shared > layers - 2):
        return f"attention.shared_kv_layers is {shared} of {layers} layers; two at least must have their own keys"
    widths = per_layer(key["feed_forward_length"], layers)
    own, sharing = set(widths[: layers - shared]), set(widths[layers - shared :])
    double = part is Part.TARGET and bool(own) and bool(sharing) and sharing == {2 * width for width in own}
    if len(own | sharing) > 1 and not (double and len(own) == 1):
        return "feed_forward_length differs between layers"
    return None


def _contradicting_experts(key: Mapping[str, Any]) -> str | None:
    """llama.cpp asserts that of its experts a model uses one at least, and no more than it has."""
    count, used = key["expert_count"], max(per_layer(key["expert_used_count"], key["block_count"]))
    if used > count or (count and not used):
        return f"expert_used_count is {used}, expert_count {count}"
    return None


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
