"""Importance matrices of seeded numbers."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from gemma_mtp.files.gguf_reader import GGUFFile


def legacy_matrix(path: Path, source: Path) -> Path:
    """One in llama-imatrix's older form, for every matrix of the file."""
    with GGUFFile(source) as file:
        widths = {name: tensor.shape[-1] for name, tensor in file.tensors.items() if len(tensor.shape) == 2}
    draw = np.random.default_rng(7)
    parts = [struct.pack("<i", len(widths))]
    for name, width in widths.items():
        values = draw.random(width, np.float32) + np.float32(0.1)
        parts += [struct.pack("<i", len(name)), name.encode(), struct.pack("<ii", 1, width), values.tobytes()]
    path.write_bytes(b"".join(parts))
    return path
