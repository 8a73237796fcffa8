"""What a quantized file will hold: the type of each tensor, and the keys that change."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from gemma_mtp import __version__
from gemma_mtp.advice import ASSISTANT, TARGET, ours
from gemma_mtp.errors import UsageError
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_values import Value
from gemma_mtp.files.gguf_writer import TensorPlan
from gemma_mtp.ggml import GGMLType
from gemma_mtp.model.file_type import FILE_TYPE_KEY, RECIPE_KEY
from gemma_mtp.quantize.imatrix import ImportanceMatrix
from gemma_mtp.quantize.mixes import fitting, is_kept, mix_types, needs_importance
from gemma_mtp.quantize.names import role_of
from gemma_mtp.quantize.recipes import RECIPES, Override, Recipe, recipe_types
from gemma_mtp.quantize.types import FILE_TYPES, FileType, file_type, is_file_type, no_such_type

#: GGML_QNT_VERSION of ggml.h: the layout of the quantized blocks.
QUANTIZATION_VERSION = 2
#: Keys of ours, in files made with a recipe or an override. llama.cpp skips keys that it doesn't know.
OVERRIDES_KEY, TOOL_KEY = "quantize.overrides", "quantize.tool"

Kind = FileType | Recipe


def find_kind(name: str) -> Kind:
    """The file type or recipe of this name, in any case. Raises UsageError."""
    if not is_kind(name):
        raise no_such_type(name, (*FILE_TYPES, *RECIPES))
    return RECIPES[name.lower()] if name.lower() in RECIPES else file_type(name)


def is_kind(name: str) -> bool:
    return name.lower() in RECIPES or is_file_type(name)


def plan_types(
    kind: Kind | str,
    metadata: Mapping[str, Value],
    tensors: Sequence[TensorPlan],
    *,
    overrides: Sequence[Override] = (),
    importance: Collection[str] | None = None,
) -> list[GGMLType]:
    """The type of each tensor in a file of this kind.

    metadata: the model's keys, with `general.architecture` and its layer, head and expert counts.
    tensors: with the type they have now, which those that are never quantized keep.
    overrides: types for single roles; the first that covers a tensor counts.
    importance: the names of the tensors that an importance matrix is there for; None without one.

    Raises UsageError: no such type, a width that fits no type, a type that needs an importance matrix.
    """
    kind = find_kind(kind) if isinstance(kind, str) else kind
    if isinstance(kind, Recipe):
        types = recipe_types(kind, tensors)
    else:
        types = mix_types(kind, metadata, tensors, has_importance=importance is not None)
    types = [_overridden(overrides, tensor, given) for tensor, given in zip(tensors, types, strict=True)]
    for tensor, given in zip(tensors, types, strict=True):
        if needs_importance(kind.name, tensor, given) and tensor.name not in (importance or ()):
            raise UsageError(
                f"{kind.name} makes this tensor {given.name}, which needs an importance matrix",
                where=tensor.name,
                hint=importance_hint(importance is not None),
            )
    return types


#: What an importance matrix is called in advice.
IMATRIX = "IMATRIX.gguf"


def importance_hint(given: bool) -> str:
    """What to do about a tensor without importance. given: whether there is a matrix, which lacks this tensor."""
    if given:
        return (
            "the matrix of --imatrix lacks this tensor: take one that was made of this very model, or give the tensor "
            "another type (--tensor ROLE=TYPE)"
        )
    made = ours("imatrix", TARGET, ASSISTANT, options={"--text": "TEXTS.jsonl", "-o": IMATRIX})
    return f"add --imatrix {IMATRIX}: an assistant's is made by {made}, a target's by llama.cpp's llama-imatrix"


def _overridden(overrides: Sequence[Override], tensor: TensorPlan, given: GGMLType) -> GGMLType:
    if is_kept(tensor):
        return given
    role = role_of(tensor.name)
    wanted = next((override.type for override in overrides if override.covers(role)), None)
    return given if wanted is None else fitting(wanted, tensor)


def file_metadata(
    kind: Kind | str,
    metadata: Mapping[str, Value],
    *,
    overrides: Sequence[Override] = (),
    importance: ImportanceMatrix | None = None,
) -> dict[str, Value]:
    """The keys of a file of this kind made from one with `metadata`, in the order of llama_model_quantize.

    That sets the two `general` keys at the end, then those about the importance matrix as llama-quantize names them.
    """
    kind = find_kind(kind) if isinstance(kind, str) else kind
    number = kind.file_type if isinstance(kind, Recipe) else kind.number
    changed = {
        "general.quantization_version": gv.u32(QUANTIZATION_VERSION),
        FILE_TYPE_KEY: gv.u32(number),
        **(importance.metadata() if importance else {}),
    }
    if isinstance(kind, Recipe):
        changed[RECIPE_KEY] = gv.string(kind.name)
    if overrides:
        changed[OVERRIDES_KEY] = gv.strings([str(override) for override in overrides])
    if isinstance(kind, Recipe) or overrides:
        changed[TOOL_KEY] = gv.string(f"gemma-mtp {__version__}")
    gone = {*changed, RECIPE_KEY, OVERRIDES_KEY, TOOL_KEY}
    return {key: value for key, value in metadata.items() if key not in gone} | changed
