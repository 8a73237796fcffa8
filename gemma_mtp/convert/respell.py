"""An assistant GGUF of any dialect and any quantization -> another dialect, without touching the weights' bytes."""

from __future__ import annotations

from pathlib import Path

from gemma_mtp.convert.pipeline import Conversion
from gemma_mtp.convert.soundness import require_sound_plan, require_sound_source
from gemma_mtp.convert.spelling import Assistant, NamedTensor, spell, unspell
from gemma_mtp.errors import BadFileError, UsageError
from gemma_mtp.files.atomic import check_output
from gemma_mtp.files.gguf_reader import GGUFFile
from gemma_mtp.files.gguf_values import Value
from gemma_mtp.files.gguf_writer import GGUFWriter
from gemma_mtp.files.metadata import Metadata
from gemma_mtp.model.dialects import DIALECTS, TARGET_ARCHITECTURE, Dialect
from gemma_mtp.model.part import Part

#: What a file holds; its metadata and tensors in another dialect.
_Respelled = tuple[Assistant, dict[str, Value], list[NamedTensor]]


def convert_dialect(source: Path, output: Path, dialect: Dialect, *, force: bool = False) -> Conversion:
    """Write the assistant in the GGUF `source` to `output` in another dialect, or anew in its own.

    A mainline file with a centroid head as tensors, on which llama.cpp fails, gets it as metadata.
    Raises GGUFError (a malformed file), BadFileError (not an assistant, or an unsound one), UsageError (the output).
    """
    check_output(output, force)
    with GGUFFile(source) as file:
        return _write(file, output, _respelled(file, dialect), force)


def respell(source: Path, output: Path, dialect: Dialect, *, place: str, force: bool = False) -> Conversion:
    """`convert_dialect` for what is different in that dialect. place: what the file is called in an error.

    Raises as that does, and UsageError for a file that would not change.
    """
    with GGUFFile(source) as file:
        respelled = _respelled(file, dialect)
        if _is_the_same(file, respelled):
            raise UsageError(
                f"this file is {dialect.name} already: there is nothing to convert",
                where=place,
                hint="use it as it is; `gemma-mtp quantize` changes its type",
            )
        check_output(output, force)
        return _write(file, output, respelled, force)


def _write(file: GGUFFile, output: Path, respelled: _Respelled, force: bool) -> Conversion:
    assistant, metadata, tensors = respelled
    plans = [tensor.plan for tensor in tensors]
    require_sound_plan(Part.ASSISTANT, output, metadata, plans)
    with GGUFWriter(output, metadata, plans, force=force) as writer:
        for tensor in tensors:
            writer.write_next(tensor.pieces())
    return Conversion(file.metadata.architecture, {output: writer.size}, notes=assistant.notes)


def _is_the_same(file: GGUFFile, respelled: _Respelled) -> bool:
    """Whether the new file would say what the old one says, in the same order."""
    _, metadata, tensors = respelled
    there = {tensor.name: (tensor.shape, tensor.type) for tensor in file.tensors.values()}
    new = {tensor.plan.name: (tensor.plan.shape, tensor.plan.type) for tensor in tensors}
    return new == there and metadata == file.metadata and not file.header.disorder


def _respelled(file: GGUFFile, dialect: Dialect) -> _Respelled:
    """What the file holds; its metadata and tensors in another dialect. Raises BadFileError."""
    stored = {name: NamedTensor(tensor, file.span(tensor)) for name, tensor in file.tensors.items()}
    spoken = _dialect(file.metadata, file.path)
    require_sound_source(file.path, file.header, stored)
    try:
        assistant = unspell(file.metadata, stored, spoken)
        return assistant, *spell(assistant, dialect)
    except BadFileError as error:
        raise BadFileError(error.what, where=file.path, hint=error.hint) from error


def _dialect(metadata: Metadata, source: Path) -> Dialect:
    """The dialect that the file speaks. Raises BadFileError if it is not an assistant of a dialect that we know."""
    architecture = metadata.architecture
    dialect = next((one for one in DIALECTS.values() if one.architecture == architecture), None)
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
        f"the architecture is {architecture or 'missing'}, not an assistant's ({known})",
        where=source,
        hint=hint if architecture == TARGET_ARCHITECTURE else "name an assistant GGUF or a checkpoint",
    )
