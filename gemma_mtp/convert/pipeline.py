"""One reading of a checkpoint -> one GGUF for each wanted type.

    safetensors bytes on disk -> slot -> encoded rows -> the next tensor of each new file

One tensor at a time is in work, and of it only some blocks of rows are in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from gemma_mtp.convert.centroids import CentroidHead
from gemma_mtp.convert.provenance import Provenance
from gemma_mtp.convert.soundness import require_sound_plan
from gemma_mtp.convert.spelling import NamedTensor, head_tensors, spelled_metadata, spelled_name
from gemma_mtp.errors import CheckpointError, UsageError
from gemma_mtp.files.atomic import check_outputs
from gemma_mtp.files.gguf_values import Value
from gemma_mtp.files.gguf_writer import GGUFWriter, TensorPlan
from gemma_mtp.files.safetensors_file import StoredTensor
from gemma_mtp.ggml import FLOAT_TYPES, GGMLType
from gemma_mtp.model.config import Hyperparameters
from gemma_mtp.model.dialects import MAINLINE, Dialect
from gemma_mtp.model.family import FAMILY
from gemma_mtp.model.gguf_keys import written_keys
from gemma_mtp.model.part import Part
from gemma_mtp.model.roles import HEAD_ROLES, ROPE_FREQS, ROPE_FREQS_NAME, Slot
from gemma_mtp.progress import Advance, ignore
from gemma_mtp.quantize.engine import Output
from gemma_mtp.quantize.plan import Kind, file_metadata, find_kind, plan_types
from gemma_mtp.quantize.rows import RowEncoder, Stored
from gemma_mtp.quantize.types import FileType
from gemma_mtp.quantize.writing import write_encoded
from gemma_mtp.sources.borrowed import tokenizer_keys, without_target
from gemma_mtp.sources.checkpoint import Checkpoint, open_checkpoint, source_type, unquantized_type
from gemma_mtp.sources.experts import SourceTensor
from gemma_mtp.sources.metadata import general_metadata
from gemma_mtp.sources.model import OpenModel
from gemma_mtp.sources.origin import NOWHERE, Origin, model_name, origin_of
from gemma_mtp.sources.token_ids import token_ids


@dataclass(frozen=True)
class Conversion:
    """What was done.

    files: sizes in bytes. left_out: the source's tensors of other modalities, by name. nonfinite: tensors with NaN or
    Inf, where those are allowed. notes: what of the source was assumed, not heeded or is ambiguous, a sentence each.
    dialect: of the files. seconds: what it took, where it was measured.
    """

    architecture: str
    files: dict[Path, int]
    left_out: tuple[str, ...] = ()
    nonfinite: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    dialect: str = MAINLINE.name
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        return {
            "architecture": self.architecture,
            "dialect": self.dialect,
            "files": [{"path": str(path), "bytes": size} for path, size in self.files.items()],
            "left_out": list(self.left_out),
            "nonfinite": list(self.nonfinite),
            "notes": list(self.notes),
            "seconds": self.seconds,
        }


def convert_checkpoint(source: str | PathLike[str], outputs: Sequence[Output], **options: Any) -> Conversion:
    """Convert the checkpoint in a folder; see `convert_opened`. Raises what that and `open_checkpoint` raise."""
    check_outputs([output.path for output in outputs], bool(options.get("force")))
    return convert_opened(open_checkpoint(Path(source)), outputs, **options)


def convert_opened(
    checkpoint: Checkpoint,
    outputs: Sequence[Output],
    *,
    name: str | None = None,
    target: OpenModel | None = None,
    dialect: Dialect = MAINLINE,
    origin: Origin = NOWHERE,
    allow_nonfinite: bool = False,
    force: bool = False,
    threads: int | None = None,
    advance: Advance = ignore,
) -> Conversion:
    """Convert a checkpoint to each of `outputs` in one pass.

    name: the model's, for its metadata; None: what its folder or repo is called. target: whose tokenizer a drafter of
    another family borrows. origin: where it was downloaded from, if its folder does not tell, and hashes of its files
    that are known, which are not computed again. allow_nonfinite: convert NaN and Inf as they are.
    threads: for encoding; all cores if None. advance: hears of source bytes done, once for each output.
    Raises CheckpointError, SafetensorsError, BadFileError (the source), UsageError (the outputs), EnvironmentProblem.
    """
    check_outputs([output.path for output in outputs], force)
    _check_asked(checkpoint, dialect, target)
    here = origin_of(checkpoint.folder)
    origin = origin if origin.repo else replace(here, hashes={**here.hashes, **origin.hashes})
    provenance = Provenance(origin, checkpoint.folder, checkpoint.store.files)
    # reads the side files: bounds before hashes
    plan = _plan(checkpoint, name or model_name(checkpoint.folder, origin), provenance, target)
    with ExitStack() as stack:
        stack.enter_context(provenance)
        encoder = stack.enter_context(RowEncoder(threads, allow_nonfinite=allow_nonfinite))
        planned = [_writer(output, plan, dialect, force) for output in outputs]
        for writer in planned:
            require_sound_plan(checkpoint.model.part, writer.path, writer.metadata, writer.tensors)
        writers = [stack.enter_context(writer) for writer in planned]
        has_factors = bool(dialect.tensors.get(ROPE_FREQS.name, ROPE_FREQS.name)) and plan.rope_factors is not None
        if has_factors and plan.rope_factors is not None:
            _write_same(writers, plan.rope_factors)
        parts = [
            (place, _stored(checkpoint, part))
            for place, tensor in enumerate(plan.tensors.values(), start=int(has_factors))
            for part in tensor.parts
        ]
        write_encoded(encoder, writers, parts, advance)
        for extra in (*head_tensors(plan.head, dialect), *plan.integers):
            _write_same(writers, extra)
        for writer in writers:
            writer.amend(provenance.keys())
    sizes = {writer.path: writer.size for writer in writers}
    nonfinite = tuple(sorted(encoder.nonfinite))
    return Conversion(checkpoint.model.architecture, sizes, checkpoint.left_out, nonfinite, tuple(plan.notes))


def _check_asked(checkpoint: Checkpoint, dialect: Dialect, target: OpenModel | None) -> None:
    """Raises UsageError: another dialect, or no target, where the checkpoint's kind needs one."""
    if dialect is not MAINLINE and (checkpoint.model.part is Part.TARGET or checkpoint.model.family != FAMILY.name):
        raise UsageError(
            f"{dialect.name} is a dialect of assistants; a target, and a drafter of another family, is converted to "
            "mainline's form"
        )
    if checkpoint.model.family != FAMILY.name and target is None:
        raise without_target(checkpoint.folder)


