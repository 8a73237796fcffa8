"""What the runtime's tests share: settings, a prompt, and copies of a GGUF file with something changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gemma_mtp.files.gguf_reader import GGUFFile
from gemma_mtp.files.gguf_values import Value
from gemma_mtp.files.gguf_writer import GGUFWriter, TensorPlan
from gemma_mtp.native.settings import ContextSettings

GGUFFactory = Callable[[str], Path]

PROMPT = "class Reader:\n\n    def __init__(self, path, encoding=None):\n"
SETTINGS = ContextSettings(size=512, threads=1)


def with_metadata(source: Path, path: Path, changes: dict[str, Value]) -> Path:
    """A copy of a GGUF file with some metadata values replaced."""
    with GGUFFile(source) as file:
        plans = [TensorPlan(tensor.name, tensor.shape, tensor.type) for tensor in file.tensors.values()]
        with GGUFWriter(path, {**file.metadata, **changes}, plans) as writer:
            for tensor in file.tensors.values():
                writer.write_next([file.data(tensor).tobytes()])
    return path
