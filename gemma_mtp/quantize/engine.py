"""GGUF in -> one or several GGUFs out, in one reading.

tensor in a file -> blocks of rows -> float32 -> ggml's kernel -> the next tensor of each new file that wants this type
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from gemma_mtp.errors import BadFileError, UsageError
from gemma_mtp.files.atomic import check_outputs
from gemma_mtp.files.gguf_reader import TensorInfo
from gemma_mtp.files.gguf_values import Value
from gemma_mtp.files.gguf_writer import GGUFWriter, TensorPlan
from gemma_mtp.ggml import FLOAT_TYPES, ForeignType, TensorType, native
from gemma_mtp.model.family import FAMILIES
from gemma_mtp.progress import Advance, ignore
from gemma_mtp.quantize.imatrix import ImportanceMatrix
from gemma_mtp.quantize.magnitudes import INTEGER_TYPES
from gemma_mtp.quantize.mixes import SUBJECTS
from gemma_mtp.quantize.names import llama_order, role_of
from gemma_mtp.quantize.plan import file_metadata, find_kind, plan_types
from gemma_mtp.quantize.recipes import Override
from gemma_mtp.quantize.rows import RowEncoder, Stored
from gemma_mtp.quantize.writing import write_encoded
from gemma_mtp.sources.model import OpenModel
from gemma_mtp.sources.opening import Place, Want, open_model

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Output:
    """A file to be made: its name, and the file type or recipe by name."""

    path: Path
    kind: str


@dataclass(frozen=True)
class Written:
    """A file that was made. `types`: how many tensors have which type."""

    path: Path
    kind: str
    size: int
    bits_per_weight: float
    types: dict[str, int]


@dataclass(frozen=True)
class Quantization:
    source: Path
    source_size: int
    requantized: tuple[str, ...]  # tensors that were quantized already
    outputs: tuple[Written, ...]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self, dict_factory=_with_plain_paths)


def _with_plain_paths(items: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key: str(value) if isinstance(value, Path) else value for key, value in items}


def quantize_file(source: Place, outputs: Sequence[Output], **options: Any) -> Quantization:
    """Quantize a GGUF, wherever it stands, whole or split; see `quantize_opened`.

    Raises what that and `open_model` raise.
    """
    check_outputs([output.path for output in outputs], bool(options.get("force")))
    with open_model(source, want=Want.FILE) as model:
        return quantize_opened(model, outputs, **options)


def quantize_opened(
    model: OpenModel,
    outputs: Sequence[Output],
    *,
    overrides: Sequence[Override] = (),
    importance: ImportanceMatrix | None = None,
    allow_requantize: bool = False,
    force: bool = False,
    threads: int | None = None,
    advance: Advance = ignore,
) -> Quantization:
    """Quantize a GGUF on this machine to each of `outputs` in one reading.

    Types and bytes are those of llama_model_quantize. advance hears of the source's bytes, once for each output:
    source size times the number of outputs in all. threads: None for all cores.

    Raises UsageError (no such type, an output that exists, a quantized source without `allow_requantize`, an importance
    matrix wanted), BadFileError (not a Gemma 4 GGUF, NaN, an importance matrix for another model), EnvironmentProblem.
    """
    start = time.perf_counter()
    _check_paths(model, [output.path for output in outputs], force)
    with RowEncoder(threads) as encoder, ExitStack() as stack:
        check_architecture(model)
        tensors = in_llama_order(model)
        _check_importance(model, importance)
        plans = [plan_output(output, model, tensors, overrides, importance) for output in outputs]
        again = _requantized(tensors, plans)
        if again and not allow_requantize:
            raise UsageError(
                f"{len(again)} tensors ({again[0]}, ...) are quantized already, and would lose more than from 16 bits",
                where=model.place,
                hint="start from the BF16 file, or add --allow-requantize",
            )
        writers = [
            stack.enter_context(GGUFWriter(output.path, keys, planned, force=force))
            for output, (keys, planned) in zip(outputs, plans, strict=True)
        ]
        size = model.header.size
        advance((size - sum(tensor.nbytes for tensor in tensors)) * len(writers))
        stored = [_stored(model, tensor, importance) for tensor in tensors]
        write_encoded(encoder, writers, enumerate(stored), advance)
    written = tuple(
        _written(output, planned, writer.size)
        for output, (_, planned), writer in zip(outputs, plans, writers, strict=True)
    )
    return Quantization(model.files[0], size, again, written, time.perf_counter() - start)


def _stored(model: OpenModel, tensor: TensorInfo, importance: ImportanceMatrix | None) -> Stored:
    name = f"{model.place}: {tensor.name}"
    return Stored(name, model.spans[tensor.name], tensor.shape, native(tensor.type), importance_of(tensor, importance))


def in_llama_order(model: OpenModel) -> list[TensorInfo]:
    return sorted(model.tensors.values(), key=lambda tensor: llama_order(tensor.name))


def check_architecture(model: OpenModel) -> None:
    """Raises BadFileError unless the file holds a Gemma 4 model, target or assistant, that can be decoded."""
    architecture = model.architecture
    known = dict.fromkeys(name for family in FAMILIES.values() for name in family.all_architectures)
    if architecture not in known:
        raise BadFileError(
            f"general.architecture is {architecture or 'missing'}, not one of {', '.join(known)}",
            where=model.place,
            hint="for other models use llama.cpp's llama-quantize",
        )
    for tensor in model.tensors.values():
        if isinstance(tensor.type, ForeignType):
            raise BadFileError(
                f"tensor {tensor.name} is in {tensor.type.name}, which only {tensor.type.runtime} decodes",
                where=model.place,
                hint="start from the BF16 file",
            )


def plan_output(
    output: Output,
    model: OpenModel,
    tensors: Sequence[TensorInfo],
    overrides: Sequence[Override] = (),
    importance: ImportanceMatrix | None = None,
) -> tuple[dict[str, Value], list[TensorPlan]]:
    """Keys and tensors of one output. Raises UsageError (see `plan_types`)."""
    kind = find_kind(output.kind)
    names = importance.entries if importance else None
    types = plan_types(kind, model.metadata, tensors, overrides=overrides, importance=names)
    plans = [TensorPlan(tensor.name, tensor.shape, given) for tensor, given in zip(tensors, types, strict=True)]
    return file_metadata(kind, model.metadata, overrides=overrides, importance=importance), plans


def _check_importance(model: OpenModel, importance: ImportanceMatrix | None) -> None:
    """Raises BadFileError for an importance matrix that has nothing to say about this model."""
    if importance and not importance.entries.keys() & model.tensors.keys():
        raise BadFileError(
            f"names no tensor of {model.place}",
            where=importance.path,
            hint="this importance matrix is of another model",
        )


def importance_of(tensor: TensorInfo, importance: ImportanceMatrix | None) -> Array | None:
    """The tensor's share of the matrix, float32 [experts * columns], or None.

    Raises BadFileError if it has another size. Embeddings are excused: they are looked up, not multiplied, so where
    a matrix has an entry for them it is of another shape (llama.cpp does the same).
    """
    values = importance.entries.get(tensor.name) if importance else None
    if importance is None or values is None:
        return None
    wanted = tensor.shape[-1] * (tensor.shape[-3] if len(tensor.shape) > 2 else 1)
    if values.size == wanted:
        return values
    if SUBJECTS.get(role_of(tensor.name)) == "embedding":
        return None
    raise BadFileError(
        f"{tensor.name} has {values.size:,} importance values, {wanted:,} are wanted",
        where=importance.path,
        hint="this importance matrix is of another model",
    )


def _check_paths(model: OpenModel, outputs: Sequence[Path], force: bool) -> None:
    check_outputs(outputs, force)
    with suppress(OSError, ValueError):  # what is not there, or cannot be, is no output's file
        if any(output.exists() and output.samefile(source) for output in outputs for source in model.files):
            raise UsageError("input and output are the same file", where=model.place, hint="name another output")


def _requantized(
    tensors: Sequence[TensorInfo], plans: Sequence[tuple[dict[str, Value], list[TensorPlan]]]
) -> tuple[str, ...]:
    """The names of the tensors that are quantized and would get another type."""
    return tuple(
        old.name
        for index, old in enumerate(tensors)
        if is_quantized(old.type) and any(planned[index].type != old.type for _, planned in plans)
    )


def is_quantized(kind: TensorType) -> bool:
    return kind not in FLOAT_TYPES | INTEGER_TYPES


def _written(output: Output, tensors: Sequence[TensorPlan], size: int) -> Written:
    bits = 8 * sum(tensor.nbytes for tensor in tensors) / sum(prod(tensor.shape) for tensor in tensors)
    return Written(output.path, output.kind, size, bits, dict(Counter(tensor.type.name for tensor in tensors)))
