"""From what a user names to a side of a pair: a GGUF, a split GGUF, a checkpoint's folder, either of them on the Hub.

Wherever a model comes from, the checks see a GGUF header. Of a remote file that is all that is read; a checkpoint is
looked at as the GGUF that it would be converted to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gemma_mtp.errors import GGUFError
from gemma_mtp.files.gguf_reader import GGUFFile, GGUFHeader, TensorInfo
from gemma_mtp.files.gguf_values import ValueType, i32, scalar
from gemma_mtp.ggml import GGMLType
from gemma_mtp.hub.source import Source, parse_source
from gemma_mtp.validate.keys import describe
from gemma_mtp.validate.side import ReadData, Side

if TYPE_CHECKING:
    from gemma_mtp.convert.checkpoint import Checkpoint
    from gemma_mtp.convert.experts import SourceTensor
    from gemma_mtp.hub.download import Listing
    from gemma_mtp.model.config import Hyperparameters
    from gemma_mtp.model.roles import Slot

#: The name of a part of a split GGUF, as llama.cpp writes and demands it.
PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
ROPE_FREQS = "rope_freqs.weight"


@contextmanager
def open_side(place: str | Path, part: str) -> Iterator[Side]:
    """The model at `place` as one side of a pair; its data can be read inside of the context only.

    part: "target" or "assistant". Raises what the reader of the place raises: see `verify_pair`.
    """
    source = parse_source(place)
    if source.path is None:
        yield _remote_side(source, part)
    elif source.path.is_dir():
        yield _checkpoint_side(source.path, part)
    else:
        with ExitStack() as stack:
            files = split_parts(source.path)
            header, read = merge(str(source.path), [_open_file(stack, path) for path in files])
            yield Side(str(source.path), part, header, read, files=tuple(files))


def _open_file(stack: ExitStack, path: Path) -> tuple[GGUFHeader, ReadData]:
    file = stack.enter_context(GGUFFile(path))
    data = stack.enter_context(path.open("rb", buffering=0))

    def read(tensor: TensorInfo, start: int, stop: int) -> np.ndarray[Any, Any]:
        # Not through the map: thousands of small samples would each pull in the kernel's read-ahead.
        data.seek(tensor.offset + start)
        raw = data.read(stop - start)
        if len(raw) < stop - start:
            raise GGUFError("the file became shorter while it was read", where=path)
        return np.frombuffer(raw, np.uint8)

    return file.header, read


def split_parts(path: Path) -> list[Path]:
    """All files of the model that `path` is, or is the first part of. Raises GGUFError: not the first, one missing."""
    match = PART.fullmatch(path.name)
    if match is None:
        return [path]
    number, count = int(match["number"]), int(match["count"])
    if not 1 <= number <= count:
        raise GGUFError(
            f"its name says part {number} of {count}, which cannot be", where=path, hint="give it its name back"
        )
    parts = [path.with_name(f"{match['stem']}-{index:05}-of-{match['count']}.gguf") for index in range(1, count + 1)]
    if number != 1:
        raise GGUFError(
            f"this is part {number} of {count} of a split model", where=path, hint=f"name the first: {parts[0]}"
        )
    missing = [part.name for part in parts if not part.exists()]
    if missing:
        raise GGUFError(
            f"{len(missing)} of {count} parts are missing: {', '.join(missing[:3])}",
            where=path,
            hint="put all parts into one folder, under their own names",
        )
    return parts


def merge(place: str, parts: Sequence[tuple[GGUFHeader, ReadData | None]]) -> tuple[GGUFHeader, ReadData | None]:
    """The parts of a split model as one header: the first one's metadata, everybody's tensors.

    Raises GGUFError if the parts do not belong together.
    """
    first, read = parts[0]
    promised = first.metadata.get("split.count")
    count = int(promised.decode()) if promised is not None and promised.type is ValueType.UINT16 else 0
    if len(parts) == 1 and count <= 1:
        return first, read
    if count != len(parts):
        raise GGUFError(
            f"the file is one of {count} parts of a split model, {len(parts)} are here"
            if count
            else f"its name says {len(parts)} parts, the file nothing: llama.cpp reads no other part",
            where=place,
            hint="put all parts into one folder, under their own names (...-00001-of-0000N.gguf)",
        )
    readers: dict[str, ReadData | None] = {}
    tensors: dict[str, TensorInfo] = {}
    for index, (header, reader) in enumerate(parts):
        _check_number(place, header, index)
        twice = next(iter(header.tensors.keys() & tensors.keys()), None)
        if twice is not None:
            raise GGUFError(f"tensor {twice} is in two parts of the split model", where=place)
        tensors.update(header.tensors)
        readers.update(dict.fromkeys(header.tensors, reader))

    total = first.metadata.get("split.tensors.count")
    if total is None or total != i32(len(tensors)):
        raise GGUFError(
            f"split.tensors.count is {describe(total) if total else 'missing'}, the parts have {len(tensors)} tensors",
            where=place,
            hint="a part is missing or another model's: download all parts again",
        )

    def read_part(tensor: TensorInfo, start: int, stop: int) -> np.ndarray[Any, Any]:
        reader = readers[tensor.name]
        assert reader is not None
        return reader(tensor, start, stop)

    disorder = next((header.disorder for header, _ in parts if header.disorder), "")
    whole = replace(first, tensors=tensors, size=sum(header.size for header, _ in parts), disorder=disorder)
    return whole, None if read is None else read_part


def _check_number(place: str, header: GGUFHeader, index: int) -> None:
    """Raises GGUFError unless a part says that it is the one of this index."""
    number = header.metadata.get("split.no")
    if number is None or number != scalar(ValueType.UINT16, index):
        raise GGUFError(
            f"part {index + 1} has split.no {describe(number) if number else 'missing'}, not UINT16 {index}",
            where=place,
            hint="give the parts their own names back, or split the model again (llama-gguf-split)",
        )


def _remote_side(source: Source, part: str) -> Side:
    """A GGUF on the Hub by its header, or a repo that holds a checkpoint, if no file or type is named."""
    from gemma_mtp.hub.download import is_checkpoint, list_repo
    from gemma_mtp.hub.remote import find_remote_gguf, read_remote_header

    listing = list_repo(source)
    if source.file is None and source.quant is None and is_checkpoint(listing):
        return _remote_checkpoint_side(source, listing, part)
    found = [read_remote_header(file) for file in find_remote_gguf(source, part, listing)]
    place = str(found[0].source)
    header, _ = merge(place, [(remote.header, None) for remote in found])
    got, requests = sum(remote.bytes_read for remote in found), sum(remote.requests for remote in found)
    return Side(place, part, header, None, bytes_read(place, got, header.size, requests))


def bytes_read(place: str, got: int, size: int, requests: int) -> str:
    """What looking at a remote file took, as people are told."""
    return f"{place}: {got:,} of {size:,} bytes read, in {requests} request{'s' if requests != 1 else ''}"


def _remote_checkpoint_side(source: Source, listing: Listing, part: str) -> Side:
    from gemma_mtp.convert.checkpoint import place_tensors
    from gemma_mtp.hub.remote_checkpoint import read_remote_checkpoint
    from gemma_mtp.model.config import read_config

    remote = read_remote_checkpoint(source, listing)
    place = str(remote.source)
    model = read_config(remote.folder)
    tensors, _ = place_tensors(model, remote.folder, remote.tensors)
    note = bytes_read(place, remote.bytes_read, remote.size, remote.requests)
    header = _converted_header(model, tensors, remote.folder, listing.repo.split("/")[1])
    return Side(place, part, header, None, f"{note} (a checkpoint, seen as the GGUF it converts to)")


def _checkpoint_side(folder: Path, part: str) -> Side:
    from gemma_mtp.convert.checkpoint import open_checkpoint

    checkpoint = open_checkpoint(folder)
    header = _converted_header(checkpoint.model, checkpoint.tensors, folder, _model_name(folder))
    read = _reader_of(checkpoint)
    note = f"{folder}: a checkpoint, seen as the GGUF it converts to"
    return Side(str(folder), part, header, read, note, tuple(checkpoint.store.files))


def _model_name(folder: Path) -> str:
    """The folder's name; of a snapshot in the Hub's cache (models--owner--name/snapshots/COMMIT) the repo's."""
    path = folder.resolve()
    repo = path.parent.parent.name
    is_snapshot = path.parent.name == "snapshots" and repo.startswith("models--")
    return repo.split("--")[-1] if is_snapshot else path.name