@dataclass(frozen=True)
class _Plan:
    """What goes into every output, in mainline's spelling. Tensors of the centroid head stand in `head` alone, whole
    numbers in `integers`."""

    metadata: dict[str, Value]
    rope_factors: NamedTensor | None
    tensors: dict[Slot, SourceTensor]
    head: CentroidHead | None
    integers: list[NamedTensor]
    notes: list[str]

    @property
    def tensor_plans(self) -> list[TensorPlan]:
        """In the order of writing, with the types that tensors have which are never quantized."""
        first = [] if self.rope_factors is None else [self.rope_factors.plan]
        return [*first, *(_unquantized(slot, tensor) for slot, tensor in self.tensors.items())]


def _unquantized(slot: Slot, tensor: SourceTensor) -> TensorPlan:
    return TensorPlan(slot.mainline_name, tensor.shape, unquantized_type(slot, tensor))


def _integers(checkpoint: Checkpoint) -> list[NamedTensor]:
    return [
        NamedTensor(_unquantized(slot, tensor), token_ids(checkpoint, tensor).data.cast("B"))
        for slot, tensor in checkpoint.tensors.items()
        if slot.role.integers
    ]


def _rope_factors(model: Hyperparameters) -> NamedTensor | None:
    if not model.proportional_rope:
        return None
    factors = np.array(model.rope_factors(), "<f4")
    return NamedTensor(TensorPlan(ROPE_FREQS_NAME, factors.shape, GGMLType.F32), factors.data.cast("B"))


