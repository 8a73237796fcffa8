"""Proof of origin: a file's tensors made anew from its source, in the types that it has, and compared by hash.

Nothing is written: blocks of rows come out of the encoder that `convert` and `quantize` use, and go into a hash. Since
that encoder gives llama.cpp's bytes, a file that llama.cpp's own tools made passes, too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

import numpy as np

from gemma_mtp.errors import UsageError
from gemma_mtp.files.gguf_reader import TensorInfo
from gemma_mtp.files.gguf_writer import LAYOUT_KEYS, TensorPlan
from gemma_mtp.files.metadata import Metadata
from gemma_mtp.ggml import ForeignType, native
from gemma_mtp.model import dialects
from gemma_mtp.model.config import Hyperparameters
from gemma_mtp.model.family import slots
from gemma_mtp.model.file_type import FILE_TYPE_KEY, RECIPE_KEY
from gemma_mtp.model.roles import ROPE_FREQS_NAME
from gemma_mtp.progress import Advance, Progress
from gemma_mtp.quantize.engine import importance_of
from gemma_mtp.quantize.imatrix import ImportanceMatrix
from gemma_mtp.quantize.plan import OVERRIDES_KEY, TOOL_KEY, is_kind, plan_types
from gemma_mtp.quantize.recipes import parse_override
from gemma_mtp.quantize.rows import Job, RowEncoder, Stored
from gemma_mtp.sources.checkpoint import source_type
from gemma_mtp.sources.model import OpenModel

#: Keys that quantizing sets, and those that say where a file was made: they differ between a file and its source.
SET_BY_TOOLS = frozenset({FILE_TYPE_KEY, "general.quantization_version", RECIPE_KEY, OVERRIDES_KEY, TOOL_KEY})
TOOLS = ("quantize.imatrix.", "gemma_mtp.")
IMATRIX_KEY = "quantize.imatrix.file"
#: Keys of a centroid head: a checkpoint has it as tensors, of which the head's keys are made.
HEAD_KEYS = (*dialects.HEAD_KEYS, dialects.ROPE_FACTORS)


@dataclass(frozen=True)
class Proven:
    """A tensor that was made anew. wanted, found: sha256 of the bytes that the source gives, and of the file's."""

    name: str
    type: str
    wanted: str
    found: str

    @property
    def same(self) -> bool:
        return self.wanted == self.found


@dataclass(frozen=True)
class Proof:
    """What came of it.

    source: where the file is said to come from, of a place on the Hub with the commit that it was read at;
    of_checkpoint: whether that is no GGUF. type: of the file by its own word. exact_type: whether each tensor has the
    type that this name stands for. tensors: that were made anew. missing, foreign: only in the source, only in the
    file, or of another shape. unseen: tensors and keys that could not be compared. keys: keys that differ.
    """

    source: str
    of_checkpoint: bool
    type: str
    exact_type: bool
    tensors: tuple[Proven, ...]
    missing: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()

    @property
    def different(self) -> list[str]:
        return [one.name for one in self.tensors if not one.same]

    @property
    def holds(self) -> bool:
        return bool(self.tensors) and not (self.different or self.missing or self.foreign)

    @property
    def kind(self) -> str:
        """The file's type, as far as it can be said to be it."""
        return self.type if self.exact_type else f"{self.type} with types of its own"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"holds": self.holds, "tensors": [asdict(one) for one in self.tensors]}


def prove(
    side: OpenModel,
    source: OpenModel,
    importance: ImportanceMatrix | None,
    *,
    threads: int | None = None,
    progress: Progress,
) -> Proof:
    """Make the tensors of `side` anew from `source`, both opened with their data at hand.

    Raises UsageError (a file without data, a type that needs an importance matrix), MissingExtra (ggml's kernels),
    BadFileError and EnvironmentProblem from reading.
    """
    if not side.spans:
        raise UsageError("only a GGUF can be compared with its source", where=side.place)
    if importance is None and IMATRIX_KEY in side.metadata:
        raise UsageError(
            f"it was made with an importance matrix ({side.text(IMATRIX_KEY) or 'not named'})",
            where=side.place,
            hint="name that file with --imatrix",
        )
    names = _names(side, source)
    pairs = [(side.tensors[name], source.tensors[origin]) for name, origin in names.items()]
    alike = [(mine, theirs) for mine, theirs in pairs if mine.shape == theirs.shape]
    other_shape = [mine.name for mine, theirs in pairs if mine.shape != theirs.shape]
    head = _head_names(side, source)
    strange = [name for name in side.tensors if name not in names and name not in head]
    known, unseen_keys = _keys_to_compare(side, source)
    kinds = [(mine, theirs) for mine, theirs in alike if not isinstance(mine.type, ForeignType)]
    size = sum(mine.nbytes for mine, _ in kinds)
    with progress("making anew", size) as advance:
        proven = tuple(_proven(side, source, kinds, importance, threads, advance))
    return Proof(
        source.at_commit,
        not source.spans,
        side.type,
        _has_exact_type(side, source, importance),
        proven,
        tuple(name for name in source.tensors if name not in names.values() and not _has_no_place(name, side)),
        (*strange, *other_shape),
        (*head, *(mine.name for mine, _ in alike if isinstance(mine.type, ForeignType)), *unseen_keys),
        tuple(key for key in known if side.metadata.get(key) != source.metadata.get(key)),
    )


