"""A checkpoint with something changed in it."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from gemma_mtp.files.safetensors_file import SafetensorsCheckpoint


def edit_config(folder: Path, **changes) -> None:
    """Change fields of config.json; dotted names reach into text_config, None removes."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    for key, value in changes.items():
        table = config["text_config"] if key in config["text_config"] else config
        table.pop(key) if value is None else table.update({key: value})
    path.write_text(json.dumps(config))


def edit_tensors(folder: Path, change) -> None:
    """Write model.safetensors again after `change(tensors)`; BF16 becomes F32."""
    store = SafetensorsCheckpoint(folder)
    tensors = {name: (store.data(tensor).astype(np.uint32) << 16).view(np.float32) for name, tensor in store.items()}
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def poison(tensors: dict, value: float) -> None:
    tensors["model.layers.2.mlp.up_proj.weight"][100, 7] = value


def edit_header(folder: Path, change) -> None:
    """Let `change(records)` alter the header of model.safetensors; the data stays."""
    path = folder / "model.safetensors"
    content = path.read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    records = json.loads(content[8 : 8 + length])
    change(records)
    header = json.dumps(records).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + content[8 + length :])
