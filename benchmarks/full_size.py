"""Full-size random assistants as checkpoints, seeded: what the benchmarks convert and quantize.

Shapes, dtypes, vocabulary size and number of merges are the official ones; weights and vocabulary are random.
"""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gemma_mtp.demo.pair import PAIR
from gemma_mtp.model.config import parse_config
from gemma_mtp.model.family import slots
from gemma_mtp.model.roles import Slot

VOCABULARY, MERGES = 262_144, 514_906
LONGEST_TOKEN = 14  # characters

_DENSE = {"num_attention_heads": 16, "num_key_value_heads": 8, "hidden_size": 1024, "intermediate_size": 8192}
_SMALL = {"num_attention_heads": 4, "num_key_value_heads": 1, "hidden_size": 256, "intermediate_size": 2048}

#: The sizes, as config.json tells them apart.
SIZES: dict[str, dict[str, Any]] = {
    "26B-A4B": {"backbone_hidden_size": 2816, "text_config": _DENSE},
    "E2B": {"backbone_hidden_size": 1536, "use_ordered_embeddings": True, "num_centroids": 2048, "text_config": _SMALL},
}


def config(size: str) -> dict[str, Any]:
    """The assistant's config.json."""
    text = {
        **SIZES[size]["text_config"],
        "attention_k_eq_v": False,
        "enable_moe_block": False,
        "global_head_dim": 512,
        "head_dim": 256,
        "hidden_activation": "gelu_pytorch_tanh",
        "hidden_size_per_layer_input": 0,
        "layer_types": ["sliding_attention"] * 3 + ["full_attention"],
        "max_position_embeddings": 131_072,
        "model_type": "gemma4_text",
        "moe_intermediate_size": None,
        "num_hidden_layers": 4,
        "num_kv_shared_layers": 4,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {
            "full_attention": {"partial_rotary_factor": 0.25, "rope_theta": 1e6, "rope_type": "proportional"},
            "sliding_attention": {"rope_theta": 1e4, "rope_type": "default"},
        },
        "sliding_window": 1024,
        "tie_word_embeddings": True,
        "vocab_size": VOCABULARY,
        "vocab_size_per_layer_input": 0,
    }
    whole = {"architectures": ["Gemma4AssistantForCausalLM"], "model_type": "gemma4_assistant", "dtype": "bfloat16"}
    return {**whole, **SIZES[size], "text_config": text}


def make_checkpoint(size: str, folder: Path) -> Path:
    """The assistant of that size in `folder`; nothing is done if it is there already."""
    weights = folder / "model.safetensors"
    if weights.exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config(size), indent=2))
    shutil.copy(PAIR / "assistant" / "tokenizer_config.json", folder)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer(), indent=2, ensure_ascii=False), encoding="utf-8")
    part = weights.with_suffix(".part")
    write_weights(size, part)
    part.rename(weights)
    return folder


def write_weights(size: str, path: Path) -> None:
    """All tensors, BF16, normally distributed; norms around 1."""
    model = parse_config(config(size), path)
    tensors = [(source_name(slot), slot) for slot in slots(model)]
    header: dict[str, Any] = {}
    offset = 0
    for name, slot in tensors:
        dtype, width = ("I64", 8) if slot.role.name == "token_ordering" else ("BF16", 2)
        end = offset + width * int(np.prod(slot.shape(model)))
        header[name] = {"dtype": dtype, "shape": slot.shape(model), "data_offsets": [offset, end]}
        offset = end
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    generator = np.random.default_rng(26)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        for _, slot in tensors:
            file.write(numbers(generator, slot, slot.shape(model)))


def numbers(generator: np.random.Generator, slot: Slot, shape: tuple[int, ...]) -> memoryview:
    if slot.role.name == "token_ordering":
        return generator.permutation(shape[0]).astype("<i8").data
    values = generator.standard_normal(shape, np.float32) * np.float32(0.02) + np.float32(len(shape) == 1)
    return (values.view(np.uint32) >> 16).astype("<u2").data


def source_name(slot: Slot) -> str:
    """Google's files have the decoder under `model.`, what makes an assistant one beside it."""
    outside = slot.source.startswith(("pre_projection", "post_projection", "masked_embedding"))
    return slot.source if outside else f"model.{slot.source}"


def tokenizer() -> dict[str, Any]:
    """A byte-fallback BPE of the official size. The demo pair's special tokens come first, as they do there."""
    content = json.loads((PAIR / "assistant" / "tokenizer.json").read_bytes())
    special = [token["content"] for token in content["added_tokens"]]
    tokens = dict.fromkeys(special + [f"<0x{byte:02X}>" for byte in range(256)])
    merges = list(random_words(tokens))
    content["model"]["vocab"] = {token: number for number, token in enumerate(tokens)}
    content["model"]["merges"] = merges + list(other_splits(tokens, merges, MERGES - len(merges)))
    return content


def random_words(tokens: dict[str, None]) -> Iterator[list[str]]:
    """Fill `tokens` with characters and with words that are made by merging two tokens; the merges."""
    generator = np.random.default_rng(4)
    ranges = ((0x2581, 0x2582), (0x61, 0x7B), (0x21, 0x61), (0xA1, 0x250), (0x370, 0x530), (0x4E00, 0x5E00))
    characters = [chr(code) for start, end in ranges for code in range(start, end)]
    tokens.update(dict.fromkeys(characters))
    words = characters[:11]  # words are made of few characters, so that most can be split in several ways
    while len(tokens) < VOCABULARY:
        # The lower, the likelier: words of frequent pieces, as in a real vocabulary.
        for left, right in (generator.random((1 << 16, 2)) ** 4 * len(words)).astype(int).tolist():
            word = words[left] + words[right]
            if len(word) <= LONGEST_TOKEN and word not in tokens and len(tokens) < VOCABULARY:
                tokens[word] = None
                words.append(word)
                yield [words[left], words[right]]


def other_splits(tokens: dict[str, None], merges: list[list[str]], count: int) -> Iterator[list[str]]:
    """Further ways to split tokens into two, `count` at most: a real vocabulary lists them all."""
    for left, right in merges:
        word = left + right
        for at in range(1, len(word)):
            pieces = [word[:at], word[at:]]
            if at != len(left) and pieces[0] in tokens and pieces[1] in tokens:
                if count == 0:
                    return
                count -= 1
                yield pieces
