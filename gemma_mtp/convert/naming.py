"""Names of output files: an assistant's is `mtp-<target>-<TYPE>.gguf`, which llama.cpp's `-hf` finds by itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gemma_mtp.errors import UsageError
from gemma_mtp.model.config import read_config
from gemma_mtp.model.dialects import MAINLINE
from gemma_mtp.quantize.engine import Output


def outputs_for(checkpoint: Path, name: str, types: Sequence[str], wanted: Path | None, dialect: str) -> list[Output]:
    """The files to make from `checkpoint`, a folder with a model called `name`.

    wanted: a file (for one type), an existing folder, or None for the current folder.
    Raises CheckpointError (no readable config.json), UsageError (several types for one file).
    """
    if wanted is not None and not wanted.is_dir():
        if len(types) > 1:
            raise UsageError(
                f"{len(types)} types cannot go into one file", where=wanted, hint="name an existing folder"
            )
        return [Output(wanted, types[0])]
    folder = wanted or Path()
    stem = _stem(read_config(checkpoint).part, name)
    ending = "" if dialect == MAINLINE.name else f"-{dialect}"
    return [Output(folder / f"{stem}-{kind}{ending}.gguf", kind) for kind in types]


def _stem(part: str, name: str) -> str:
    """`gemma-4-31B-it-assistant` -> `mtp-gemma-4-31B-it`."""
    return f"mtp-{name.removesuffix('-assistant')}" if part == "assistant" else name
