"""An assistant's GGUF on this machine as publishing sees it: what it is, and whether it is sound."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gemma_mtp.adapt.origin import Origin, origin_of
from gemma_mtp.convert import provenance
from gemma_mtp.errors import BadFileError, UsageError
from gemma_mtp.files.hashing import sha256_of
from gemma_mtp.hub.source import parse_source
from gemma_mtp.model.config import Hyperparameters
from gemma_mtp.model.dialects import Dialect
from gemma_mtp.model.family import FAMILY, Family
from gemma_mtp.model.file_name import FileName, parse_published, split_names
from gemma_mtp.model.file_type import UNKNOWN
from gemma_mtp.model.part import Part
from gemma_mtp.progress import Progress, silent
from gemma_mtp.quantize import FILE_TYPES, is_kind
from gemma_mtp.sources.model import OpenModel
from gemma_mtp.sources.opening import Place, Want, open_model, require_checkpoint
from gemma_mtp.sources.splits import MERGE_PARTS

#: Where a GGUF says which checkpoint it was made from, the most direct first.
ORIGIN_KEYS = (
    provenance.REPO,
    "general.source.huggingface.repository",
    "general.source.repo_url",
    "general.base_model.0.repo_url",
)
_HUB_REPO = re.compile(r"(?:https://huggingface\.co/)?(?P<repo>[\w.-]+/[\w.-]+?)/?")


@dataclass(frozen=True)
class AssistantFile:
    """An assistant's GGUF.

    type: its file type or recipe. bits: for each weight, over the whole file. origin: the repo it was converted from;
    empty, as `license` and `revision` (a commit there), if the file does not say. source_hashes: sha256 of the files
    it was converted from. adapted: to another target, from what. backbone, vocabulary: 0 if its keys are damaged.
    """

    path: Path
    name: FileName
    dialect: Dialect
    type: str
    bits: float
    size: int
    sha256: str
    backbone: int
    vocabulary: int
    license: str
    origin: str
    revision: str = ""
    source_hashes: Mapping[str, str] = field(default_factory=dict)
    adapted: Origin | None = None

    @property
    def family(self) -> Family:
        return self.name.family


def file_to_publish(place: Place) -> Path:
    """The file at a place that names one of this machine.

    Raises UsageError for a place on the Hub, a checkpoint and a split model, with what to do instead.
    """
    source = parse_source(place)
    if source.path is None:
        raise UsageError(
            "this is on the Hub already; what is pushed are files of this machine",
            where=str(source),
            hint="name a file here; a collection takes other people's repos, too, on its page",
        )
    if source.path.is_dir():
        require_checkpoint(source, source.path, Want.FILE)
    if split_names(source.path.name):
        raise UsageError("this is a part of a split model", where=source.path, hint=MERGE_PARTS)
    return source.path


def read_assistant(path: Path, *, sha256: str | None = None, progress: Progress = silent) -> AssistantFile:
    """What the file is, whether or not it is sound. sha256: its own, where that is known. progress: of hashing it.

    Raises GGUFError (no readable GGUF), BadFileError (no assistant), UsageError (a name that cannot be published).
    """
    with open_model(path, Part.ASSISTANT) as side:
        dialect = side.dialect
        if side.actual_part != Part.ASSISTANT or dialect is None:
            what = (
                f"a {FAMILY.title} target"
                if side.actual_part == Part.TARGET
                else f"a {side.architecture or 'nameless'} model"
            )
            raise BadFileError(f"this is {what}, not an assistant; only assistants are published", where=path)
        name, kind = parse_published(path.name), side.type
        _require_honest_name(path, name, kind, dialect)
        weights = sum(math.prod(tensor.shape) for tensor in side.tensors.values())
        model = side.model if isinstance(side.model, Hyperparameters) else None
        if sha256 is None:
            with progress(f"hashing {path.name}", side.header.size) as advance:
                sha256 = sha256_of(path, advance)
        return AssistantFile(
            path=path,
            name=name,
            dialect=dialect,
            type=kind,
            bits=8 * sum(tensor.nbytes for tensor in side.tensors.values()) / max(weights, 1),
            size=side.header.size,
            sha256=sha256,
            backbone=model.backbone if model else 0,
            vocabulary=model.vocabulary if model else 0,
            license=side.text("general.license"),
            origin=_origin(side),
            revision=side.text(provenance.REVISION),
            source_hashes=dict(zip(_texts(side, provenance.FILES), _texts(side, provenance.HASHES), strict=False)),
            adapted=origin_of(side.metadata),
        )


def _require_honest_name(path: Path, name: FileName, kind: str, dialect: Dialect) -> None:
    """A name that tells another kind, type or dialect than the file's misleads llama.cpp's choice, and people's."""
    if dialect not in name.family.dialects.values():
        raise UsageError(
            f"its name begins with {name.family.prefix}, the file is {dialect.architecture}",
            where=path,
            hint="name it after what it is, as `gemma-mtp convert` does",
        )
    if name.dialect != dialect.name:
        raise UsageError(
            f"its name says the dialect {name.dialect}, the file is {dialect.name}",
            where=path,
            hint=f"end the name in -{dialect.name}.gguf" if name.dialect == "mainline" else "drop the ending",
        )
    if name.type and is_kind(name.type) and kind != UNKNOWN and not _same_kind(name.type, kind):
        raise UsageError(
            f"its name says {name.type}, the file is {kind}", where=path, hint="name the file after its type"
        )


def _same_kind(a: str, b: str) -> bool:
    spellings = {kind.alias.upper(): kind.name for kind in FILE_TYPES.values() if kind.alias}
    return spellings.get(a.upper(), a.upper()) == spellings.get(b.upper(), b.upper())


def _origin(side: OpenModel) -> str:
    """The repo of the checkpoint that this was converted from; empty if the file does not say."""
    for key in ORIGIN_KEYS:
        match = _HUB_REPO.fullmatch(side.text(key))
        if match:
            return match["repo"]
    return ""


def _texts(side: OpenModel, key: str) -> list[str]:
    """An array of texts; empty if it is missing or of another type."""
    return side.metadata.texts(key, [])
