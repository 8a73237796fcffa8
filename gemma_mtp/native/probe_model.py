"""A tiny language model in the types that people use, to see whether this machine's llama.cpp can compute at all.

All widths are multiples of 256 (a K-quant's block) so that llama.cpp takes the paths it would take for a real model:
repacked blocks, AMX, a GPU's kernels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gemma_mtp.files.gguf_values import Value, f32, string, u32
from gemma_mtp.files.gguf_writer import GGUFWriter, TensorPlan
from gemma_mtp.ggml import GGMLType, block_size, native, row_bytes

WIDTH, INNER, VOCABULARY, CONTEXT, HEADS = 512, 1024, 1024, 256, 4

#: Where a block of the type keeps its scales, as float16 numbers (ggml-common.h); any other byte may be anything.
SCALES = {GGMLType.Q4_0: (0,), GGMLType.Q8_0: (0,), GGMLType.Q4_K: (0, 1)}

#: Tensors of the one layer, by role: (name, type, rows, columns).
MATRICES = (
    ("token_embd", GGMLType.Q8_0, VOCABULARY, WIDTH),
    ("output", GGMLType.Q4_0, VOCABULARY, WIDTH),
    ("blk.0.attn_q", GGMLType.Q4_0, WIDTH, WIDTH),
    ("blk.0.attn_k", GGMLType.Q8_0, WIDTH, WIDTH),
    ("blk.0.attn_v", GGMLType.Q4_K, WIDTH, WIDTH),
    ("blk.0.attn_output", GGMLType.Q4_0, WIDTH, WIDTH),
    ("blk.0.ffn_gate", GGMLType.Q4_0, INNER, WIDTH),
    ("blk.0.ffn_up", GGMLType.Q8_0, INNER, WIDTH),
    ("blk.0.ffn_down", GGMLType.Q4_K, WIDTH, INNER),
)
NORMS = ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm")


def write_probe_model(path: Path) -> None:
    """A valid GGUF of the llama architecture with fixed pseudo-random weights (2.5 MB)."""
    plans = [TensorPlan(f"{name}.weight", (rows, columns), kind) for name, kind, rows, columns in MATRICES]
    plans += [TensorPlan(f"{name}.weight", (WIDTH,), GGMLType.F32) for name in NORMS]
    random = np.random.default_rng(0)
    with GGUFWriter(path, _metadata(), plans) as writer:
        for plan in plans:
            writer.write_next([_weights(plan, random)])


def _metadata() -> dict[str, Value]:
    return {
        "general.architecture": string("llama"),
        "general.name": string("gemma-mtp backend probe"),
        "general.quantization_version": u32(2),
        "llama.block_count": u32(1),
        "llama.context_length": u32(CONTEXT),
        "llama.embedding_length": u32(WIDTH),
        "llama.feed_forward_length": u32(INNER),
        "llama.attention.head_count": u32(HEADS),
        "llama.attention.layer_norm_rms_epsilon": f32(1e-6),
        "llama.rope.dimension_count": u32(WIDTH // HEADS),
        "llama.vocab_size": u32(VOCABULARY),
        "tokenizer.ggml.model": string("no_vocab"),
    }


def _weights(plan: TensorPlan, random: np.random.Generator) -> bytes:
    """Random quants under one small scale, so that all activations stay near 1; ones for a norm."""
    if plan.type is GGMLType.F32:
        return np.ones(plan.shape, np.float32).tobytes()
    elements = block_size(plan.type)
    blocks = random.integers(0, 256, (plan.nbytes // row_bytes(plan.type, elements), row_bytes(plan.type, elements)))
    raw = blocks.astype(np.uint8)
    scales = raw.view(np.float16)
    for place in SCALES[native(plan.type)]:
        scales[:, place] = 1e-4 if plan.type is GGMLType.Q4_K else 1e-3
    return raw.tobytes()
