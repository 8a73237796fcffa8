"""A random image projector for the demo target, small enough for a test: what llama.cpp's `--mmproj` takes.

It is of the kind `gemma4uv` (tools/mtmd/models/gemma4uv.cpp): norms, one matrix over the patches, positions, one matrix
into the target's width, no layers. It has learned nothing; an image becomes some rows that the target reads.
"""

from __future__ import annotations

import base64
import struct
import zlib
from pathlib import Path

import numpy as np
from gguf import GGUFWriter

#: Of the kind's patches in pixels (3 by 3 of 16), colours of a pixel, and its own width.
PATCH, COLOURS, WIDTH, POSITIONS = 48, 3, 64, 64


def write_mmproj(path: Path, target_width: int, seed: int = 0, kind: str = "gemma4uv") -> Path:
    """For a target of this hidden width."""
    numbers = np.random.default_rng(seed)
    writer = GGUFWriter(path, "clip")
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", kind)
    for key, value in {
        "image_size": 224,
        "patch_size": PATCH // 3,
        "embedding_length": WIDTH,
        "feed_forward_length": WIDTH,
        "block_count": 0,
        "projection_dim": target_width,
        "attention.head_count": 1,
    }.items():
        writer.add_uint32(f"clip.vision.{key}", value)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-6)
    writer.add_array("clip.vision.image_mean", [0.0] * COLOURS)
    writer.add_array("clip.vision.image_std", [1.0] * COLOURS)
    pixels = PATCH * PATCH * COLOURS
    shapes = {
        "v.patch_embd.weight": (WIDTH, pixels),
        "v.patch_embd.bias": (WIDTH,),
        "v.position_embd.weight": (2, POSITIONS, WIDTH),
        "mm.input_projection.weight": (target_width, WIDTH),
        **{
            f"v.patch_norm.{at}.{what}": (size,)
            for at, size in ((1, pixels), (2, WIDTH), (3, WIDTH))
            for what in ("weight", "bias")
        },
    }
    for name, shape in shapes.items():
        writer.add_tensor(name, numbers.normal(0, 0.05, shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def picture(side: int = 96) -> str:
    """A PNG of a gradient, as the address that OpenAI's clients send."""
    rows = b"".join(b"\0" + bytes(value for x in range(side) for value in (x, y, 128)) for y in range(side))

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(png).decode()
