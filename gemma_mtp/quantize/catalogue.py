"""What can be asked for, and what it would give: the kinds on offer, and names and sizes of files not yet made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gemma_mtp.errors import UsageError
from gemma_mtp.files.gguf_writer import GGUFWriter, TensorPlan
from gemma_mtp.model.file_name import FileName
from gemma_mtp.quantize.engine import Output, check_architecture, in_llama_order
from gemma_mtp.quantize.plan import Kind, file_metadata, find_kind, plan_types
from gemma_mtp.quantize.recipes import RECIPES, Recipe
from gemma_mtp.quantize.types import FILE_TYPES
from gemma_mtp.sources.model import OpenModel
from gemma_mtp.sources.opening import Place, Want, open_model

KINDS: tuple[Kind, ...] = (*FILE_TYPES.values(), *RECIPES.values())


@dataclass(frozen=True)
class Offer:
    """A kind, with the size in bytes that a given source's file would have; None without a source."""

    name: str
    bits: float
    is_recipe: bool
    needs_importance: bool
    summary: str
    size: int | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def offers(source: Place | None = None) -> list[Offer]:
    """Everything on offer, with sizes for the GGUF at `source` if one is given: of it only the header is read.

    Raises BadFileError, and what `open_model` raises.
    """
    if source is None:
        return [_offer(kind, None) for kind in KINDS]
    with open_model(source, want=Want.GGUF) as model:
        check_architecture(model)
        return [_offer(kind, _size(kind, model)) for kind in KINDS]


def default_output(source: Path, kind: str) -> Path:
    """`mtp-x-BF16.gguf`, Q4_0 -> `mtp-x-Q4_0.gguf` beside it: the kind at the end of the name is replaced."""
    return source.with_name(str(FileName.parse(source).of_type(find_kind(kind).name)))


def split_words(words: Sequence[str]) -> tuple[Path | None, list[str]]:
    """The command's words after IN.gguf, `[OUT.gguf] TYPE [TYPE ...]`: the output's name, if any, and types."""
    named = bool(words) and words[0].endswith(".gguf")
    return (Path(words[0]), list(words[1:])) if named else (None, list(words))


def outputs_for(source: Path, kinds: Sequence[str], wanted: Path | None = None) -> list[Output]:
    """The files to make of `source`. wanted: a file (for one kind), an existing folder, or None: beside the source.

    Raises UsageError: several kinds for one file.
    """
    require_room(kinds, wanted)
    if wanted is None or wanted.is_dir():
        beside = source if wanted is None else wanted / source.name
        return [Output(default_output(beside, kind), kind) for kind in kinds]
    return [Output(wanted, kind) for kind in kinds]


def require_room(kinds: Sequence[str], wanted: Path | None) -> None:
    """Raises UsageError: no kind, or several for one file."""
    if not kinds:
        raise UsageError("no type is given", hint="gemma-mtp quantize --list shows what there is")
    if wanted is not None and not wanted.is_dir() and len(kinds) > 1:
        raise UsageError(
            f"one output, {wanted}, cannot have {len(kinds)} types", hint="leave its name out: each file gets one"
        )


def parse_kinds(words: Sequence[str]) -> list[str]:
    """Types and recipes by their own names, each once. Raises UsageError."""
    return list(dict.fromkeys(find_kind(word).name for word in words))


def _offer(kind: Kind, size: int | None) -> Offer:
    if isinstance(kind, Recipe):
        return Offer(kind.name, kind.bits, True, False, kind.summary, size)
    return Offer(kind.name, kind.bits, False, kind.needs_importance, "", size)


def planned(kind: Kind, model: OpenModel) -> list[TensorPlan]:
    """The tensors of the file that it would become; of the model only the header is looked at."""
    tensors = in_llama_order(model)
    names = None if isinstance(kind, Recipe) or not kind.needs_importance else model.tensors.keys()
    types = plan_types(kind, model.metadata, tensors, importance=names)
    return [TensorPlan(tensor.name, tensor.shape, given) for tensor, given in zip(tensors, types, strict=True)]


def _size(kind: Kind, model: OpenModel) -> int:
    return GGUFWriter(Path(), file_metadata(kind, model.metadata), planned(kind, model)).size
