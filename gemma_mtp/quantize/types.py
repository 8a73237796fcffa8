"""The file types on offer: what a TYPE such as Q4_K_M means to llama.cpp.

A file type names a mix: a base type that most tensors get, and exceptions (mixes.py). Names and numbers are those of
llama-quantize (tools/quantize/quantize.cpp, include/llama.h). Its Q2_0 is missing: the gguf package doesn't know it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from gemma_mtp.errors import UsageError, meant
from gemma_mtp.ggml import GGMLType, bits_per_weight


@dataclass(frozen=True)
class FileType:
    """A TYPE of llama-quantize.

    number: `general.file_type`. base: the type that most tensors get.
    needs_importance: whether llama.cpp refuses to make it without an importance matrix.
    alias: another spelling.
    """

    name: str
    number: int
    base: GGMLType
    needs_importance: bool = False
    alias: str | None = None

    @property
    def bits(self) -> float:
        """Bits for each weight of the base type."""
        return bits_per_weight(self.base)


_T = GGMLType
FILE_TYPES: dict[str, FileType] = {
    kind.name: kind
    for kind in (
        FileType("F32", 0, _T.F32),
        FileType("F16", 1, _T.F16),
        FileType("BF16", 32, _T.BF16),
        FileType("Q8_0", 7, _T.Q8_0),
        FileType("Q6_K", 18, _T.Q6_K),
        FileType("Q5_1", 9, _T.Q5_1),
        FileType("Q5_K_M", 17, _T.Q5_K, alias="Q5_K"),
        FileType("Q5_K_S", 16, _T.Q5_K),
        FileType("Q5_0", 8, _T.Q5_0),
        FileType("Q4_1", 3, _T.Q4_1),
        FileType("Q4_K_M", 15, _T.Q4_K, alias="Q4_K"),
        FileType("Q4_K_S", 14, _T.Q4_K),
        FileType("IQ4_NL", 25, _T.IQ4_NL),
        FileType("Q4_0", 2, _T.Q4_0),
        FileType("IQ4_XS", 30, _T.IQ4_XS),
        FileType("MXFP4_MOE", 38, _T.MXFP4, alias="MXFP4"),
        FileType("Q3_K_L", 13, _T.Q3_K),
        FileType("Q3_K_M", 12, _T.Q3_K, alias="Q3_K"),
        FileType("Q3_K_S", 11, _T.Q3_K),
        FileType("IQ3_M", 27, _T.IQ3_S),
        FileType("IQ3_S", 26, _T.IQ3_S),
        FileType("IQ3_XS", 22, _T.IQ3_S, needs_importance=True),
        FileType("IQ3_XXS", 23, _T.IQ3_XXS, needs_importance=True),
        FileType("Q2_K", 10, _T.Q2_K),
        FileType("Q2_K_S", 21, _T.Q2_K, needs_importance=True),
        FileType("IQ2_M", 29, _T.IQ2_S, needs_importance=True),
        FileType("IQ2_S", 28, _T.IQ2_XS, needs_importance=True),
        FileType("IQ2_XS", 20, _T.IQ2_XS, needs_importance=True),
        FileType("IQ2_XXS", 19, _T.IQ2_XXS, needs_importance=True),
        FileType("TQ2_0", 37, _T.TQ2_0),
        FileType("IQ1_M", 31, _T.IQ1_M, needs_importance=True),
        FileType("TQ1_0", 36, _T.TQ1_0),
        FileType("IQ1_S", 24, _T.IQ1_S, needs_importance=True),
        FileType("Q1_0", 40, _T.Q1_0),
    )
}
_SPELLINGS = {name.upper(): kind for kind in FILE_TYPES.values() for name in (kind.name, kind.alias) if name}

#: ggml's types that a single tensor may be given.
TENSOR_TYPES: dict[str, GGMLType] = {kind.base.name: kind.base for kind in FILE_TYPES.values()} | {"IQ2_S": _T.IQ2_S}


def is_file_type(name: str) -> bool:
    return name.upper() in _SPELLINGS


def file_type(name: str) -> FileType:
    """The file type of this name, in any case. Raises UsageError."""
    if not is_file_type(name):
        raise no_such_type(name, FILE_TYPES)
    return _SPELLINGS[name.upper()]


def no_such_type(name: str, known: Collection[str], kind: str = "type") -> UsageError:
    """The complaint about the name of a type with the one that is probably meant."""
    hint = f"{meant(name, known)} one of {', '.join(known)}; see gemma-mtp quantize --list".lstrip()
    return UsageError(f"there is no {kind} {name}", hint=hint)


def tensor_type(name: str) -> GGMLType:
    """ggml's type of this name, in any case. Raises UsageError."""
    if name.upper() not in TENSOR_TYPES:
        raise no_such_type(name, TENSOR_TYPES, "tensor type")
    return TENSOR_TYPES[name.upper()]
