"""An assistant's metadata and tensors: from a dialect's spelling to mainline's, and from mainline's to a dialect's.

Mainline's spelling is the one that the rest of the code speaks. The way back is derived from the same tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from gemma_mtp.convert import provenance
from gemma_mtp.convert.centroids import CentroidHead, head_from_arrays, ordering_from_clusters
from gemma_mtp.errors import BadFileError, UsageError
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_values import Value, ValueType
from gemma_mtp.files.gguf_writer import Buffer, TensorPlan
from gemma_mtp.files.reading import Span
from gemma_mtp.ggml import GGMLType
from gemma_mtp.model import dialects
from gemma_mtp.model.config import DEFAULTS, proportional_rope_factors
from gemma_mtp.model.dialects import ALIASES, DIALECTS, MAINLINE, Dialect
from gemma_mtp.model.roles import ROPE_FREQS

ARCHITECTURE = "general.architecture"

#: What carries a centroid head in mainline metadata.
HEAD_KEYS = (
    dialects.CENTROID_COUNT,
    dialects.CENTROID_TOP_K,
    dialects.CENTROIDS,
    dialects.CENTROIDS_TYPE,
    dialects.TOKEN_ORDERING,
)

#: Keys that our files have beside those of upstream's converter; its loader skips them.
OWN_KEYS = frozenset(
    (*(f"{MAINLINE.architecture}.{key}" for key in (*HEAD_KEYS, dialects.ROPE_FACTORS)), *provenance.KEYS)
)
ORDERED = "use_ordered_embeddings"


@dataclass(frozen=True)
class NamedTensor:
    """A tensor's plan with its bytes, at hand or still in a file."""

    plan: TensorPlan
    stored: Buffer | Span

    @property
    def data(self) -> Buffer:
        """All bytes. Raises BadFileError (their file has become shorter), EnvironmentProblem (its disk fails)."""
        return self.stored.read().data if isinstance(self.stored, Span) else self.stored

    def pieces(self) -> Iterable[Buffer]:
        """The same, bit by bit. A piece is valid until the next is asked for."""
        return self.stored.pieces() if isinstance(self.stored, Span) else [self.stored]


@dataclass(frozen=True)
class Assistant:
    """An assistant in mainline's spelling. `head` is not in `metadata` nor in `tensors`."""

    metadata: dict[str, Value]
    tensors: list[NamedTensor]
    head: CentroidHead | None


def spelled_name(name: str, dialect: Dialect) -> str | None:
    """A tensor's name in a dialect; `name` is mainline's. None: the dialect has no such tensor."""
    return dialect.tensors.get(name.removesuffix(".weight"), name)


def spelled_metadata(metadata: Mapping[str, Value], head: CentroidHead | None, dialect: Dialect) -> dict[str, Value]:
    """Mainline's metadata in a dialect's spelling, with the centroid head's keys and arrays."""
    if head is not None:
        arrays = {} if dialect.tensors.get("centroids") else head.arrays()
        if dialect.ordering_is_cluster_of_token:
            arrays = {dialects.TOKEN_ORDERING: gv.array(ValueType.INT32, head.ordering)}
        metadata = {
            **metadata,
            **{f"{MAINLINE.architecture}.{key}": value for key, value in (head.counts() | arrays).items()},
        }
    spelled = {}
    for key, value in metadata.items():
        tail = key.removeprefix(f"{MAINLINE.architecture}.")
        renamed = dialect.keys.get(tail, tail)
        if renamed is not None:
            spelled[f"{dialect.architecture}.{renamed}" if tail != key else key] = value
    if dialect is not MAINLINE:
        spelled[ARCHITECTURE] = gv.string(dialect.architecture)
        spelled[f"{dialect.architecture}.{ORDERED}"] = gv.boolean(head is not None)
    for key, text in dialect.constants.items():
        spelled[f"{dialect.architecture}.{key}"] = gv.string(text)
    return spelled


def head_tensors(head: CentroidHead | None, dialect: Dialect) -> list[NamedTensor]:
    """The centroid head as the dialect's tensors; none for mainline."""
    names = [dialect.tensors.get(role) for role in ("centroids", "token_ordering")]
    if head is None or names[0] is None or names[1] is None:
        return []
    ordering = head.clusters() if dialect.ordering_is_cluster_of_token else head.ordering
    return [
        NamedTensor(TensorPlan(names[0], head.shape, head.type), head.centroids),
        NamedTensor(TensorPlan(names[1], ordering.shape, GGMLType.I32), ordering.tobytes()),
    ]


def spell(assistant: Assistant, dialect: Dialect) -> tuple[dict[str, Value], list[NamedTensor]]:
    """Metadata and tensors of a file of that dialect."""
    metadata, tensors = dict(assistant.metadata), []
    for tensor in assistant.tensors:
        name = spelled_name(tensor.plan.name, dialect)
        if name is not None:
            tensors.append(replace(tensor, plan=replace(tensor.plan, name=name)))
        elif tensor.plan.name == ROPE_FREQS_NAME and not _usual_factors(tensor, metadata):
            factors = gv.array(ValueType.FLOAT32, np.frombuffer(tensor.data, "<f4"))
            metadata[f"{MAINLINE.architecture}.{dialects.ROPE_FACTORS}"] = factors
    tensors += head_tensors(assistant.head, dialect)
    return spelled_metadata(metadata, assistant.head, dialect), tensors


