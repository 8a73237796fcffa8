"""A checkpoint on the Hub without its weights: config and tokenizer, and of each safetensors file the header.

The header of a safetensors file stands at its beginning, some hundred bytes a tensor: one or two range requests a file,
whatever its size. Layout: its length as a u64, then JSON, name -> dtype, shape and the first and the last byte of the
data (the safetensors library's documentation, "Format").
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemma_mtp.errors import SafetensorsError
from gemma_mtp.files.safetensors_file import DTYPES, StoredTensor, parse_header, require_indexed, shard_names
from gemma_mtp.hub.download import Listing, fetch_without_weights
from gemma_mtp.hub.problems import explained
from gemma_mtp.hub.remote import FIRST_READ, RangeReader
from gemma_mtp.hub.source import Source

#: Far above any model's: a header of this size would describe a million tensors.
LARGEST_HEADER = 100 << 20


@dataclass(frozen=True)
class RemoteCheckpoint:
    """folder: its config, tokenizer and card, on this machine. tensors: by name; their bytes are still on the Hub.

    size: of the weights' files. bytes_read, requests: what it took, the files in `folder` included (which are not
    fetched again if the cache has them).
    """

    source: Source
    folder: Path
    tensors: dict[str, StoredTensor]
    size: int
    bytes_read: int
    requests: int


def read_remote_checkpoint(source: Source, listing: Listing) -> RemoteCheckpoint:
    """The checkpoint at the root of a repo.

    Raises EnvironmentProblem (Hub, network, disk), BadFileError (no checkpoint, or a damaged one).
    """
    folder, small = fetch_without_weights(source, listing)
    tensors: dict[str, StoredTensor] = {}
    bytes_read, requests, size = sum(file.size for file in small), len(small), 0
    names = shard_names(folder, listing.files)
    for name in names:
        reader = RangeReader(listing.repo, name, listing.commit)
        for tensor in _read_header(reader, folder / name):
            if tensor.name in tensors:
                raise SafetensorsError(f"tensor {tensor.name} is also in {tensors[tensor.name].file.name}", where=name)
            tensors[tensor.name] = tensor
        bytes_read, requests, size = bytes_read + len(reader.buffer), requests + reader.requests, size + reader.size
    require_indexed(folder, [folder / name for name in names], tensors)
    at = Source(repo=listing.repo, revision=listing.commit)
    return RemoteCheckpoint(at, folder, tensors, size, bytes_read, requests)


def _read_header(reader: RangeReader, path: Path) -> list[StoredTensor]:
    where = f"{reader.repo}/{reader.file}"
    with explained(reader.repo):
        reader.read_up_to(FIRST_READ)
        end = 8 + int.from_bytes(reader.buffer[:8], "little")
        if not 10 <= end <= min(reader.size, LARGEST_HEADER):
            raise SafetensorsError(f"no safetensors file: its header would have {end - 8:,} bytes", where=where)
        if len(reader.buffer) < end:
            reader.read_up_to(end)
    try:
        records = parse_header(reader.buffer[8:end])
        tensors = list(_tensors(records, path, end))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SafetensorsError(f"its header is no list of tensors: {error}", where=where) from error
    _check_places(tensors, end, reader.size, where)
    return tensors


def _tensors(records: dict[str, Any], path: Path, start: int) -> Iterator[StoredTensor]:
    for name, record in records.items():
        if name != "__metadata__":
            first, last = map(int, record["data_offsets"])
            shape = tuple(map(int, record["shape"]))
            yield StoredTensor(name, str(record["dtype"]), shape, path, start + first, last - first)


def _check_places(tensors: list[StoredTensor], start: int, size: int, where: str) -> None:
    """Every tensor is as long as its shape says, and together they fill the file. Raises SafetensorsError."""
    end = start
    for tensor in sorted(tensors, key=lambda tensor: (tensor.offset, tensor.nbytes)):
        dtype = DTYPES.get(tensor.dtype)
        wanted = tensor.nbytes if dtype is None else math.prod(tensor.shape) * dtype.itemsize
        if tensor.offset != end or tensor.nbytes != wanted or min(tensor.shape, default=1) < 0:
            raise SafetensorsError(f"the place of tensor {tensor.name} is not what its shape says", where=where)
        end += tensor.nbytes
    if end != size:
        raise SafetensorsError(
            f"its tensors end at byte {end:,}, but the file has {size:,}", where=where, hint="use another repo"
        )
