"""From what a user names to an opened model: a GGUF, a split GGUF, a checkpoint's folder, either of them on the Hub.

Wherever a model comes from, it has a GGUF's header. Of a remote file that is all that is read, unless more is wanted; a
checkpoint is looked at as the GGUF that it would be converted to.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from enum import Enum
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gemma_mtp import advice
from gemma_mtp.errors import UsageError
from gemma_mtp.files.gguf_reader import GGUFFile, TensorInfo
from gemma_mtp.hub.source import Source, parse_source
from gemma_mtp.model.part import Part
from gemma_mtp.progress import Progress, silent
from gemma_mtp.sources.model import OpenModel
from gemma_mtp.sources.origin import NOWHERE, Origin, model_name, origin_of
from gemma_mtp.sources.splits import merge, split_parts

if TYPE_CHECKING:
    from gemma_mtp.hub.download import Listing

LOG = logging.getLogger(__name__)

#: Whatever names a model: a path, or a text of the grammar of `gemma_mtp.hub.source`.
Place = str | PathLike[str]
#: Files that a refusal lists at most.
MOST_NAMED = 12


class Want(Enum):
    """What of a model is needed. Only a model on the Hub makes a difference."""

    HEADER = "what it says of itself: of a file on the Hub nothing else is read"
    DATA = "its weights: they are downloaded"
    GGUF = "the same of a GGUF; a checkpoint will not do"
    FILE = "a GGUF on this machine, for llama.cpp"


@contextmanager
def open_model(
    place: Place | Source,
    part: Part | str | None = None,
    *,
    want: Want = Want.HEADER,
    progress: Progress = silent,
    deep: bool = False,
    owner: OpenModel | None = None,
) -> Iterator[OpenModel]:
    """The model at `place`; its data can be read inside of the context only.

    part: what it is meant as; None: what it is. In a repo it decides which of several GGUFs is taken.
    want: how much of a model on the Hub is brought here. progress: shows downloads. deep: hash again what the Hub's
    cache has, even if it has not changed since it was hashed. owner: the target whose tokenizer a drafter's checkpoint
    borrows.

    Raises GGUFError, CheckpointError and SafetensorsError for files that cannot be read or break their format,
    BadFileError and UsageError for places that cannot be understood or don't have what is wanted, EnvironmentProblem.
    """
    source = place if isinstance(place, Source) else parse_source(place)
    part = None if part is None else Part(part)
    LOG.debug("opening %s as %s, for its %s", source, part or "what it is", want.name.lower())
    if source.path is None and want in (Want.HEADER, Want.GGUF):
        yield _remote(source, part, want, owner)
        return
    path, origin = (source.path, NOWHERE) if source.path else fetch(source, part, progress, deep, want=want)
    if path.is_dir():
        require_checkpoint(source, path, want)
    with ExitStack() as stack:
        yield (
            _checkpoint(source, path, origin, part, owner)
            if path.is_dir()
            else _gguf(stack, source, path, origin, part)
        )


def local_gguf(place: Place, part: Part, *, progress: Progress = silent, deep: bool = False) -> Path:
    """The GGUF (of a split one the first part) at a place, downloaded if it is on the Hub. Nothing of it is read.

    Raises what `open_model` raises.
    """
    source = parse_source(place)
    if source.path is None:
        return fetch(source, part, progress, deep, want=Want.FILE)[0]
    if source.path.is_dir():
        require_checkpoint(source, source.path, Want.FILE)
    return split_parts(source.path)[0]


def require_checkpoint(source: Source, folder: Path, want: Want = Want.DATA) -> None:
    """Raises UsageError for a folder of GGUFs, and for a checkpoint where a GGUF is needed."""
    files = sorted(path.name for path in folder.glob("*.gguf"))
    if files and not (folder / "config.json").exists():
        raise UsageError(
            "this folder holds GGUF files and no checkpoint",
            where=str(source),
            hint=f"name one of them: {', '.join(files[:MOST_NAMED])}",
        )
    if want in (Want.GGUF, Want.FILE):
        raise _no_gguf(source)


def _no_gguf(source: Source) -> UsageError:
    return UsageError(
        "this is a checkpoint, and a GGUF is needed",
        where=str(source),
        hint=f"{advice.ours('convert', str(source))} makes one, of the type that --type names",
    )


def fetch(
    source: Source,
    part: Part | None,
    progress: Progress = silent,
    deep: bool = False,
    *,
    want: Want = Want.DATA,
    listing: Listing | None = None,
) -> tuple[Path, Origin]:
    """Bring a model from the Hub into its cache: the checkpoint's folder or the (first) GGUF, and where it is from.

    want: FILE refuses a checkpoint before it is downloaded. listing: what the repo holds, if that was asked already.
    Raises UsageError (no such file), BadFileError (no checkpoint), EnvironmentProblem (Hub, network, disk).
    """
    from gemma_mtp.hub.download import fetch_checkpoint, fetch_files, look_up
    from gemma_mtp.hub.remote import find_remote_gguf

    listing = listing or look_up(source)
    if names_checkpoint(source, listing):
        if want is Want.FILE:
            raise _no_gguf(source)
        fetched = fetch_checkpoint(source, progress=progress, deep=deep)
        return fetched.folder, Origin(fetched.repo, fetched.revision, fetched.hashes)
    names = [one.file or "" for one in find_remote_gguf(source, part or Part.ASSISTANT, listing)]
    folder = fetch_files(listing, names, source.revision, progress=progress, deep=deep)
    return folder / names[0], Origin(listing.repo, listing.commit, {name: listing.files[name].etag for name in names})


def names_checkpoint(source: Source, listing: Listing) -> bool:
    """Whether a place on the Hub, which holds this, names a checkpoint and not a GGUF."""
    from gemma_mtp.hub.download import is_checkpoint

    return source.file is None and source.quant is None and is_checkpoint(listing)


def _gguf(stack: ExitStack, source: Source, path: Path, origin: Origin, part: Part | None) -> OpenModel:
    files = [stack.enter_context(GGUFFile(file)) for file in split_parts(path)]
    header = merge(str(source), [file.header for file in files])
    spans = {tensor.name: file.span(tensor) for file in files for tensor in file.tensors.values()}

    def read(tensor: TensorInfo, start: int, stop: int) -> np.ndarray[Any, Any]:
        room = np.empty(stop - start, np.uint8)
        spans[tensor.name].read_into(room, start)
        return room

    return OpenModel(
        str(source),
        part,
        header,
        read,
        files=tuple(file.path for file in files),
        source=source,
        name=model_name(path),
        origin=origin,
        spans=spans,
    )


def _checkpoint(source: Source, folder: Path, origin: Origin, part: Part | None, target: OpenModel | None) -> OpenModel:
    from gemma_mtp.sources.as_gguf import converted_header, reader_of
    from gemma_mtp.sources.checkpoint import open_checkpoint

    origin = origin if origin.repo else origin_of(folder)
    name = model_name(folder, origin)
    checkpoint = open_checkpoint(folder)
    return OpenModel(
        str(source),
        part,
        converted_header(checkpoint.model, checkpoint.tensors, folder, name, target),
        reader_of(checkpoint),
        f"{source}: a checkpoint, seen as the GGUF it converts to",
        tuple(checkpoint.store.files),
        source,
        name,
        origin,
        checkpoint,
    )


def _remote(source: Source, part: Part | None, want: Want, target: OpenModel | None = None) -> OpenModel:
    """A GGUF on the Hub by its header, or a repo that holds a checkpoint, if no file or type is named."""
    from gemma_mtp.hub.download import list_repo
    from gemma_mtp.hub.remote import find_remote_gguf, read_remote_header

    listing = list_repo(source)
    if names_checkpoint(source, listing):
        if want is Want.GGUF:
            raise _no_gguf(source)
        return _remote_checkpoint(source, listing, part, target)
    found = [read_remote_header(file) for file in find_remote_gguf(source, part or Part.ASSISTANT, listing)]
    place = str(found[0].source)
    header = merge(place, [remote.header for remote in found])
    got, requests = sum(remote.bytes_read for remote in found), sum(remote.requests for remote in found)
    hashes = {str(one.source.file): one.sha256 for one in found if one.sha256}
    return OpenModel(
        place,
        part,
        header,
        note=bytes_read(place, got, header.size, requests),
        source=source,
        name=model_name(Path(str(found[0].source.file))),
        origin=Origin(listing.repo, listing.commit, hashes),
    )


def _remote_checkpoint(source: Source, listing: Listing, part: Part | None, target: OpenModel | None) -> OpenModel:
    from gemma_mtp.hub.remote_checkpoint import read_remote_checkpoint
    from gemma_mtp.model.family import read_model
    from gemma_mtp.sources.as_gguf import converted_header
    from gemma_mtp.sources.checkpoint import place_tensors

    remote = read_remote_checkpoint(source, listing)
    place, name = str(remote.source), listing.repo.split("/")[1]
    model = read_model(remote.folder)
    tensors, _ = place_tensors(model, remote.folder, remote.tensors)
    note = bytes_read(place, remote.bytes_read, remote.size, remote.requests)
    return OpenModel(
        place,
        part,
        converted_header(model, tensors, remote.folder, name, target),
        note=f"{note} (a checkpoint, seen as the GGUF it converts to)",
        source=source,
        name=name,
        origin=Origin(listing.repo, listing.commit),
    )


def bytes_read(place: str, got: int, size: int, requests: int) -> str:
    """What looking at a remote file took, as people are told."""
    return f"{place}: {got:,} of {size:,} bytes read, in {requests} request{'s' if requests != 1 else ''}"