def _converted_header(
    model: Hyperparameters, stored: Mapping[Slot, SourceTensor], folder: Path, name: str
) -> GGUFHeader:
    """The header of the GGUF that `convert` makes of a checkpoint, without its centroid head.

    stored: its tensors by slot. folder: where its config, tokenizer and card are. name: the model's.
    """
    from gemma_mtp.convert.metadata import general_metadata, model_metadata
    from gemma_mtp.convert.pipeline import HEAD_ROLES, source_type
    from gemma_mtp.convert.tokenizer import tokenizer_metadata
    from gemma_mtp.files.gguf_writer import TensorPlan

    plans = [TensorPlan(ROPE_FREQS, (len(model.rope_factors()),), GGMLType.F32)]
    for slot, tensor in stored.items():
        if slot.role.name not in HEAD_ROLES:
            kind = GGMLType.F32 if slot.role.plain else source_type(tensor)
            plans.append(TensorPlan(slot.mainline_name, tensor.shape, kind))
    metadata = {
        **general_metadata(model, folder, name, plans),
        **model_metadata(model),
        **tokenizer_metadata(folder, model.vocabulary),
    }
    tensors = {plan.name: TensorInfo(plan.name, plan.shape, plan.type, 0) for plan in plans}
    return GGUFHeader(3, metadata, tensors, 32, 0, sum(plan.nbytes for plan in plans))


def _reader_of(checkpoint: Checkpoint) -> ReadData:
    """Reads tensors by their names in a GGUF; norms and scales as the F32 that they become."""
    from gemma_mtp.convert.pipeline import source_type

    slots = {slot.mainline_name: slot for slot in checkpoint.tensors}

    def numbers(name: str) -> np.ndarray[Any, Any]:
        if name == ROPE_FREQS:
            return np.array(checkpoint.model.rope_factors(), "<f4")
        slot = slots[name]
        data = checkpoint.data(checkpoint.tensors[slot])
        if slot.role.plain and source_type(checkpoint.tensors[slot]) is GGMLType.BF16:
            data = (data.astype("<u4") << 16).view("<f4")
        return data.astype("<f4") if slot.role.plain else data

    def read(tensor: TensorInfo, start: int, stop: int) -> np.ndarray[Any, Any]:
        return numbers(tensor.name).reshape(-1).view(np.uint8)[start:stop]

    return read