def unspell(metadata: Mapping[str, Value], tensors: Mapping[str, NamedTensor], dialect: Dialect) -> Assistant:
    """A dialect's file in mainline's spelling. What the dialect lacks is recomputed.

    Raises BadFileError: a key or tensor that this needs is missing or odd.
    """
    keys = {new: old for old, new in dialect.keys.items() if new is not None}
    prefix, ours = f"{dialect.architecture}.", f"{MAINLINE.architecture}."
    dropped = {ORDERED, *dialect.constants} if dialect is not MAINLINE else set()
    plain: dict[str, Value] = {}
    for key, value in metadata.items():
        tail = key.removeprefix(prefix)
        if tail == key:
            plain[key] = value
        elif tail not in dropped:
            plain[ours + keys.get(tail, tail)] = value
    plain[ARCHITECTURE] = gv.string(MAINLINE.architecture)
    if dialect.keys.get("nextn_predict_layers", "") is None:
        plain[f"{ours}nextn_predict_layers"] = _required(plain, f"{ours}block_count")

    names = {new: old for old, new in dialect.tensors.items() if new is not None}
    by_role = {}
    for name, tensor in tensors.items():
        spelled = ALIASES.get(name, name)
        by_role[f"{names[spelled]}.weight" if spelled in names else spelled] = tensor
    head = _take_head(by_role, plain, dialect)
    if dialect.tensors.get("rope_freqs", "") is None:
        by_role = {ROPE_FREQS_NAME: _rope_freqs(plain), **by_role}
    renamed = [replace(tensor, plan=replace(tensor.plan, name=name)) for name, tensor in by_role.items()]
    return Assistant(plain, renamed, head)


ROPE_FREQS_NAME = f"{ROPE_FREQS.name}.weight"


def _required(metadata: Mapping[str, Value], key: str) -> Value:
    if key not in metadata:
        raise BadFileError(f"the key {key} is missing")
    return metadata[key]


def _take_head(tensors: dict[str, NamedTensor], metadata: dict[str, Value], dialect: Dialect) -> CentroidHead | None:
    """Remove the centroid head from tensors and metadata and return it."""
    ours = f"{MAINLINE.architecture}."
    keys = {key.removeprefix(ours): value for key, value in metadata.items() if key.startswith(ours)}
    centroids, ordering = tensors.pop("centroids.weight", None), tensors.pop("token_ordering.weight", None)
    for key in (*HEAD_KEYS,):
        metadata.pop(ours + key, None)
    if centroids is None:
        return head_from_arrays(keys)
    if ordering is None or ordering.plan.type is not GGMLType.I32 or len(centroids.plan.shape) != 2:
        raise BadFileError("the centroid head has no I32 token ordering, or its centroids are no matrix")
    count, top_k = centroids.plan.shape[0], int(_required(keys, dialects.CENTROID_TOP_K).decode())
    order = np.frombuffer(ordering.data, "<i4")
    if dialects.TOKEN_ORDERING in keys:
        order = keys[dialects.TOKEN_ORDERING].decode()
    elif dialect.ordering_is_cluster_of_token:
        order = ordering_from_clusters(order, count)
    return CentroidHead(top_k, (count, centroids.plan.shape[1]), centroids.plan.type, bytes(centroids.data), order)


def _rope_freqs(metadata: dict[str, Value]) -> NamedTensor:
    """The tensor that a dialect lacks: as it was kept in metadata, or else Gemma 4's usual factors."""
    kept = metadata.pop(f"{MAINLINE.architecture}.{dialects.ROPE_FACTORS}", None)
    factors = _default_factors(metadata) if kept is None else kept.decode().astype("<f4")
    return NamedTensor(TensorPlan(ROPE_FREQS_NAME, factors.shape, GGMLType.F32), factors.tobytes())


def _usual_factors(tensor: NamedTensor, metadata: Mapping[str, Value]) -> bool:
    return bytes(tensor.data) == _default_factors(metadata).tobytes()


def _default_factors(metadata: Mapping[str, Value]) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    head_dim = int(_required(metadata, f"{MAINLINE.architecture}.attention.key_length").decode())
    share = DEFAULTS["rope_parameters"]["full_attention"]["partial_rotary_factor"]
    return np.array(proportional_rope_factors(head_dim, share), "<f4")


def dialect_named(name: str) -> Dialect:
    """Raises UsageError for a name that is none."""
    if name not in DIALECTS:
        raise UsageError(f"{name!r} is no dialect", hint=f"the dialects are {', '.join(DIALECTS)}")
    return DIALECTS[name]