def _plan(checkpoint: Checkpoint, name: str, provenance: Provenance, target: OpenModel | None) -> _Plan:
    model = checkpoint.model
    plan = _Plan(
        metadata=written_keys(model),
        rope_factors=_rope_factors(model),
        tensors={slot: tensor for slot, tensor in checkpoint.tensors.items() if _is_encoded(slot)},
        head=_centroid_head(checkpoint),
        integers=_integers(checkpoint),
        notes=list(checkpoint.notes),
    )
    metadata = {
        **general_metadata(model, checkpoint.folder, name, plan.tensor_plans, plan.notes.append),
        **plan.metadata,
        **tokenizer_keys(model, checkpoint.folder, target, plan.notes.append),
        **provenance.placeholder(),
    }
    return replace(plan, metadata=metadata)


def _is_encoded(slot: Slot) -> bool:
    return slot.role.name not in HEAD_ROLES and not slot.role.integers


def _writer(output: Output, plan: _Plan, dialect: Dialect, force: bool) -> GGUFWriter:
    kind = find_kind(output.kind)
    types = _types(kind, plan)
    metadata = file_metadata(kind, plan.metadata)
    named = [
        TensorPlan(name, tensor.shape, chosen)
        for tensor, chosen in zip(plan.tensor_plans, types, strict=True)
        if (name := spelled_name(tensor.name, dialect))
    ]
    extra = [tensor.plan for tensor in (*head_tensors(plan.head, dialect), *plan.integers)]
    return GGUFWriter(output.path, spelled_metadata(metadata, plan.head, dialect), named + extra, force=force)


def _types(kind: Kind, plan: _Plan) -> list[GGMLType]:
    """Each tensor's type. F32, F16 and BF16 are for all but norms and scales, as upstream's converter has it."""
    tensors = plan.tensor_plans
    if isinstance(kind, FileType) and kind.base in FLOAT_TYPES:
        plain = {slot.mainline_name for slot in plan.tensors if slot.role.plain} | {ROPE_FREQS_NAME}
        return [GGMLType.F32 if tensor.name in plain else kind.base for tensor in tensors]
    return plan_types(kind, plan.metadata, tensors)


def _stored(checkpoint: Checkpoint, tensor: StoredTensor) -> Stored:
    kind = source_type(tensor)
    return Stored(tensor.name, checkpoint.store.span(tensor), tensor.shape, kind)


def _write_same(writers: Sequence[GGUFWriter], tensor: NamedTensor) -> None:
    for writer in writers:
        writer.write_next(tensor.pieces())


def _centroid_head(checkpoint: Checkpoint) -> CentroidHead | None:
    """The centroid head of an assistant that has one. Its tensors are small and are held whole."""
    by_role = {slot.role.name: tensor for slot, tensor in checkpoint.tensors.items() if slot.role.name in HEAD_ROLES}
    if not by_role:
        return None
    centroids, ordering = (by_role[role] for role in HEAD_ROLES)
    if ordering.dtype not in ("I64", "I32"):
        raise CheckpointError(f"tensor {ordering.name} has dtype {ordering.dtype}, not I64", where=ordering.file)
    return CentroidHead(
        top_k=checkpoint.model.centroid_top_k,
        shape=(checkpoint.model.centroids, checkpoint.model.hidden),
        type=source_type(centroids),
        centroids=checkpoint.data(centroids).tobytes(),
        ordering=checkpoint.data(ordering).astype(np.int32),
    )
