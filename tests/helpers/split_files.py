"""A GGUF in several parts."""

from __future__ import annotations

import numpy as np
from helpers.tiny_pairs import write_gguf

from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_reader import GGUFFile


def split(path, folder, *, parts=3, spoil=None):
    """The file in several parts, as llama.cpp's gguf-split makes them. `spoil`: a tensor that gets a NaN."""
    with GGUFFile(path) as file:
        tensors = {
            name: (tensor.type, file.data(tensor).reshape(*tensor.shape[:-1], -1).copy())
            for name, tensor in file.tensors.items()
        }
        metadata = dict(file.metadata)
    if spoil:
        tensors[spoil][1].reshape(-1)[:4] = np.float32(np.nan).tobytes()[0], 0, 0xC0, 0x7F
    names = list(tensors)
    paths = []
    for index in range(parts):
        own = {name: tensors[name] for name in names[index::parts]}
        keys = {
            "split.no": gv.scalar(gv.ValueType.UINT16, index),
            "split.tensors.count": gv.i32(len(names)),
            "split.count": gv.scalar(gv.ValueType.UINT16, parts),
        }
        paths.append(folder / f"target-{index + 1:05}-of-{parts:05}.gguf")
        write_gguf(paths[-1], {**metadata, **keys} if index == 0 else keys, own)
    return paths
