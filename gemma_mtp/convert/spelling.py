"""An assistant's metadata and tensors: from a dialect's spelling to mainline's, and from mainline's to a dialect's.

Mainline's spelling is the one that the rest of the code speaks. The way back is derived from the same tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from gemma_mtp.convert import provenance
from gemma_mtp.convert.centroids import (
    CentroidHead,
    Ordering,
    head_from_arrays,
    is_cluster_table,
    ordering_from_clusters,
)
from gemma_mtp.errors import BadFileError, UsageError, meant
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_values import Value, ValueType
from gemma_mtp.files.gguf_writer import Buffer, TensorPlan
from gemma_mtp.files.metadata import Metadata
from gemma_mtp.files.reading import Span
from gemma_mtp.ggml import GGMLType
from gemma_mtp.model import dialects
from gemma_mtp.model.config import DEFAULTS, proportional_rope_factors
from gemma_mtp.model.dialects import ALIASES, COUNT_SPELLINGS, HEAD_SPELLINGS, MAINLINE, ORDERED, Dialect
from gemma_mtp.model.family import FAMILIES, FAMILY, Family
from gemma_mtp.model.roles import ROPE_FREQS_NAME

ARCHITECTURE = "general.architecture"

#: Keys that our files have beside those of upstream's converter; its loader skips them.
OWN_KEYS = frozenset(
    (*(f"{MAINLINE.architecture}.{key}" for key in (*dialects.HEAD_KEYS, dialects.ROPE_FACTORS)), *provenance.KEYS)
)


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
    """An assistant in mainline's spelling. `head` is not in `metadata` nor in `tensors`.

    notes: what of the file was assumed or left out, in sentences.
    """

    metadata: dict[str, Value]
    tensors: list[NamedTensor]
    head: CentroidHead | None
    notes: tuple[str, ...] = ()


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
        elif tensor.plan.name == ROPE_FREQS_NAME and bytes(tensor.data) != _default_factors(metadata).tobytes():
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

    by_role = _by_role(tensors, dialect)
    head, notes = _take_head(by_role, plain, dialect)
    if dialect.tensors.get("rope_freqs", "") is None:
        by_role = {ROPE_FREQS_NAME: _rope_freqs(plain), **by_role}
    renamed = [replace(tensor, plan=replace(tensor.plan, name=name)) for name, tensor in by_role.items()]
    return Assistant(plain, renamed, head, notes)


def _required(metadata: Mapping[str, Value], key: str) -> Value:
    if key not in metadata:
        raise BadFileError(f"the key {key} is missing")
    return metadata[key]


def _by_role(tensors: Mapping[str, NamedTensor], dialect: Dialect) -> dict[str, NamedTensor]:
    """The tensors by mainline's names; those of a centroid head, however they are called, by their roles'.

    Raises BadFileError if two tensors are the same.
    """
    names = {new: old for old, new in dialect.tensors.items() if new is not None}
    found: dict[str, NamedTensor] = {}
    for name, tensor in tensors.items():
        spelled = ALIASES.get(name, name)
        role = names.get(spelled) or HEAD_SPELLINGS.get(spelled.removesuffix(".weight"))
        known = f"{role}.weight" if role else spelled
        if known in found:
            raise BadFileError(f"the tensors {found[known].plan.name} and {name} are both the assistant's {role}")
        found[known] = tensor
    return found


def _take_head(
    tensors: dict[str, NamedTensor], metadata: dict[str, Value], dialect: Dialect
) -> tuple[CentroidHead | None, tuple[str, ...]]:
    """Remove the centroid head from tensors and metadata and return it, with what there is to say about that.

    In mainline's dialect nothing uses the head: where its tensors are no whole one, the file is as good without them.
    Raises BadFileError for a damaged head of another dialect, or in metadata.
    """
    ours = f"{MAINLINE.architecture}."
    keys = {key.removeprefix(ours): value for key, value in metadata.items() if key.startswith(ours)}
    stored = [tensors.pop(f"{role}.weight", None) for role in ("centroids", "token_ordering")]
    for key in dialects.HEAD_KEYS:
        metadata.pop(ours + key, None)
    if any(stored):
        for key in (ORDERED, *(spelling for spellings in COUNT_SPELLINGS.values() for spelling in spellings)):
            metadata.pop(ours + key, None)
    if dialects.CENTROIDS in keys or not any(stored):
        return head_from_arrays(keys), ()
    try:
        return _head_of_tensors(stored[0], stored[1], keys, dialect)
    except BadFileError as error:
        if dialect is not MAINLINE:
            raise
        return None, (f"the centroid head was left out, which llama.cpp does not use: {error.what}",)


def _head_of_tensors(
    centroids: NamedTensor | None, ordering: NamedTensor | None, keys: Mapping[str, Value], dialect: Dialect
) -> tuple[CentroidHead, tuple[str, ...]]:
    """Raises BadFileError if these two are no whole head."""
    if centroids is None or ordering is None or len(centroids.plan.shape) != 2:
        raise BadFileError("the centroid head has no token ordering, or its centroids are no matrix")
    count, hidden = centroids.plan.shape
    if keys.get("embedding_length") != gv.u32(hidden):
        raise BadFileError(f"the centroids are {list(centroids.plan.shape)}, which is not the assistant's width")
    if not isinstance(centroids.plan.type, GGMLType):
        raise BadFileError(f"the centroids are in {centroids.plan.type.name}, which is not decoded here")
    top_k, notes = _head_top_k(keys, count)
    order = _integers(ordering)
    if dialects.TOKEN_ORDERING in keys:
        order = _integers_of(keys[dialects.TOKEN_ORDERING])
    elif dialect.ordering_is_cluster_of_token or (dialect is MAINLINE and is_cluster_table(order, count)):
        order = ordering_from_clusters(order, count)
    return CentroidHead(top_k, (count, hidden), centroids.plan.type, bytes(centroids.data), order), notes


def _head_top_k(keys: Mapping[str, Value], count: int) -> tuple[int, tuple[str, ...]]:
    """How many clusters are looked at: as the file says it, else Gemma 4's number, and that this was assumed."""
    spellings = (dialects.CENTROID_TOP_K, *COUNT_SPELLINGS[dialects.CENTROID_TOP_K])
    stored = next((keys[key] for key in spellings if key in keys), None)
    if stored is None:
        usual = min(int(DEFAULTS["centroid_intermediate_top_k"]), count)
        return usual, (f"the file does not say how many clusters are scored: {usual} are assumed, as in Gemma 4",)
    top_k = stored.integer()
    if top_k is None:
        raise BadFileError("the number of clusters that are scored is no integer")
    return top_k, ()


