"""What a key may hold, at the bounds: one value more or less is another answer."""

from __future__ import annotations

import pytest
from helpers.tiny_pairs import ASSISTANT, TARGET, model_keys, vocabulary

from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_values import Value, ValueType
from gemma_mtp.model.dialects import MAINLINE
from gemma_mtp.model.gguf_keys import common_faults, held, hyperparameters, read_keys
from gemma_mtp.model.keys import (
    COUNT,
    DEPTH,
    FLAGS,
    IDS,
    ITEMS,
    KINDS,
    LAYERS,
    MAX_COUNT,
    NAMES,
    NONE,
    PER_LAYER,
    REAL,
    SCALING,
    SIZE,
    TEXTS,
    TOKEN,
    TOKENS,
    TRUE,
    WINDOW,
    Form,
)
from gemma_mtp.model.part import Part
from gemma_mtp.sources.model import TARGET_DIALECT

U32, I32, F32 = ValueType.UINT32, ValueType.INT32, ValueType.FLOAT32
LENGTHS = {LAYERS: 2, TOKENS: 3}
SOME = Form("one number at least", None, (U32,), ITEMS)


def of(kind: ValueType, *items: float) -> Value:
    return gv.array(kind, items)


#: A form, a value, and what it holds; None: it is none of this form.
CASES = [
    (SIZE, gv.u32(0), 0),
    (SIZE, gv.u32(MAX_COUNT), MAX_COUNT),
    (SIZE, gv.u32(MAX_COUNT + 1), None),
    (SIZE, gv.i32(1), None),
    (SIZE, of(U32, 1, 1), None),
    (COUNT, gv.u32(0), None),
    (COUNT, gv.u32(1), 1),
    (DEPTH, gv.u32(512), 512),
    (DEPTH, gv.u32(513), None),
    (WINDOW, gv.u32(2**24), 2**24),
    (WINDOW, gv.u32(2**24 + 1), None),
    (WINDOW, gv.u32(0), None),
    (NONE, gv.u32(1), None),
    (NONE, gv.u32(0), 0),
    (TRUE, gv.boolean(True), True),
    (TRUE, gv.boolean(False), None),
    (REAL, gv.f32(0.0), None),
    (REAL, gv.f32(float("nan")), None),
    (REAL, gv.f32(float("inf")), None),
    (REAL, gv.f32(1e-45), pytest.approx(1.4e-45, rel=0.1)),
    (SCALING, gv.string("yarn"), "yarn"),
    (SCALING, gv.string("x"), None),
    (TOKEN, gv.u32(2), 2),
    (TOKEN, gv.u32(3), None),
    (PER_LAYER, gv.u32(7), 7),
    (PER_LAYER, of(U32, 1, MAX_COUNT), (1, MAX_COUNT)),
    (PER_LAYER, of(I32, 1, 2), (1, 2)),
    (PER_LAYER, of(U32, 1, MAX_COUNT + 1), None),
    (PER_LAYER, of(U32, 0, 1), None),
    (PER_LAYER, of(I32, -1, 1), None),
    (PER_LAYER, of(U32, 1), None),
    (PER_LAYER, of(U32, 1, 1, 1), None),
    (PER_LAYER, of(F32, 1, 1), None),
    (FLAGS, of(ValueType.BOOL, True, False), (True, False)),
    (FLAGS, of(U32, 2, 0), (True, False)),
    (FLAGS, gv.boolean(True), None),
    (KINDS, of(I32, 1, 1), None),
    (KINDS, of(I32, 1, 1, 1), 3),
    (KINDS, of(I32, 1, 1, 1, 1), 4),
    (IDS, of(I32), 0),
    (IDS, of(I32, -5), 1),
    (TEXTS, gv.strings(["a", "b"]), 2),
    (TEXTS, gv.string("a"), None),
    (NAMES, gv.string("a"), 0),
    (NAMES, gv.strings(["a"]), 1),
    (NAMES, of(I32, 1), None),
    (SOME, of(U32), None),
    (SOME, of(U32, 4), (4,)),
]


@pytest.mark.parametrize("number", range(len(CASES)))
def test_held(number: int):
    form, value, expected = CASES[number]
    assert held(value, form, LENGTHS) == expected


