"""What the weights hold. These checks read tensor data, and are skipped where only headers are at hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from gguf.quants import dequantize

from gemma_mtp.files.gguf_reader import TensorInfo
from gemma_mtp.files.gguf_values import ValueType
from gemma_mtp.ggml import ForeignType, GGMLType, block_size, row_bytes, tensor_bytes
from gemma_mtp.model.dialects import CENTROID_COUNT, CENTROIDS, CENTROIDS_TYPE, TOKEN_ORDERING, Dialect
from gemma_mtp.model.family import slots
from gemma_mtp.sources.model import OpenModel, ReadData
from gemma_mtp.validate.checks.identity import RECONVERT
from gemma_mtp.validate.findings import Finding, error, ok, skipped, warning
from gemma_mtp.validate.finite import first_spoilt
from gemma_mtp.validate.pair import Single
from gemma_mtp.validate.tensor_names import expected

NO_DATA = "needs the file's data; only its header was read"
#: A sample is this many evenly spaced runs of blocks, a run this many bytes; smaller tensors are read in full.
RUNS, RUN_BYTES = 4, 8192
#: What is looked at in one piece when all is read: bounds the memory that a check takes.
PIECE_BYTES = 1 << 23


def target_finite(one: Single) -> Finding:
    """No NaN and no infinity in the target's weights, quantization scales included: it would answer nonsense."""
    return _finite(one.side, one.deep)


def assistant_finite(one: Single) -> Finding:
    """No NaN and no infinity in the assistant's weights: llama.cpp loads such a file and drafts noise."""
    return _finite(one.side, one.deep)


def _finite(side: OpenModel, deep: bool) -> Finding:
    if side.read is None:
        return skipped(NO_DATA)
    unknown = [tensor for tensor in side.tensors.values() if isinstance(tensor.type, ForeignType)]
    for tensor in side.tensors.values():
        element = _first_spoilt_element(tensor, side.read, deep)
        if element is not None:
            what = "element" if block_size(tensor.type) == 1 else "the block at element"
            return error(
                f"in the {side.part} {tensor.name} ({tensor.type.name}) is NaN or infinite at {what} {element:,}: the "
                "model computes nonsense, and llama.cpp does not notice",
                "the file is damaged or was made from damaged weights: compare its hash (--hub owner/repo), or convert "
                "again",
                **{side.part: tensor.name},
            )
    if unknown:
        kinds = ", ".join(sorted({tensor.type.name for tensor in unknown}))
        return skipped(f"{len(unknown)} tensors are in {kinds}, which is not decoded here; the others are finite")
    return ok(**{side.part: "all weights read" if deep else "a sample of the weights"})