def _names(side: OpenModel, source: OpenModel) -> dict[str, str]:
    """A tensor's name in the file -> its name in the source; those of the one that the other lacks are left out."""
    same = {name: name for name in side.tensors if name in source.tensors}
    if side.dialect is source.dialect or not isinstance(source.model, Hyperparameters) or side.dialect is None:
        return same
    pairs = [(side.tensor_name(slot), source.tensor_name(slot)) for slot in slots(source.model)]
    known = {mine: theirs for mine, theirs in pairs if mine and theirs}
    return {
        mine: theirs for mine, theirs in (same | known).items() if mine in side.tensors and theirs in source.tensors
    }


def _has_no_place(name: str, side: OpenModel) -> bool:
    """Whether the file's dialect has no such tensor: rope factors, a centroid head."""
    role = name.removesuffix(".weight")
    return side.dialect is not None and role in side.dialect.tensors and not side.dialect.tensors[role]


def _head_names(side: OpenModel, source: OpenModel) -> list[str]:
    """Tensors of the file's centroid head, where the source has it in another form."""
    if side.dialect is None or (side.dialect is source.dialect and source.checkpoint is None):
        return []
    spelled = (side.dialect.tensors.get(role) for role in ("centroids", "token_ordering"))
    return [name for name in spelled if name is not None and name in side.tensors]


def _keys_to_compare(side: OpenModel, source: OpenModel) -> tuple[list[str], list[str]]:
    """Keys that a file has from its source, and what of them is in another form here and cannot be compared."""
    if side.dialect is not source.dialect:
        return [], ["keys: they are in another dialect"]
    unseen = []
    names = dict.fromkeys([*side.metadata, *source.metadata])
    wanted = [key for key in names if key not in SET_BY_TOOLS | LAYOUT_KEYS and not key.startswith(TOOLS)]
    if source.checkpoint is not None:
        head = {side.spelled(key) for key in HEAD_KEYS}
        unseen = [key for key in wanted if key in head]
        wanted = [key for key in wanted if key not in head]
    return wanted, unseen


def _has_exact_type(side: OpenModel, source: OpenModel, importance: ImportanceMatrix | None) -> bool:
    """Whether the file has the type of each tensor that its name for itself stands for, with its own overrides."""
    if not is_kind(side.type):
        return False
    overrides = side.metadata.get(OVERRIDES_KEY)
    texts = [str(text) for text in overrides.decode()] if overrides is not None else []
    plans = _source_plans(side, source)
    names = importance.entries if importance else None
    try:
        types = plan_types(
            side.type,
            Metadata(dict(side.metadata), side.place),
            plans,
            overrides=[*map(parse_override, texts)],
            importance=names,
        )
    except UsageError:  # an importance matrix is wanted, a width fits no type
        return False
    return all(kind == side.tensors[plan.name].type for plan, kind in zip(plans, types, strict=True))


def _source_plans(side: OpenModel, source: OpenModel) -> list[TensorPlan]:
    """The file's tensors, with the types that those have in the source which are never quantized."""
    names = _names(side, source)
    return [
        TensorPlan(name, mine.shape, source.tensors[names[name]].type if name in names else mine.type)
        for name, mine in side.tensors.items()
    ]


def _proven(
    side: OpenModel,
    source: OpenModel,
    pairs: list[tuple[TensorInfo, TensorInfo]],
    importance: ImportanceMatrix | None,
    threads: int | None,
    advance: Advance,
) -> Iterator[Proven]:
    """Each tensor's two hashes, in the file's order."""
    jobs = [
        (mine, Job(part, native(mine.type), lambda _: None))
        for mine, theirs in pairs
        for part in _stored(source, theirs, importance)
    ]
    with RowEncoder(threads, allow_nonfinite=True) as encoder:
        made = zip((mine for mine, _ in jobs), encoder.encode(job for _, job in jobs), strict=True)
        for name, parts in groupby(made, key=lambda pair: pair[0].name):
            wanted, found, mine = hashlib.sha256(), hashlib.sha256(), side.tensors[name]
            for _, pieces in parts:
                for piece in pieces:
                    wanted.update(piece)
            for piece in side.spans[name].pieces():
                found.update(piece)
            advance(mine.nbytes)
            yield Proven(name, mine.type.name, wanted.hexdigest(), found.hexdigest())


def _stored(source: OpenModel, tensor: TensorInfo, importance: ImportanceMatrix | None) -> list[Stored]:
    """A tensor of the source as the encoder takes it, in the parts in which a checkpoint has it."""
    values = importance_of(tensor, importance)
    if source.checkpoint is None:
        return [Stored(tensor.name, source.spans[tensor.name], tensor.shape, native(tensor.type), values)]
    if tensor.name == ROPE_FREQS_NAME:
        return [Stored(tensor.name, source.data(tensor), tensor.shape, native(tensor.type))]
    slot = next(slot for slot in source.checkpoint.tensors if slot.mainline_name == tensor.name)
    parts = source.checkpoint.tensors[slot].parts
    shares: Mapping[int, Any] = {} if values is None else dict(enumerate(np.split(values, len(parts))))
    store = source.checkpoint.store
    return [
        Stored(part.name, store.span(part), part.shape, source_type(part), shares.get(number))
        for number, part in enumerate(parts)
    ]