#: What is said of keys that are right one by one.
CONTRADICTIONS = {
    "attention.head_count differs between layers": {"attention.head_count": of(U32, 4, 4, 4, 2)},
    "attention.head_count_kv differs between layers of the same kind": {"attention.head_count_kv": of(U32, 2, 1, 4, 1)},
    "attention.key_length and attention.value_length differ": {"attention.key_length": gv.u32(128)},
    "attention.key_length_swa and attention.value_length_swa differ": {"attention.value_length_swa": gv.u32(64)},
    "rope.dimension_count is 63: of 64 dimensions an even number can be rotated": {"rope.dimension_count": gv.u32(63)},
    "rope.dimension_count_swa is 34: of 32 dimensions an even number can be rotated": {
        "rope.dimension_count_swa": gv.u32(34)
    },
    "attention.shared_kv_layers is 3 of 4 layers; two at least must have their own keys": {
        "attention.shared_kv_layers": gv.u32(3)
    },
    "feed_forward_length differs between layers": {"feed_forward_length": of(U32, 128, 128, 128, 256)},
    "expert_used_count is 1, expert_count 0": {"expert_used_count": gv.u32(1)},
    "expert_used_count is 0, expert_count 4": {"expert_count": gv.u32(4)},
    "expert_used_count is 5, expert_count 4": {"expert_count": gv.u32(4), "expert_used_count": gv.u32(5)},
}


@pytest.mark.parametrize("sentence", CONTRADICTIONS)
def test_contradictions(sentence: str):
    changes = {f"gemma4.{name}": value for name, value in CONTRADICTIONS[sentence].items()}
    keys = read_keys({**model_keys(TARGET), **changes}, TARGET_DIALECT, Part.TARGET)
    assert keys.faults == ()
    assert hyperparameters(keys, Part.TARGET, 288, False) == sentence


#: What no key says against another, at the bounds.
ALLOWED = (
    {"attention.shared_kv_layers": gv.u32(2)},
    {"rope.dimension_count": gv.u32(64), "rope.dimension_count_swa": gv.u32(2)},
    {"expert_count": gv.u32(4), "expert_used_count": gv.u32(4)},
    {"attention.shared_kv_layers": gv.u32(2), "feed_forward_length": of(U32, 128, 128, 256, 256)},
)


@pytest.mark.parametrize("number", range(len(ALLOWED)))
def test_what_is_no_contradiction(number: int):
    changes = {f"gemma4.{name}": value for name, value in ALLOWED[number].items()}
    keys = read_keys({**model_keys(TARGET), **changes}, TARGET_DIALECT, Part.TARGET)
    found = hyperparameters(keys, Part.TARGET, 288, False)
    assert not isinstance(found, str), found
    assert found.double_wide_mlp is ("feed_forward_length" in ALLOWED[number])
    assert found.experts_used == (4 if "expert_count" in ALLOWED[number] else 0)


def test_an_assistant_shares_all_of_its_layers():
    keys = read_keys(model_keys(ASSISTANT), MAINLINE, Part.ASSISTANT)
    found = hyperparameters(keys, Part.ASSISTANT, 288, False)
    assert not isinstance(found, str)
    assert (found.shared_kv_layers, found.backbone, found.vocabulary) == (4, 96, 288)


#: Keys of tokenizer and file that are changed, and what is said.
COMMON = {
    "tokenizer.ggml.model is missing": {"tokenizer.ggml.model": None},
    "tokenizer.ggml.bos_token_id is UINT32 '288', not a UINT32 that is the id of a token": {
        "tokenizer.ggml.bos_token_id": gv.u32(288)
    },
    "tokenizer.ggml.scores is an array of 287 FLOAT32, not an array with a FLOAT32 (or INT32) for each token": {
        "tokenizer.ggml.scores": gv.array(F32, [0.0] * 287)
    },
    "general.tensor_extra.name is there without general.tensor_extra.prec_a4": {
        "general.tensor_extra.name": gv.strings(["a"])
    },
    "general.tensor_extra.prec_a4 is an array of 2 BOOL, not an array with a BOOL for each of "
    "general.tensor_extra.name": {
        "general.tensor_extra.name": gv.strings(["a"]),
        "general.tensor_extra.prec_a4": of(ValueType.BOOL, True, True),
    },
}


@pytest.mark.parametrize("sentence", COMMON)
def test_common_faults(sentence: str):
    keys = {**model_keys(TARGET), **vocabulary(["x"] * 288), **COMMON[sentence]}
    assert common_faults({name: value for name, value in keys.items() if value is not None}) == (sentence,)


def test_what_is_no_common_fault():
    """Of names that are no array llama.cpp reads no precisions; of those that are, one each."""
    keys = {**model_keys(TARGET), **vocabulary(["x"] * 288)}
    more = {"general.tensor_extra.name": gv.string("a"), "general.tensor_extra.prec_a4": of(ValueType.BOOL, True, True)}
    assert common_faults({**keys, **more}) == ()
    assert common_faults({**keys, **more, "general.tensor_extra.name": gv.strings(["a", "b"])}) == ()
