"""What the checks of a pair say, word for word: which values are compared, which of them differ, what follows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from helpers.tiny_pairs import ASSISTANT, WORDS

from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_values import ValueType
from gemma_mtp.ggml import GGMLType
from gemma_mtp.validate import Report, Status

MERGES, TYPES = "tokenizer.ggml.merges", "tokenizer.ggml.token_type"
ROPE_FREQS_NAME, FACTORS = "rope_freqs.weight", np.array(ASSISTANT.rope_factors(), np.float32)
OTHERS = ["a b", "b c", "ab c", "c a", "b a"]
TURNED = [*WORDS[:270], WORDS[271], WORDS[270], *WORDS[272:]]


@dataclass(frozen=True)
class Said:
    """Of a check: what it says, the columns of target and assistant; and what is changed in the two files."""

    check: str
    message: str
    columns: tuple[str, str]
    target: dict[str, Any] = field(default_factory=dict)
    assistant: dict[str, Any] = field(default_factory=dict)
    status: Status = Status.ERROR


def keys(**values: gv.Value | None) -> dict[str, Any]:
    """Keys of the tokenizer."""
    return {"keys": {f"tokenizer.ggml.{name}": value for name, value in values.items()}}


CASES = (
    Said(
        "rope-factors",
        "rope_freqs differs between target and assistant: full layers would rotate queries and keys differently, and "
        "the drafts be noise",
        ("8 of 32 pairs rotated", "32 of 32 pairs rotated"),
        assistant={"tensors": {ROPE_FREQS_NAME: (GGMLType.F32, np.ones_like(FACTORS))}},
    ),
    *(
        Said(
            "rope-factors",
            "rope_freqs is not at hand in both files",
            ("", ""),
            **{part: {"tensors": {ROPE_FREQS_NAME: None}}},
            status=Status.SKIPPED,
        )
        for part in ("target", "assistant")
    ),
    Said(
        "merges",
        "1 of 3 merges differ, first 2: 'ab c' / none; the two models were made with different tokenizers",
        ("3", "2"),
        assistant=keys(merges=gv.strings(["a b", "b c"])),
    ),
    Said(
        "merges",
        "1 of 4 merges differ, first 3: none / 'c a'; the two models were made with different tokenizers",
        ("3", "4"),
        assistant=keys(merges=gv.strings(OTHERS[:4])),
    ),
    Said(
        "merges",
        "5 of 5 merges differ, first 0: 'a b' / 'b a'; 1: 'b c' / 'c b'; 2: 'ab c' / 'ab b'; the two models were made "
        "with different tokenizers",
        ("5", "5"),
        keys(merges=gv.strings(OTHERS)),
        keys(merges=gv.strings(["b a", "c b", "ab b", "a c", "a a"])),
    ),
    Said(
        "merges",
        "1 of 1 merges differ, first 0: 'a b' / 'a \ufffd'; the two models were made with different tokenizers",
        ("1", "1"),
        keys(merges=gv.strings(["a b"])),
        keys(merges=gv.Value(ValueType.ARRAY, (3).to_bytes(8, "little") + b"a \xff", ValueType.STRING, 1)),
    ),
    Said(
        "tokens",
        "2 of 288 tokens differ, first 270: '<unused0>' / '<unused1>'; 271: '<unused1>' / '<unused0>'; drafts are read "
        "as other text",
        ("288", "288"),
        assistant={"words": TURNED},
    ),
    Said(
        "token-types",
        "262 of 288 tokens have another type in the assistant than in the target (0: 3 / 1, 1: 3 / 1, 2: 3 / 1); one "
        "file was made by an older converter",
        ("288", "288"),
        assistant=keys(token_type=gv.array(ValueType.INT32, [1] * 288)),
        status=Status.WARNING,
    ),
    Said(
        "token-types",
        f"{TYPES} is missing in a file",
        ("288", "missing"),
        assistant=keys(token_type=None),
        status=Status.WARNING,
    ),
    Said(
        "token-types",
        "there are not equally many token types",
        ("289", "288"),
        keys(token_type=gv.array(ValueType.INT32, [1] * 289)),
        keys(token_type=gv.array(ValueType.INT32, [1] * 288)),
        Status.WARNING,
    ),
    Said(
        "special-tokens",
        "the eos ids differ (1 and 5), which is normal and harmless; ik_llama.cpp refuses it before August 15, 2026",
        ("bos 2, eos 1", "bos 2, eos 5"),
        assistant=keys(eos_token_id=gv.u32(5)),
        status=Status.NOTE,
    ),
    Said(
        "special-tokens",
        "the target's eos id 288 is no token's: llama.cpp drops it, and texts may not end",
        ("bos 2, eos 288", "bos 2, eos 1"),
        keys(eos_token_id=gv.u32(288)),
        status=Status.WARNING,
    ),
    Said(
        "special-tokens",
        "the target begins text with token 2, the assistant with 3: they were not made for each other",
        ("bos 2, eos 1", "bos 3, eos 1"),
        assistant=keys(bos_token_id=gv.u32(3)),
    ),
    Said(
        "vocabulary-size",
        "the target has 288 tokens, the assistant 287; the ids mean other tokens",
        ("288", "287"),
        assistant={"vocabulary": 287, "words": WORDS[:-1]},
    ),
    Said(
        "vocabulary-size",
        "the target has 288 tokens, the assistant 289; llama.cpp aborts when a missing one is drafted",
        ("288", "289"),
        assistant={"vocabulary": 289, "words": [*WORDS, "more"]},
    ),
    *(
        Said(
            "tokenizer",
            f"the {part}'s tokenizer.ggml.model is llama, not gemma4: text would be cut into other tokens",
            ("llama", "gemma4") if part == "target" else ("gemma4", "llama"),
            **{part: keys(model=gv.string("llama"))},
        )
        for part in ("target", "assistant")
    ),
    Said(
        "width",
        "this assistant is for a target of width 128, the target is 96; llama.cpp aborts at the first draft",
        ("96", "128"),
        assistant={"backbone": 128},
    ),
    Said(
        "kv-heads",
        "the target's sliding / full layers have 2 / 1 KV heads, the assistant expects 2 / 4; llama.cpp aborts or "
        "drafts noise",
        ("2 / 1", "2 / 4"),
        assistant={"kv_heads_full": 4},
    ),
    Said(
        "head-size",
        "heads of the target's sliding / full layers are 32 / 64 long, the assistant expects 32 / 128; llama.cpp "
        "aborts",
        ("32 / 64", "32 / 128"),
        assistant={"head_dim_full": 128},
    ),
    Said(
        "head-size",
        "heads of the target's sliding / full layers are 32 / 64 long, the assistant expects 16 / 64; llama.cpp drafts "
        "noise without an error",
        ("32 / 64", "16 / 64"),
        assistant={"head_dim_sliding": 16},
    ),
    Said(
        "query-heads",
        "the assistant has 3 query heads over 2 KV heads, which is no whole group",
        ("", "3 over 2"),
        assistant={"heads": 3},
    ),
    Said(
        "sliding-window",
        "the target's sliding window is 64 tokens, the assistant's 32; past the smaller one the assistant attends to "
        "the wrong tokens and drafts noise without an error",
        ("64", "32"),
        assistant={"sliding_window": 32},
    ),
    Said(
        "donor-layers",
        "the target's layer 2 of 4 is full; the assistant takes its keys and values from a sliding layer n-2 and a "
        "full layer n-1, so it would draft noise",
        ("sliding, full, full, full", ""),
        {"sliding": (True, False, False, False)},
    ),
    Said(
        "donor-layers",
        "the target's layer 3 of 6 is full; the assistant takes its keys and values from a sliding layer n-2 and a "
        "full layer n-1, so it would draft noise",
        ("..., sliding, full, sliding, full", ""),
        {"sliding": (True, False) * 3, "layers": 6, "shared_kv_layers": 1},
    ),
    Said(
        "rope-base",
        "the target's rope bases (sliding / full) are 10,000 / 1,000,000, the assistant's 500,000 / 1,000,000: queries "
        "and keys would be rotated differently, and the drafts noise",
        ("10,000 / 1,000,000", "500,000 / 1,000,000"),
        assistant={"rope_base_sliding": 500_000.0},
    ),
)
#: Check -> the columns of a good pair.
GOOD = {
    "tokenizer": ("gemma4", "gemma4"),
    "vocabulary-size": ("288", "288"),
    "tokens": ("288", "288"),
    "token-types": ("288", "288"),
    "merges": ("3", "3"),
    "special-tokens": ("bos 2, eos 1", "bos 2, eos 1"),
    "width": ("96", "96"),
    "kv-heads": ("2 / 1", "2 / 1"),
    "head-size": ("32 / 64", "32 / 64"),
    "donor-layers": ("..., sliding, full", ""),
    "sliding-window": ("64", "64"),
    "rope-base": ("10,000 / 1,000,000", "10,000 / 1,000,000"),
}


@pytest.mark.parametrize("number", range(len(CASES)))
def test_what_is_said(number: int, verify: Callable[..., Report]):
    case = CASES[number]
    found = {one.id: one for one in verify(case.target, case.assistant).results}[case.check]
    assert (found.status, found.finding.message) == (case.status, case.message)
    assert (found.finding.target, found.finding.assistant) == case.columns


def test_a_good_pair(verify: Callable[..., Report]):
    found = {one.id: one for one in verify().results}
    assert {name: found[name].status for name in GOOD} == dict.fromkeys(GOOD, Status.OK)
    assert {name: (found[name].finding.target, found[name].finding.assistant) for name in GOOD} == GOOD
