"""Split GGUFs, `NAME-00001-of-0000N.gguf`: all files of a model, and their headers as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gemma_mtp.errors import GGUFError
from gemma_mtp.files.gguf_reader import GGUFHeader, TensorInfo
from gemma_mtp.files.gguf_values import ValueType, i32, scalar
from gemma_mtp.model.file_name import split_names
from gemma_mtp.model.gguf_keys import describe

#: What to do where a split model does not do.
MERGE_PARTS = "`llama-gguf-split --merge FIRST-PART.gguf OUT.gguf` makes one file of it"


def split_parts(path: Path) -> list[Path]:
    """All files of the model that `path` is, or is the first part of. Raises GGUFError: not the first, one missing."""
    split = split_names(path.name)
    if split is None:
        return [path]
    number, names = split
    count, parts = len(names), [path.with_name(name) for name in names]
    if not 1 <= number <= count:
        raise GGUFError(
            f"its name says part {number} of {count}, which cannot be", where=path, hint="give it its name back"
        )
    if number != 1:
        raise GGUFError(
            f"this is part {number} of {count} of a split model", where=path, hint=f"name the first: {parts[0]}"
        )
    missing = [part.name for part in parts if not part.exists()]
    if missing:
        raise GGUFError(
            f"{len(missing)} of {count} parts are missing: {', '.join(missing[:3])}",
            where=path,
            hint="put all parts into one folder, under their own names",
        )
    return parts


def merge(place: str, parts: Sequence[GGUFHeader]) -> GGUFHeader:
    """The parts of a split model as one header: the first one's metadata, everybody's tensors.

    Raises GGUFError if the parts do not belong together.
    """
    first = parts[0]
    first.metadata.where = place
    promised = first.metadata.get("split.count")
    count = promised.integer() or 0 if promised is not None and promised.type is ValueType.UINT16 else 0
    if len(parts) == 1 and count <= 1:
        return first
    if count != len(parts):
        raise GGUFError(
            f"the file is one of {count} parts of a split model, {len(parts)} are here"
            if count
            else f"its name says {len(parts)} parts, the file nothing: llama.cpp reads no other part",
            where=place,
            hint="put all parts into one folder, under their own names (...-00001-of-0000N.gguf)",
        )
    tensors: dict[str, TensorInfo] = {}
    for index, header in enumerate(parts):
        _check_number(place, header, index)
        twice = next(iter(header.tensors.keys() & tensors.keys()), None)
        if twice is not None:
            raise GGUFError(f"tensor {twice} is in two parts of the split model", where=place)
        tensors.update(header.tensors)

    total = first.metadata.get("split.tensors.count")
    if total is None or total != i32(len(tensors)):
        raise GGUFError(
            f"split.tensors.count is {describe(total) if total else 'missing'}, the parts have {len(tensors)} tensors",
            where=place,
            hint="a part is missing or another model's: download all parts again",
        )
    disorder = next((header.disorder for header in parts if header.disorder), "")
    return replace(first, tensors=tensors, size=sum(header.size for header in parts), disorder=disorder)


def _check_number(place: str, header: GGUFHeader, index: int) -> None:
    """Raises GGUFError unless a part says that it is the one of this index."""
    number = header.metadata.get("split.no")
    if number is None or number != scalar(ValueType.UINT16, index):
        raise GGUFError(
            f"part {index + 1} has split.no {describe(number) if number else 'missing'}, not UINT16 {index}",
            where=place,
            hint="give the parts their own names back, or split the model again (llama-gguf-split)",
        )
