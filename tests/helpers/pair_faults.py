"""For every check a pair that fails this check and no other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from helpers.tiny_pairs import ASSISTANT, TARGET, WORDS, weights

from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_values import ValueType
from gemma_mtp.ggml import GGMLType
from gemma_mtp.model.dialects import ATOMIC, IK
from gemma_mtp.validate import Status

F32, F16, Q8_0, I32 = GGMLType.F32, GGMLType.F16, GGMLType.Q8_0, GGMLType.I32


A, T = "gemma4-assistant", "gemma4"


@dataclass
class Case:
    """check: the one that fails. says: words of its message or remedy."""

    check: str
    says: tuple[str, ...]
    target: dict[str, Any] = field(default_factory=dict)
    assistant: dict[str, Any] = field(default_factory=dict)
    status: Status = Status.ERROR


def swapped_words() -> list[str]:
    words = list(WORDS)
    words[270], words[271] = words[271], words[270]
    return words


def twice(word: str, *places: int) -> list[str]:
    words = list(WORDS)
    for place in places:
        words[place] = word
    return words


def spoilt(part: Any, name: str, kind: GGMLType, byte: int, value: bytes) -> dict[str, Any]:
    """The tensor as `kind`, with some bytes overwritten."""
    data = np.ascontiguousarray(weights(part, name, kind)).view(np.uint8).copy()
    data.reshape(-1)[byte : byte + len(value)] = np.frombuffer(value, np.uint8)
    return {name: (kind, data.view(np.float32) if kind is F32 else data)}


NAN32, NAN16, INF16 = np.float32(np.nan).tobytes(), np.float16(np.nan).tobytes(), np.float16(np.inf).tobytes()


UP, PRE, EMBEDDING = "blk.1.ffn_up.weight", "nextn.pre_projection.weight", "token_embd.weight"


NORM, SCALE = "blk.1.attn_norm.weight", "blk.2.layer_output_scale.weight"


def u32_key(name: str, value: int) -> dict[str, Any]:
    return {"keys": {name: gv.u32(value)}}


def text_key(name: str, value: str) -> dict[str, Any]:
    return {"keys": {name: gv.string(value)}}


def centroid_keys(ordering: np.ndarray, centroids: int = 4 * 64) -> dict[str, Any]:
    return {
        "keys": {
            f"{A}.mtp.centroid_count": gv.u32(4),
            f"{A}.mtp.centroid_top_k": gv.u32(2),
            f"{A}.mtp.centroids": gv.array(ValueType.FLOAT32, np.ones(centroids)),
            f"{A}.mtp.centroids_type": gv.string("BF16"),
            f"{A}.mtp.token_ordering": gv.array(ValueType.INT32, ordering),
        }
    }


TOKENS = np.arange(len(WORDS))


TYPES = "tokenizer.ggml.token_type"


CASES = {
    "a llama model as target": Case("parts", ("llama", "gemma4"), target=text_key("general.architecture", "llama")),
    "a target without architecture": Case(
        "parts", ("general.architecture is missing",), target={"keys": {"general.architecture": None}}
    ),
    "an assistant of the tq3 fork": Case(
        "parts",
        ("tq3", "gemma-mtp convert"),
        assistant={"keys": {"general.architecture": gv.string(T), f"{T}.assistant.type": gv.string("mtp")}},
    ),
    "ik_llama.cpp's dialect": Case("dialect", ("gemma4_mtp", "gemma-mtp convert"), assistant={"dialect": IK}),
    "Atomic's dialect": Case("dialect", ("gemma4_assistant", "gemma-mtp convert"), assistant={"dialect": ATOMIC}),
    "no rope base": Case("target-keys", (f"{T}.rope.freq_base is missing",), {"keys": {f"{T}.rope.freq_base": None}}),
    "a key of the wrong type": Case(
        "target-keys",
        ("context_length is UINT64 '1024', not a UINT32",),
        {"keys": {f"{T}.context_length": gv.scalar(ValueType.UINT64, 1024)}},
    ),
    "a pattern for too few layers": Case(
        "target-keys",
        ("sliding_window_pattern is an array of 3 BOOL, not an array with a boolean for each layer",),
        {"keys": {f"{T}.attention.sliding_window_pattern": gv.array(ValueType.BOOL, [True, False, True])}},
    ),
    "KV heads that differ within a kind": Case(
        "target-keys",
        ("head_count_kv differs between layers",),
        {"keys": {f"{T}.attention.head_count_kv": gv.array(ValueType.INT32, [2, 1, 1, 1])}},
    ),
    "keys and values of different length": Case(
        "target-keys", ("key_length and attention.value_length differ",), u32_key(f"{T}.attention.value_length", 32)
    ),
    "more layers than llama.cpp takes": Case("target-keys", ("from 1 to 512",), u32_key(f"{T}.block_count", 513)),
    "no layer with its own keys": Case(
        "target-keys", ("shared_kv_layers is 4 of 4",), u32_key(f"{T}.attention.shared_kv_layers", 4)
    ),
    "a width that differs between layers": Case(
        "target-keys",
        ("feed_forward_length differs",),
        {"keys": {f"{T}.feed_forward_length": gv.array(ValueType.INT32, [128, 128, 256, 128])}},
    ),
    "no tokens": Case("target-keys", ("tokenizer.ggml.tokens is missing",), {"keys": {"tokenizer.ggml.tokens": None}}),
    "no target width": Case(
        "assistant-keys",
        ("embedding_length_out is missing", "gemma-mtp convert"),
        assistant={"keys": {f"{A}.embedding_length_out": None}},
    ),
    "query heads that differ between layers": Case(
        "assistant-keys",
        ("attention.head_count differs",),
        assistant={"keys": {f"{A}.attention.head_count": gv.array(ValueType.INT32, [4, 4, 4, 8])}},
    ),
    "one MTP layer": Case(
        "mtp-layers",
        ("nextn_predict_layers is 1, block_count is 4",),
        assistant=u32_key(f"{A}.nextn_predict_layers", 1),
    ),
    "an assistant as wide as its target": Case("own-width", ("own width, 96",), assistant={"hidden": 96}),
    "another target's assistant": Case("width", ("of width 128, the target is 96",), assistant={"backbone": 128}),
    "another size's assistant": Case(
        "width",
        ("of size 31B (5376), the target is E2B (1536)", "aborts"),
        {"hidden": 1536, "keys": {"general.name": gv.string("Gemma 4 E2B It")}},
        {"backbone": 5376},
    ),
    "two full layers at the end": Case(
        "donor-layers", ("layer 2 of 4 is full", "noise"), {"sliding": (True, False, False, False)}
    ),
    "a sliding layer at the end": Case(
        "donor-layers",
        ("layer 3 of 4 is sliding",),
        {"sliding": (False, True) * 2} | {"sliding": (True, False, True, True)},
    ),
    "two full layers before the shared ones": Case(
        "donor-layers",
        ("layer 2 of 6 is full",),
        {"layers": 6, "shared_kv_layers": 2, "sliding": (True, False, False, False, True, False)},
    ),
    "other KV heads in full layers": Case("kv-heads", ("2 / 2", "2 / 1"), {"kv_heads_full": 2}),
    "other KV heads in sliding layers": Case("kv-heads", ("4 / 1", "2 / 1"), {"kv_heads_sliding": 4}),
    "other heads in full layers": Case("head-size", ("32 / 128", "aborts"), assistant={"head_dim_full": 128}),
    "other heads in sliding layers": Case(
        "head-size", ("16 / 64", "without an error"), assistant={"head_dim_sliding": 16}
    ),
    "three heads over two": Case("query-heads", ("3 query heads over 2 KV heads",), assistant={"heads": 3}),
    "another sliding window": Case(
        "sliding-window", ("64 tokens, the assistant's 32",), assistant={"sliding_window": 32}
    ),
    "another base in full layers": Case(
        "rope-base", ("10,000 / 1,000,000", "10,000 / 500,000"), assistant={"rope_base_full": 500_000.0}
    ),
    "another base in sliding layers": Case("rope-base", ("20,000 / 1,000,000",), {"rope_base_sliding": 20_000.0}),
    "fewer rotated dimensions": Case(
        "rope-dimensions", ("32 / 32",), assistant=u32_key(f"{A}.rope.dimension_count", 32)
    ),
    "other rope factors": Case("rope-factors", ("rope_freqs differs",), assistant={"rotary_share_full": 0.5}),
    "a tokenizer for another engine": Case(
        "tokenizer", ("the target's tokenizer.ggml.model is llama", "Ollama"), text_key("tokenizer.ggml.model", "llama")
    ),
    "fewer tokens in the assistant": Case(
        "vocabulary-size",
        ("288 tokens, the assistant 287",),
        assistant={"vocabulary": len(WORDS) - 1, "words": WORDS[:-1]},
    ),
    "more tokens in the assistant": Case(
        "vocabulary-size", ("aborts",), assistant={"vocabulary": len(WORDS) + 1, "words": [*WORDS, "more"]}
    ),
    "two tokens exchanged": Case(
        "tokens", ("2 of 288 tokens differ, first 270: ", "271: "), assistant={"words": swapped_words()}
    ),
    "another token type": Case(
        "token-types",
        ("1 of 288 tokens have another type", "7: 1 / 6"),
        {"keys": {TYPES: gv.array(ValueType.INT32, [3] * 6 + [6, 1] + [6] * 254 + [1] * 26)}},
        status=Status.WARNING,
    ),
    "no token types": Case("token-types", ("missing",), {"keys": {TYPES: None}}, status=Status.WARNING),
    "another merge": Case(
        "merges",
        ("1 of 3 merges differ, first 1: 'b c' / 'c c'",),
        assistant={"keys": {"tokenizer.ggml.merges": gv.strings(["a b", "c c", "ab c"])}},
    ),
    "a merge less": Case(
        "merges", ("first 2: 'ab c' / none",), assistant={"keys": {"tokenizer.ggml.merges": gv.strings(["a b", "b c"])}}
    ),
    "no merges": Case(
        "target-tokenizer", ("tokenizer.ggml.merges is missing",), {"keys": {"tokenizer.ggml.merges": None}}
    ),
    "a flag of the wrong type": Case(
        "assistant-tokenizer",
        ("cannot use the assistant's header: tokenizer.ggml.add_bos_token is STRING 'true', not a BOOL",),
        assistant=text_key("tokenizer.ggml.add_bos_token", "true"),
    ),
    "a token that is there twice": Case(
        "target-tokenizer", ("tokenizer.ggml.tokens has 'c' twice, at 263 and 264",), {"words": twice("c", 263, 264)}
    ),
    "a projection of zeros": Case(
        "assistant-zeros",
        (f"{PRE} is zeros alone", "drafts noise"),
        assistant={"tensors": {PRE: (F32, np.zeros((64, 192), "f4"))}},
        status=Status.WARNING,
    ),
    "a layer scale of zero": Case(
        "target-zeros",
        (f"{SCALE} is zeros alone",),
        {"tensors": {SCALE: (F32, np.zeros(1, "f4"))}},
        status=Status.WARNING,
    ),
    "another beginning of text": Case(
        "special-tokens", ("with token 2, the assistant with 1",), assistant=u32_key("tokenizer.ggml.bos_token_id", 1)
    ),
    "another end of text": Case(
        "special-tokens",
        ("eos ids differ (106 and 1)", "harmless"),
        u32_key("tokenizer.ggml.eos_token_id", 106),
        status=Status.NOTE,
    ),
    "a target's tensor missing": Case("target-tensors", (f"lacks {UP}",), {"tensors": {UP: None}}),
    "an assistant's tensor missing": Case("assistant-tensors", (f"lacks {UP}",), assistant={"tensors": {UP: None}}),
    "no rope factors": Case(
        "assistant-tensors", ("lacks rope_freqs.weight",), assistant={"tensors": {"rope_freqs.weight": None}}
    ),
    "a target's layer scale missing": Case("target-layer-scales", (SCALE, "takes 1"), {"tensors": {SCALE: None}}),
    "an assistant's layer scale missing": Case("assistant-tensors", (SCALE,), assistant={"tensors": {SCALE: None}}),
    "a target's tensor too small": Case(
        "target-shapes", (f"{UP} is [128, 95], not [128, 96]",), {"tensors": {UP: (F32, np.ones((128, 95), "f4"))}}
    ),
    "an embedding of the target's width": Case(
        "assistant-shapes",
        (f"{EMBEDDING} is [288, 96], not [288, 64]",),
        assistant={"tensors": {EMBEDDING: (F32, np.ones((288, 96), "f4"))}},
    ),
    "a projection of another width": Case(
        "assistant-shapes",
        (f"{PRE} is [64, 96], not [64, 192]",),
        assistant={"tensors": {PRE: (F32, np.ones((64, 96), "f4"))}},
    ),
    "a norm in F16": Case("target-types", (f"{NORM} is F16, not F32",), {"tensors": {NORM: (F16, np.ones(96, "f2"))}}),
    "integer weights": Case(
        "assistant-types", (f"{UP} is I32",), assistant={"tensors": {UP: (I32, np.ones((128, 64), "i4"))}}
    ),
    "a tensor that llama.cpp does not know": Case(
        "assistant-extra",
        ("lm_head.weight", "wrong number of tensors"),
        assistant={"tensors": {"lm_head.weight": (F32, np.ones((288, 64), "f4"))}},
    ),
    "vision inside the target": Case(
        "target-extra",
        ("v.patch_embd.weight", "Ollama", "mmproj"),
        {"tensors": {"v.patch_embd.weight": (F32, np.ones((8, 8), "f4"))}},
    ),
    "centroids as a tensor": Case(
        "masked-embeddings",
        ("masked_embd_centroids.weight", "vector::_M_range_check", "invalid vector subscript", "gemma-mtp convert"),
        assistant={"tensors": {"masked_embd_centroids.weight": (F32, np.ones((4, 64), "f4"))}},
    ),
    "a token ordering as a tensor": Case(
        "masked-embeddings",
        ("masked_embd_ordering",),
        assistant={"tensors": {"masked_embd_ordering": (I32, np.arange(288, dtype="i4"))}},
    ),
    "half the centroids": Case(
        "centroids", ("mtp.centroids has 128 entries, not 256",), assistant=centroid_keys(TOKENS, 128)
    ),
    "an ordering of zeros": Case("token-ordering", ("is all zeros",), assistant=centroid_keys(TOKENS * 0)),
    "a token twice": Case(
        "token-ordering", ("0 times the token 5, not 1",), assistant=centroid_keys(np.where(TOKENS == 5, 6, TOKENS))
    ),
    "a token that does not exist": Case(
        "token-ordering",
        ("token 288, which does not exist",),
        assistant=centroid_keys(np.where(TOKENS == 5, 288, TOKENS)),
    ),
    "NaN in F32": Case("target-finite", (f"{UP} (F32)", "element 1"), {"tensors": spoilt(TARGET, UP, F32, 4, NAN32)}),
    "infinity in F16": Case(
        "assistant-finite",
        (f"{UP} (F16)", "element 8,191"),
        assistant={"tensors": spoilt(ASSISTANT, UP, F16, 2 * 8191, INF16)},
    ),
    "NaN as the scale of a block": Case(
        "assistant-finite",
        (f"{UP} (Q8_0)", "the block at element 32"),
        assistant={"tensors": spoilt(ASSISTANT, UP, Q8_0, 34, NAN16)},
    ),
    "a mix of an old tool": Case(
        "quantizer",
        ("all of the assistant's ffn_down are Q6_K", "mixes Q4_K and Q6_K", "quality is fine"),
        assistant={
            "intermediate": 256,
            "keys": {"general.file_type": gv.u32(15)},
            "tensors": {f"blk.{n}.ffn_down.weight": (GGMLType.Q6_K, np.zeros((64, 210), "u1")) for n in range(4)},
        },
        status=Status.NOTE,
    ),
    "a head shared with the target": Case(
        "assistant-tensors",
        ("lacks token_embd.weight", "Unsloth", "self-contained"),
        assistant={
            "keys": {f"{A}.nextn_shared_target_tensors": gv.boolean(True)},
            "tensors": {EMBEDDING: None},
        },
    ),
    "a QAT target": Case(
        "qat",
        ("only the target is QAT", "`-qat-...-assistant`"),
        text_key("general.name", "Gemma 4 12B It Qat Q4_0"),
        status=Status.WARNING,
    ),
    "a QAT assistant": Case(
        "qat", ("only the assistant is QAT",), assistant=text_key("general.finetune", "it-qat"), status=Status.WARNING
    ),
    "a fine-tune by its name": Case(
        "fine-tune",
        ("looks like a fine-tune (Coder)", "--run"),
        {"hidden": 1536, **text_key("general.name", "Coder")},
        {"backbone": 1536},
        status=Status.WARNING,
    ),
    "a fine-tune by its key": Case(
        "fine-tune",
        ("(it-medical)",),
        {"hidden": 1536, "keys": {"general.name": gv.string("Gemma 4"), "general.finetune": gv.string("it-medical")}},
        {"backbone": 1536},
        status=Status.WARNING,
    ),
}