def _first_spoilt_element(tensor: TensorInfo, read: ReadData, deep: bool) -> int | None:
    nbytes = row_bytes(tensor.type, block_size(tensor.type))
    for start, stop in _pieces(tensor.nbytes // nbytes, nbytes, deep):
        piece = read(tensor, start * nbytes, stop * nbytes)
        found = None if isinstance(tensor.type, ForeignType) else first_spoilt(tensor.type, piece.reshape(-1, nbytes))
        if found is not None:
            return (start + found) * block_size(tensor.type)
    return None


#: Roles that every number of a model's output passes through: where one is all zeros, nothing is left of the others.
VITAL = ("token_embd", "output", "output_norm", "nextn.pre_projection", "nextn.post_projection", "layer_output_scale")


def target_zeros(side: OpenModel) -> Finding:
    """No embedding, output norm or layer scale of the target is zeros alone: it would say nothing."""
    return _zeros(side, "answers nonsense")


def assistant_zeros(side: OpenModel) -> Finding:
    """No projection, embedding, output norm or layer scale of the assistant is zeros alone: it would draft noise."""
    return _zeros(side, "drafts noise, of which hardly anything is accepted")


def _zeros(side: OpenModel, effect: str) -> Finding:
    if side.read is None:
        return skipped(NO_DATA)
    vital = [
        side.tensors[name]
        for name, slot in expected(side).allowed.items()
        if slot.role.name in VITAL and name in side.tensors
    ]
    empty = [tensor.name for tensor in vital if _is_zeros(tensor, side.read)]
    if empty:
        more = f" and {len(empty) - 1} more" if len(empty) > 1 else ""
        return warning(
            f"in the {side.part} {empty[0]}{more} is zeros alone: the file loads and {effect}",
            "the weights were never written, or zeroed later: compare its hash (--hub owner/repo), or convert again",
            **{side.part: ", ".join(empty[:2])},
        )
    if any(isinstance(tensor.type, ForeignType) for tensor in vital):
        return skipped("some of these tensors are of a type that is not decoded here")
    return ok(**{side.part: f"{len(vital)} tensors"})


def _is_zeros(tensor: TensorInfo, read: ReadData) -> bool:
    """Whether every number is 0. A sample tells nearly always that it is not so."""
    if isinstance(tensor.type, ForeignType):
        return False
    nbytes = row_bytes(tensor.type, block_size(tensor.type))
    for deep in (False, True):
        for start, stop in _pieces(tensor.nbytes // nbytes, nbytes, deep):
            blocks = read(tensor, start * nbytes, stop * nbytes).reshape(-1, nbytes)
            with np.errstate(all="ignore"):  # what is no number is no zero, and `_finite` speaks of it
                if blocks.any() and _decoded(tensor.type, blocks).any():  # zero bytes are zeros in every type
                    return False
    return True


def _decoded(kind: GGMLType, blocks: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Numbers of blocks; of a type that NumPy cannot decode the bytes, which for zeros are not all the same."""
    try:
        return dequantize(blocks, kind)
    except NotImplementedError:
        return blocks


def _pieces(blocks: int, nbytes: int, deep: bool) -> Iterator[tuple[int, int]]:
    """Ranges of blocks to look at: all of them in pieces, or evenly spaced runs, the last block among them."""
    run, piece = max(1, RUN_BYTES // nbytes), PIECE_BYTES // nbytes
    if deep or blocks <= RUNS * run:
        yield from ((start, min(start + piece, blocks)) for start in range(0, blocks, piece))
    else:
        yield from ((start, start + run) for start in np.linspace(0, blocks - run, RUNS).astype(int).tolist())


def token_ordering(side: OpenModel) -> Finding:
    """A centroid head's token ordering puts every token into one cluster, all clusters equally large."""
    clusters = side.keys.values.get(CENTROID_COUNT, 0)
    if not clusters:
        return skipped("it has no centroid head")
    vocabulary, value = side.hyper.vocabulary, f"{clusters} clusters"
    if vocabulary % clusters:
        return error(f"{vocabulary:,} tokens cannot be divided into {clusters} equal clusters", RECONVERT, "", value)
    stored = _ordering(side)
    if stored is None:
        return skipped("no token ordering at hand")
    fault = _ordering_fault(stored, vocabulary, clusters, side.dialect)
    if fault is None:
        return ok("", value)
    return error(
        f"the assistant's token ordering {fault}: the centroid head would draft nonsense",
        "it must be I32 and complete, and is never quantized; " + RECONVERT,
        "",
        value,
    )


def centroids(side: OpenModel) -> Finding:
    """A centroid head that travels in metadata is whole: both arrays, of the size that the counts say."""
    assert side.dialect is not None
    clusters = side.keys.values.get(CENTROID_COUNT, 0)
    if side.dialect.tensors.get("centroids", "") is not None:
        return skipped("this dialect has tensors for it")
    if not clusters and side.spelled(CENTROIDS) not in side.metadata:
        return skipped("it has no centroid head in metadata")
    for key, wanted in ((CENTROIDS, _centroids_length(side, clusters)), (TOKEN_ORDERING, side.hyper.vocabulary)):
        stored = side.metadata.get(side.spelled(key))
        found = stored.count if stored is not None and stored.type is ValueType.ARRAY else 0
        if found != wanted:
            return error(
                f"{side.spelled(key)} has {found:,} entries, not {wanted:,}: the centroid head cannot be restored",
                RECONVERT,
                "",
                f"{found:,} entries",
            )
    return ok("", f"{clusters} clusters in metadata")


def _centroids_length(side: OpenModel, clusters: int) -> int:
    """Entries of the centroids' array: numbers, or the bytes of a quantized type."""
    shape, stored = (clusters, side.hyper.hidden), side.metadata.get(side.spelled(CENTROIDS))
    kind = GGMLType.__members__.get(side.text(side.spelled(CENTROIDS_TYPE)))
    if stored is None or not stored.is_array_of(ValueType.UINT8) or kind is None or shape[1] % block_size(kind):
        return shape[0] * shape[1]
    return tensor_bytes(kind, shape)


def _ordering(side: OpenModel) -> np.ndarray[Any, Any] | None:
    """The token ordering as integers, from the tensor or the metadata; None if it is not there or not readable."""
    slot = next(slot for slot in slots(side.hyper) if slot.role.name == "token_ordering")
    name = side.tensor_name(slot)
    if name is None:
        stored = side.metadata.get(side.spelled(TOKEN_ORDERING))
        return stored.decode() if stored is not None and stored.is_array_of(ValueType.INT32) else None
    tensor = side.tensors.get(name)
    if tensor is None or tensor.type is not GGMLType.I32 or side.read is None:
        return None
    return side.data(tensor).view("<i4")


def _ordering_fault(
    ordering: np.ndarray[Any, Any], vocabulary: int, clusters: int, dialect: Dialect | None
) -> str | None:
    cluster_table = dialect is not None and dialect.ordering_is_cluster_of_token
    if ordering.size != vocabulary:
        return f"has {ordering.size:,} entries for {vocabulary:,} tokens"
    if not ordering.any():
        return "is all zeros"
    limit = clusters if cluster_table else vocabulary
    if ordering.min() < 0 or ordering.max() >= limit:
        odd = ordering[(ordering < 0) | (ordering >= limit)][0]
        return f"names {'cluster' if cluster_table else 'token'} {odd}, which does not exist"
    counts = np.bincount(ordering, minlength=limit)
    wanted = vocabulary // limit
    if (counts != wanted).any():
        worst = int((counts != wanted).argmax())
        what = f"puts {counts[worst]} tokens into cluster" if cluster_table else f"has {counts[worst]} times the token"
        return f"{what} {worst}, not {wanted}"
    return None
