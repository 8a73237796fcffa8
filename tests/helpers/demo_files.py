"""What the runtime's tests share: settings, a prompt, and copies of a GGUF file with something changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from gemma_mtp.files.gguf_reader import GGUFFile
from gemma_mtp.files.gguf_values import Value
from gemma_mtp.files.gguf_writer import GGUFWriter, TensorPlan
from gemma_mtp.ggml import GGMLType
from gemma_mtp.native.settings import ContextSettings

GGUFFactory = Callable[[str], Path]

PROMPT = "class Reader:\n\n    def __init__(self, path, encoding=None):\n"
SETTINGS = ContextSettings(size=512, threads=1)


def with_metadata(source: Path, path: Path, changes: dict[str, Value]) -> Path:
    """A copy of a GGUF file with some metadata values replaced."""
    return remade(source, path, changes)


def remade(
    source: Path,
    path: Path,
    keys: Mapping[str, Value | None] | None = None,
    tensors: Mapping[str, tuple[GGMLType, tuple[int, ...]] | None] | None = None,
) -> Path:
    """A copy of a GGUF with keys and tensors changed; None removes.

    tensors: name -> type and shape, filled with ones; in I32 with 0, 1, 2 and so on.
    """
    with GGUFFile(source) as file:
        metadata = {key: value for key, value in {**file.metadata, **(keys or {})}.items() if value is not None}
        plans = {name: TensorPlan(name, one.shape, one.type) for name, one in file.tensors.items()}
        data = {name: file.data(one).tobytes() for name, one in file.tensors.items()}
        for name, made in (tensors or {}).items():
            plans.pop(name, None)
            if made is not None:
                kind, shape = made
                plans[name] = TensorPlan(name, shape, kind)
                numbers = np.arange(shape[0]) if kind is GGMLType.I32 else np.ones(shape)
                data[name] = numbers.astype(_DTYPES[kind]).tobytes()
        with GGUFWriter(path, metadata, list(plans.values()), force=True) as writer:
            for name in plans:
                writer.write_next([data[name]])
    return path


_DTYPES = {GGMLType.F32: "<f4", GGMLType.F16: "<f2", GGMLType.I32: "<i4"}
