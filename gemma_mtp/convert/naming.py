"""Names of output files: an assistant's is `mtp-<target>-<TYPE>.gguf`, which llama.cpp's `-hf` finds by itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePath

from gemma_mtp.errors import UsageError
from gemma_mtp.model.config import read_config
from gemma_mtp.model.dialects import DIALECTS, MAINLINE, Dialect
from gemma_mtp.quantize.engine import Output
from gemma_mtp.quantize.plan import find_kind


def outputs_for(checkpoint: Path, name: str, types: Sequence[str], wanted: Path | None, dialect: str) -> list[Output]:
    """The files to make from `checkpoint`, a folder with a model called `name`.

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
    folder, part = wanted or Path(), read_config(checkpoint).part
    return [Output(folder / gguf_name(part, name, kind, dialect), kind) for kind in types]


def respelled_name(source: str, dialect: Dialect) -> str:
    """The name for `source` (a path or name) in a dialect. Mainline's has no ending."""
    stem = PurePath(source).name.removesuffix(".gguf")
    for other in DIALECTS:
        stem = stem.removesuffix(f"-{other}")
    return f"{stem}.gguf" if dialect is MAINLINE else f"{stem}-{dialect.name}.gguf"


def gguf_name(part: str, name: str, kind: str, dialect: str = MAINLINE.name) -> str:
    """("assistant", "gemma-4-31B-it-assistant", "Q8_0") -> `mtp-gemma-4-31B-it-Q8_0.gguf`."""
    stem = f"mtp-{target_name(name)}" if part == "assistant" else name
    return f"{stem}-{kind}{'' if dialect == MAINLINE.name else f'-{dialect}'}.gguf"


def target_name(assistant: str) -> str:
    """`gemma-4-31B-it-assistant` -> `gemma-4-31B-it`."""
    return assistant.removesuffix("-assistant")
