"""An assistant GGUF of any dialect and any quantization -> another dialect, without touching the weights' bytes."""

from __future__ import annotations

from pathlib import Path

from gemma_mtp.convert.pipeline import Conversion
from gemma_mtp.convert.spelling import NamedTensor, spell, unspell
from gemma_mtp.errors import BadFileError
from gemma_mtp.files.atomic import check_output
from gemma_mtp.files.gguf_reader import GGUFFile
from gemma_mtp.files.gguf_values import Value
from gemma_mtp.files.gguf_writer import GGUFWriter, TensorPlan
from gemma_mtp.model.dialects import DIALECTS, TARGET_ARCHITECTURE, Dialect, dialect_of


def convert_dialect(source: Path, output: Path, dialect: Dialect, *, force: bool = False) -> Conversion:
    """Write the assistant in the GGUF `source` to `output` in another dialect.

    Raises GGUFError (a malformed file), BadFileError (not an assistant, or an incomplete one), UsageError (the output).
    """
    check_output(output, force)
    with GGUFFile(source) as file:
        spoken, metadata, tensors = _respelled(file, dialect)
        with GGUFWriter(output, metadata, [tensor.plan for tensor in tensors], force=force) as writer:
            for tensor in tensors:
                writer.write_next([tensor.data])
        return Conversion(spoken.architecture, {output: writer.size})


def is_spelled(source: Path, dialect: Dialect) -> bool:
    """Whether the assistant in the GGUF `source` would not change by being written in this dialect.

    Raises as `convert_dialect`.
    """
    with GGUFFile(source) as file:
        _, metadata, tensors = _respelled(file, dialect)
        there = {tensor.name: (tensor.shape, tensor.type) for tensor in file.tensors.values()}
        new = {tensor.plan.name: (tensor.plan.shape, tensor.plan.type) for tensor in tensors}
        return new == there and metadata == file.metadata


def _respelled(file: GGUFFile, dialect: Dialect) -> tuple[Dialect, dict[str, Value], list[NamedTensor]]:
    """The dialect that the file speaks; its metadata and tensors in another. Raises BadFileError."""
    spoken = _dialect(file.metadata, file.path)
    views = {
        name: NamedTensor(TensorPlan(name, tensor.shape, tensor.type), file.data(tensor).data)
        for name, tensor in file.tensors.items()
    }
    try:
        return spoken, *spell(unspell(file.metadata, views, spoken), dialect)
    except BadFileError as error:
        raise BadFileError(error.what, where=file.path, hint=error.hint) from error


def _dialect(metadata: dict[str, Value], source: Path) -> Dialect:
    """The dialect that the file speaks. Raises BadFileError if it is not an assistant of a dialect that we know."""
    value = metadata.get("general.architecture")
    architecture = value.decode() if value is not None else None
    dialect = dialect_of(architecture)
    if dialect is not None:
        return dialect
    if architecture == TARGET_ARCHITECTURE and f"{TARGET_ARCHITECTURE}.assistant.type" in metadata:
        raise BadFileError(
            "an assistant in the form of the tq3 fork, which cannot be converted",
            where=source,
            hint="convert the original checkpoint",
        )
    known = ", ".join(dialect.architecture for dialect in DIALECTS.values())
    hint = "a target has one form everywhere; to change its type use gemma-mtp quantize"
    raise BadFileError(
        f"the architecture is {architecture}, not an assistant's ({known})",
        where=source,
        hint=hint if architecture == TARGET_ARCHITECTURE else "name an assistant GGUF or a checkpoint",
    )
