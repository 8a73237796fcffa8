"""Random EAGLE3 heads and DSpark drafters for a target, with the keys and shapes that llama.cpp's loader asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_reader import GGUFFile
from gemma_mtp.files.gguf_values import Value, ValueType
from gemma_mtp.files.gguf_writer import GGUFWriter, TensorPlan
from gemma_mtp.ggml import GGMLType

#: Another width than any target's: a head with embeddings and output of its own may have any.
WIDTH, WIDE, HEADS, KV_HEADS, HEAD, RANK, KNOWN = 64, 96, 2, 1, 32, 8, 100
Shapes = dict[str, tuple[int, ...]]


def eagle3(target: Path, path: Path, *, own: bool = True, ids: Sequence[int] = range(0, 3 * KNOWN, 3)) -> Path:
    """own: with embeddings and an output of its own, for these KNOWN tokens."""
    width, vocabulary, tokenizer = _of_target(target)
    hidden = WIDTH if own else width
    shapes: Shapes = {
        "fc.weight": (hidden, 3 * width),
        "output_norm.weight": (hidden,),
        **_layer(0, hidden, 2 * hidden),
        "blk.0.attn_norm_2.weight": (hidden,),
    }
    shapes |= {"token_embd.weight": (vocabulary, hidden), "output.weight": (KNOWN, hidden)} if own else {}
    keys = {
        **_keys("eagle3", 1, hidden),
        "eagle3.target_layers": gv.array(ValueType.INT32, [0, 2, 3]),
        "eagle3.target_hidden_size": gv.u32(width),
        "eagle3.norm_before_residual": gv.boolean(False),
    }
    return _write(path, {**keys, **tokenizer}, shapes, ids if own else ())


def dspark(target: Path, path: Path, *, own: bool = True) -> Path:
    """own: with a Gemma's layers (no values, more norms) and a confidence head, as llama.cpp converts DeepSeek's."""
    width, vocabulary, tokenizer = _of_target(target)
    shapes: Shapes = {
        "fc.weight": (width, 2 * width),
        "enc.output_norm.weight": (width,),
        "output_norm.weight": (width,),
        "markov_w1.weight": (vocabulary, RANK),
        "markov_w2.weight": (vocabulary, RANK),
    }
    for layer in range(2):
        shapes |= _layer(layer, width, width)
        shapes |= {f"blk.{layer}.{name}.weight": (HEAD,) for name in ("attn_q_norm", "attn_k_norm")}
        if own:
            del shapes[f"blk.{layer}.attn_v.weight"]
            shapes |= {f"blk.{layer}.{name}.weight": (width,) for name in ("post_attention_norm", "post_ffw_norm")}
            shapes |= {f"blk.{layer}.layer_output_scale.weight": (1,)}
    shapes |= {"conf_proj.weight": (1, width + RANK), "conf_proj.bias": (1,)} if own else {}
    keys = {
        **_keys("dflash", 2, width),
        "dflash.block_size": gv.u32(5),
        "dflash.target_layers": gv.array(ValueType.INT32, [1, 2]),
        "dflash.embedding_scale": gv.f32(width**0.5),
        "dflash.sample_from_anchor": gv.boolean(True),
        "dflash.has_confidence_head": gv.boolean(own),
    }
    return _write(path, {**keys, **tokenizer, "tokenizer.ggml.mask_token_id": gv.u32(4)}, shapes)


def dflash2(target: Path, path: Path) -> Path:
    """A DFlash drafter's successor: convolutions in each layer, and a selector among the best tokens of each place."""
    with GGUFFile(dspark(target, path, own=False)) as file:
        keys = {key: value for key, value in file.metadata.items() if not key.endswith(("_anchor", "_head"))}
        shapes = {name: one.shape for name, one in file.tensors.items() if not name.startswith("markov")}
    kernel, group, best = 2, 16, 4
    settings = {"conv_kernel_size": kernel, "conv_group_size": group, "selector_rank": RANK, "selector_top_k": best}
    keys |= {f"dflash.{name}": gv.u32(number) for name, number in settings.items()}
    width, vocabulary = shapes["fc.weight"][0], keys["tokenizer.ggml.tokens"].count
    shapes |= {f"selector_{name}.weight": (vocabulary, RANK) for name in ("predecessor", "successor")}
    shapes["selector_hidden.weight"] = (RANK, width)
    for place in (f"blk.{layer}.{part}" for layer in range(2) for part in ("attn", "ffn")):
        shapes[f"{place}_conv_base"] = (2, kernel, width)
        shapes[f"{place}_conv_proj.weight"] = (2 * kernel * width // group, width)
    path.unlink()
    return _write(path, keys, shapes)


def _of_target(target: Path) -> tuple[int, int, dict[str, Value]]:
    """Its width, the number of its tokens, and the keys of its tokenizer."""
    with GGUFFile(target) as file:
        tokenizer = {key: value for key, value in file.metadata.items() if key.startswith("tokenizer.")}
        return file.metadata["gemma4.embedding_length"].integer(), tokenizer["tokenizer.ggml.tokens"].count, tokenizer


def _keys(architecture: str, layers: int, width: int) -> dict[str, Value]:
    numbers = {
        "block_count": layers,
        "context_length": 512,
        "embedding_length": width,
        "feed_forward_length": WIDE,
        "attention.head_count": HEADS,
        "attention.head_count_kv": KV_HEADS,
        "attention.key_length": HEAD,
        "attention.value_length": HEAD,
    }
    return {
        "general.architecture": gv.string(architecture),
        **{f"{architecture}.{name}": gv.u32(number) for name, number in numbers.items()},
        f"{architecture}.attention.layer_norm_rms_epsilon": gv.f32(1e-6),
        f"{architecture}.rope.freq_base": gv.f32(10_000.0),
    }


def _layer(number: int, width: int, read: int) -> Shapes:
    """read: the numbers that attention reads of a token."""
    shapes = {
        "attn_norm": (width,),
        "attn_q": (HEADS * HEAD, read),
        "attn_k": (KV_HEADS * HEAD, read),
        "attn_v": (KV_HEADS * HEAD, read),
        "attn_output": (width, HEADS * HEAD),
        "ffn_norm": (width,),
        "ffn_gate": (WIDE, width),
        "ffn_up": (WIDE, width),
        "ffn_down": (width, WIDE),
    }
    return {f"blk.{number}.{name}.weight": shape for name, shape in shapes.items()}


def _write(path: Path, keys: Mapping[str, Value], shapes: Shapes, ids: Sequence[int] = ()) -> Path:
    random = np.random.default_rng(7)
    plans = [TensorPlan(name, shape, GGMLType.F32) for name, shape in shapes.items()]
    plans += [TensorPlan("d2t", (len(ids),), GGMLType.I64)] if ids else []
    with GGUFWriter(path, keys, plans) as writer:
        for name, shape in shapes.items():
            level = 1.0 if name.endswith("norm.weight") else 0.0
            writer.write_next([random.normal(level, 0.05, shape).astype(np.float32).tobytes()])
        if ids:
            writer.write_next([np.array(ids, np.int64).tobytes()])
    return path
