"""Which files a conversion makes; an assistant's name is the one that llama.cpp's `-hf` finds by itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gemma_mtp.errors import UsageError
from gemma_mtp.model.family import FAMILY, Family
from gemma_mtp.model.file_name import FileName
from gemma_mtp.model.part import Part
from gemma_mtp.quantize.engine import Output
from gemma_mtp.quantize.plan import find_kind


def outputs_for(
    part: Part, name: str, types: Sequence[str], wanted: Path | None, dialect: str, family: Family = FAMILY
) -> list[Output]:
    """The files to make from a checkpoint with a model called `name`.

    types: in any case. wanted: a file (for one type), an existing folder, or None for the current folder.
    Raises CheckpointError (no readable config.json), UsageError (no such type, several types for one file).
    """
    types = [find_kind(kind).name for kind in types]
    if wanted is not None and not wanted.is_dir():
        if len(types) > 1:
            raise UsageError(
                f"{len(types)} types cannot go into one file", where=wanted, hint="name an existing folder"
            )
        return [Output(wanted, types[0])]
    file = FileName.of_checkpoint(part, name, family)
    return [Output((wanted or Path()) / str(file.of_type(kind, dialect)), kind) for kind in types]
