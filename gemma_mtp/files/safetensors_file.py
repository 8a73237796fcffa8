"""Safetensors checkpoints, one file or sharded.

The header is validated by the safetensors library (contiguous, no overlap, no overflow, the file covered to its last
byte); the data is read by ourselves, because NumPy has no BF16: such tensors are uint16.
"""

from __future__ import annotations

import json
import os
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from gemma_mtp.advice import LORA_REMEDY
from gemma_mtp.errors import SafetensorsError
from gemma_mtp.files.reading import SourceFile, Span
from gemma_mtp.files.signature import SAFETENSORS, recognized_file
from gemma_mtp.files.text import read_json

#: Endings of files with weights, in the forms that transformers loads.
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")

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
    """The tensors of a checkpoint folder by name. `data` reads one, `span` lets it be read in parts.

    notes: which weights were not taken.
    """

    def __init__(self, folder: Path):
        """Raises SafetensorsError: no safetensors there, a file damaged or missing, a tensor in two or no files."""
        self.folder = folder
        there = {path.name for path in folder.glob("*") if path.is_file()}
        self.files = [folder / name for name in shard_names(folder, there)]
        self.notes = _other_weights(there, self.files)
        self._tensors: dict[str, StoredTensor] = {}
        for path in self.files:
            for tensor in read_header(path):
                if tensor.name in self._tensors:
                    raise SafetensorsError(f"tensor {tensor.name} is also in {self[tensor.name].file.name}", where=path)
                self._tensors[tensor.name] = tensor
        require_indexed(folder, self.files, self._tensors)
        self._open: dict[Path, SourceFile] = {}

    def data(self, tensor: StoredTensor) -> np.ndarray[Any, Any]:
        """The tensor in the dtype of `DTYPES`, in memory of its own.

        Raises SafetensorsError (other dtypes; a file that became shorter), EnvironmentProblem (a failing disk).
        """
        if tensor.dtype not in DTYPES:
            raise SafetensorsError(
                f"tensor {tensor.name} has dtype {tensor.dtype}; F32, F16 and BF16 can be converted",
                where=tensor.file,
                hint="start from the original, unquantized checkpoint",
            )
        return self.span(tensor).read().view(DTYPES[tensor.dtype]).reshape(tensor.shape)

    def span(self, tensor: StoredTensor) -> Span:
        """The tensor's bytes, to be read. Raises SafetensorsError, EnvironmentProblem."""
        if tensor.file not in self._open:
            self._open[tensor.file] = SourceFile(tensor.file, SafetensorsError)
        return self._open[tensor.file].span(tensor.offset, tensor.nbytes)

    def __getitem__(self, name: str) -> StoredTensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def read_header(path: Path) -> list[StoredTensor]:
    """The records of one file. Raises SafetensorsError if it is damaged, EnvironmentProblem if the disk fails."""
    try:
        with SourceFile(path, SafetensorsError) as file:  # first of all: safe_open would wait for the writer of a FIFO
            with safe_open(path, framework="numpy"):
                pass  # the library has read and checked the whole header
            length = int.from_bytes(file.read(0, 8), "little")
            header = parse_header(bytes(file.read(8, length)))
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        if other := recognized_file(path, SAFETENSORS):
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


def parse_header(raw: bytes) -> dict[str, Any]:
    """The JSON of a header: name -> record. Raises ValueError: no JSON object, or a name that stands there twice."""
    header = json.loads(raw, object_pairs_hook=_once)
    if not isinstance(header, dict):
        raise ValueError("the header is no object")
    return header


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name[:200]} stands in the header twice")
        found[name] = value
    return found


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
    """The names of a checkpoint's safetensors files, as transformers chooses: `SINGLE`, or else those of the index.

    there: the names that exist. Raises SafetensorsError.
    """
    if SINGLE in there:
        return [SINGLE]
    if INDEX not in there and not os.path.lexists(folder / INDEX):
        other = next((hint for name, hint in OTHER_WEIGHTS.items() if name in there), None)
        raise SafetensorsError(f"there is neither {SINGLE} nor {INDEX}", where=folder, hint=other)
    names = sorted(set(_weight_map(folder).values()))
    missing = next((name for name in names if name not in there), None)
    if missing is not None:
        raise SafetensorsError(f"the index names {missing}, which is not in the folder", where=folder / INDEX)
    return names


def _weight_map(folder: Path) -> dict[str, str]:
    """The index: tensor -> file. Raises SafetensorsError."""
    index = folder / INDEX
    content = read_json(index, error=SafetensorsError)
    found = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(found, dict) or not found or not all(isinstance(name, str) for name in found.values()):
        raise SafetensorsError("the index has no readable weight_map", where=index)
    return found


def require_indexed(folder: Path, files: Iterable[Path], tensors: Container[str]) -> None:
    """Raises SafetensorsError where the files were chosen by an index and it names a tensor that none of them has."""
    if any(file.name == SINGLE for file in files):
        return
    absent = [name for name in _weight_map(folder) if name not in tensors]
    if absent:
        what = f"the index names {len(absent)} tensors that no file has, first {absent[0][:200]}"
        raise SafetensorsError(what, where=folder / INDEX, hint="download the checkpoint again")


def _other_weights(there: Iterable[str], taken: Iterable[Path]) -> tuple[str, ...]:
    """A note about weights in the folder that are not read."""
    names = {file.name for file in taken}
    first = f"{SINGLE} is" if SINGLE in names else f"the files that {INDEX} names are"
    kinds = (*WEIGHTS, INDEX) if SINGLE in names else WEIGHTS
    left = [name for name in sorted(there) if name not in names and name.endswith(kinds)]
    if not left:
        return ()
    return (f"the folder has several sets of weights: {first} taken, as transformers does; not {', '.join(left[:8])}",)
