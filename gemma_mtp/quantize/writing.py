"""Encoded tensors into files: each is encoded once for each type that is wanted, however many files want it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from gemma_mtp.files.gguf_writer import GGUFWriter
from gemma_mtp.ggml import GGMLType, native
from gemma_mtp.progress import Advance, ignore
from gemma_mtp.quantize.rows import Job, RowEncoder, Stored


def write_encoded(
    encoder: RowEncoder,
    writers: Sequence[GGUFWriter],
    tensors: Iterable[tuple[int, Stored]],
    advance: Advance = ignore,
) -> None:
    """Write every tensor into every file, in the type that is planned there.

    tensors: in the order of the writers' plans, each with its place there. One that is stored in parts comes part by
    part. advance: hears of stored bytes that are done, once for each file.
    """
    takers: list[list[GGUFWriter]] = []
    jobs: list[Job] = []
    for place, tensor in tensors:
        for kind, files in _by_type(writers, place).items():
            takers.append(files)
            jobs.append(Job(tensor, kind, _times(len(files), advance)))
    for receivers, pieces in zip(takers, encoder.encode(jobs), strict=True):
        for piece in pieces:
            for writer in receivers:
                writer.write(piece)


def _times(files: int, advance: Advance) -> Advance:
    return lambda count: advance(count * files)


def _by_type(writers: Sequence[GGUFWriter], place: int) -> dict[GGMLType, list[GGUFWriter]]:
    """Who wants which type of the tensor at this place of the plans."""
    wanted: dict[GGMLType, list[GGUFWriter]] = defaultdict(list)
    for writer in writers:
        wanted[native(writer.tensors[place].type)].append(writer)
    return wanted
