"""The files that llama-server can be told to open, and what brings a model here that is no such file."""

from __future__ import annotations

import shlex
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from gemma_mtp.advice import bare
from gemma_mtp.hub.source import parse_source
from gemma_mtp.model.file_name import ENDING, FileName
from gemma_mtp.sources.model import OpenModel

#: The type of a checkpoint's GGUF, if nothing is said of another.
AS_TRAINED = "BF16"


class AtHand(NamedTuple):
    """file: what llama.cpp opens. command: makes it in this folder, or downloads it there; None: it is here already."""

    file: Path
    command: str | None = None


def at_hand(side: OpenModel, named: str | PathLike[str], kind: str = AS_TRAINED) -> AtHand:
    """named: as the user named the model. kind: the type that a checkpoint is converted to."""
    if not is_gguf(side):
        file = Path(str(FileName.of_checkpoint(side.part, side.name, side.family).of_type(kind)))
        return AtHand(file, bare("convert", str(named), options={"--type": kind, "-o": str(file)}))
    if side.files:
        return AtHand(Path(named))
    first = parse_source(side.place).file
    assert first is not None
    words = ["hf", "download", side.origin.repo or "", *side.origin.hashes, "--revision", side.origin.revision or ""]
    return AtHand(Path(first), shlex.join([*words, "--local-dir", "."]))


def is_gguf(side: OpenModel) -> bool:
    """Whether the model is a file already, here or on the Hub, or a checkpoint."""
    return side.place.endswith(ENDING) or any(path.suffix == ENDING for path in side.files)