#: Types that a token ordering is stored in: converters widen whatever has one dimension to F32.
ORDERING_TYPES = {GGMLType.I32: "<i4", GGMLType.I64: "<i8", GGMLType.F32: "<f4"}


def _integers(ordering: NamedTensor) -> Ordering:
    """A stored token ordering as int32. Raises BadFileError if it holds other numbers."""
    kind = ordering.plan.type
    if not isinstance(kind, GGMLType) or kind not in ORDERING_TYPES:
        raise BadFileError(f"the token ordering is {kind.name}, not I32: it was quantized")
    numbers = np.frombuffer(ordering.data, ORDERING_TYPES[kind])
    if not np.isin(numbers, np.arange(numbers.size)).all():
        raise BadFileError("the token ordering names tokens that do not exist")
    return numbers.astype(np.int32)


def _integers_of(value: Value) -> Ordering:
    if not value.is_array_of(ValueType.INT32):
        raise BadFileError("the token ordering in the metadata is no array of INT32")
    return np.array(value.decode(), np.int32)


def _rope_freqs(metadata: dict[str, Value]) -> NamedTensor:
    """The tensor that a dialect lacks: as it was kept in metadata, or else Gemma 4's usual factors."""
    kept = metadata.pop(f"{MAINLINE.architecture}.{dialects.ROPE_FACTORS}", None)
    if kept is not None and not kept.is_array_of(ValueType.FLOAT32):
        raise BadFileError("the rope factors in the metadata are no array of FLOAT32")
    factors = _default_factors(metadata) if kept is None else kept.decode().astype("<f4")
    return NamedTensor(TensorPlan(ROPE_FREQS_NAME, factors.shape, GGMLType.F32), factors.tobytes())


def _default_factors(metadata: Mapping[str, Value]) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    head_dim = Metadata(metadata).number(f"{MAINLINE.architecture}.attention.key_length")
    share = DEFAULTS["rope_parameters"]["full_attention"]["partial_rotary_factor"]
    return np.array(proportional_rope_factors(head_dim, share), "<f4")


def require_dialect(name: str) -> None:
    """Raises UsageError for a name that is no family's dialect."""
    names = dict.fromkeys(one for family in FAMILIES.values() for one in family.dialects)
    if name.lower() not in names:
        hint = f"{meant(name, names)} the dialects are {', '.join(names)}".lstrip()
        raise UsageError(f"{name!r} is no dialect", hint=hint)


def dialect_named(name: str, family: Family = FAMILY) -> Dialect:
    """The family's dialect of this name, in any case. Raises UsageError for a name that is none."""
    require_dialect(name)
    if name.lower() not in family.dialects:
        raise UsageError(
            f"{name} is no dialect of {family.prefix}* files", hint=f"theirs are {', '.join(family.dialects)}"
        )
    return family.dialects[name.lower()]
