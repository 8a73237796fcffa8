"""Safetensors checkpoints as memory-mapped NumPy views, one file or sharded.

The header is validated by the safetensors library (contiguous, no overlap, no overflow, the file covered to its last
byte); the views are our own, because NumPy has no BF16: such tensors are uint16.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from gemma_mtp.errors import SafetensorsError
from gemma_mtp.files.mapped import Done, MappedFile
from gemma_mtp.files.signature import mistaken

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"

#: Safetensors dtype -> NumPy's. BF16 has none there: its bits.
DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor's record in a file. `offset` counts from the start of the file; `shape` is rows first."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    offset: int
    nbytes: int


class SafetensorsCheckpoint(Mapping[str, StoredTensor]):
    """The tensors of a checkpoint folder by name. `data` maps one of them."""

    def __init__(self, folder: Path):
        """Raises SafetensorsError: no safetensors there, a file damaged or missing, a tensor in two files."""
        self.folder = folder
        self.files = list(_files(folder))
        self._tensors: dict[str, StoredTensor] = {}
        for path in self.files:
            for tensor in read_header(path):
                if tensor.name in self._tensors:
                    raise SafetensorsError(f"tensor {tensor.name} is also in {self[tensor.name].file.name}", where=path)
                self._tensors[tensor.name] = tensor
        self._maps: dict[Path, MappedFile] = {}

    def data(self, tensor: StoredTensor) -> np.ndarray[Any, Any]:
        """A read-only view of the tensor in the dtype of `DTYPES`. Raises SafetensorsError for other dtypes."""
        if tensor.dtype not in DTYPES:
            raise SafetensorsError(
                f"tensor {tensor.name} has dtype {tensor.dtype}; F32, F16 and BF16 can be converted",
                where=tensor.file,
                hint="start from the original, unquantized checkpoint",
            )
        return self._map(tensor).bytes(tensor.offset, tensor.nbytes).view(DTYPES[tensor.dtype]).reshape(tensor.shape)

    def forgetting(self, tensor: StoredTensor) -> Done:
        """See `MappedFile.forgetting`: for a reader of the tensor from its start."""
        return self._map(tensor).forgetting(tensor.offset)

    def _map(self, tensor: StoredTensor) -> MappedFile:
        if tensor.file not in self._maps:
            self._maps[tensor.file] = MappedFile(tensor.file)
        return self._maps[tensor.file]

    def __getitem__(self, name: str) -> StoredTensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def read_header(path: Path) -> list[StoredTensor]:
    """The records of one file. Raises SafetensorsError if it is damaged."""
    try:
        with safe_open(path, framework="numpy"):
            pass  # the library has read and checked the whole header
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
    except (SafetensorError, OSError) as error:
        if other := mistaken(path, "a safetensors file"):
            raise SafetensorsError(f"this is {other.what}", where=path, hint=other.hint) from error
        raise SafetensorsError(
            f"not a whole safetensors file: {error}", where=path, hint="download it again"
        ) from error
    start = 8 + length
    return [
        StoredTensor(
            name=name,
            dtype=record["dtype"],
            shape=tuple(record["shape"]),
            file=path,
            offset=start + record["data_offsets"][0],
            nbytes=record["data_offsets"][1] - record["data_offsets"][0],
        )
        for name, record in header.items()
        if name != "__metadata__"
    ]


LORA_REMEDY = "merge it into its base model (peft: merge_and_unload), save that, and convert the result"
_PICKLE = (
    "{} is a pickle, which is not read, because loading one runs whatever code it holds: take a checkpoint in "
    "safetensors, or save this one anew with transformers' save_pretrained, which writes them"
)
#: Files of weights that are not read -> what to do about them.
OTHER_WEIGHTS = {
    "adapter_model.safetensors": LORA_REMEDY,
    **{name: _PICKLE.format(name) for name in ("pytorch_model.bin", "pytorch_model.bin.index.json")},
}


def shard_names(folder: Path, there: Container[str]) -> list[str]:
    """The names of a checkpoint's safetensors files: those that its index names, if there is one.

    there: the names that exist. Raises SafetensorsError.
    """
    index = folder / INDEX
    if not index.exists():
        if SINGLE not in there:
            other = next((hint for name, hint in OTHER_WEIGHTS.items() if name in there), None)
            raise SafetensorsError(f"there is neither {SINGLE} nor {INDEX}", where=folder, hint=other)
        return [SINGLE]
    try:
        names = sorted({str(name) for name in json.loads(index.read_bytes())["weight_map"].values()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SafetensorsError("the index has no readable weight_map", where=index) from error
    missing = next((name for name in names if name not in there), None)
    if missing is not None:
        raise SafetensorsError(f"the index names {missing}, which is not in the folder", where=index)
    return names


def _files(folder: Path) -> Iterator[Path]:
    there = {path.name for path in folder.glob("*") if path.is_file()}
    yield from (folder / name for name in shard_names(folder, there))
