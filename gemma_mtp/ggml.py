"""ggml's tensor types: their ids and block sizes, as the `gguf` package tables them, and those that it doesn't know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

GGMLType = GGMLQuantizationType

#: Types that hold plain numbers, one an element.
FLOAT_TYPES = frozenset({GGMLType.F32, GGMLType.F16, GGMLType.BF16})

LLAMA, IK = "llama.cpp", "ik_llama.cpp"


@dataclass(frozen=True)
class ForeignType:
    """A type that can be read, measured and copied here, but neither made nor decoded.

    value: its number in a file. elements, nbytes: of a block. row: bytes that each row has beside its blocks.
    runtime: what reads it.
    """

    value: int
    name: str
    elements: int
    nbytes: int
    row: int
    runtime: str = IK


TensorType = GGMLType | ForeignType

#: Source: ik_llama.cpp (August 2026), ggml/include/ggml.h and the table `type_traits` of ggml/src/ggml.c.
_IK_TYPES = (
    (31, "Q4_0_4_4", 32, 18, 0),
    (32, "Q4_0_4_8", 32, 18, 0),
    (33, "Q4_0_8_8", 32, 18, 0),
    (133, "Q6_0", 32, 26, 0),
    (134, "IQ1_BN", 64, 13, 2),
    (135, "IQ2_BN", 64, 16, 4),
    (137, "IQ2_K", 256, 76, 0),
    (138, "IQ3_K", 256, 110, 0),
    (139, "IQ4_K", 256, 144, 0),
    (140, "IQ5_K", 256, 176, 0),
    (141, "IQ6_K", 256, 212, 0),
    (144, "IQ4_KS", 256, 136, 4),
    (145, "IQ2_KS", 256, 70, 2),
    (146, "IQ4_KSS", 256, 128, 4),
    (151, "Q8_KV", 32, 32, 8),
    (152, "IQ5_KS", 256, 168, 4),
    (153, "IQ2_KT", 256, 68, 4),
    (154, "IQ3_KT", 256, 100, 4),
    (155, "IQ4_KT", 256, 128, 4),
    (156, "IQ3_KS", 256, 102, 2),
    (157, "IQ2_KL", 256, 86, 2),
    (158, "IQ1_KT", 256, 56, 4),
    (202, "Q4_0_R8", 32, 18, 0),
    (206, "Q5_0_R4", 32, 22, 0),
    (208, "Q8_0_R8", 32, 34, 0),
    (210, "Q2_K_R4", 256, 84, 0),
    (211, "Q3_K_R4", 256, 110, 0),
    (212, "Q4_K_R4", 256, 144, 0),
    (213, "Q5_K_R4", 256, 176, 0),
    (214, "Q6_K_R4", 256, 210, 0),
    (216, "IQ2_XXS_R4", 256, 66, 0),
    (217, "IQ2_XS_R4", 256, 74, 0),
    (218, "IQ3_XXS_R4", 256, 98, 0),
    (219, "IQ1_S_R4", 32, 6, 2),
    (220, "IQ4_NL_R4", 32, 18, 0),
    (221, "IQ3_S_R4", 256, 110, 0),
    (222, "IQ2_S_R4", 256, 82, 0),
    (223, "IQ4_XS_R8", 256, 136, 0),
    (229, "IQ1_M_R4", 32, 7, 2),
    (230, "BF16_R16", 1, 2, 0),
    (233, "Q6_0_R4", 32, 26, 0),
    (335, "IQ2_BN_R4", 64, 16, 4),
    (337, "IQ2_K_R4", 256, 76, 0),
    (338, "IQ3_K_R4", 256, 110, 0),
    (339, "IQ4_K_R4", 256, 144, 0),
    (340, "IQ5_K_R4", 256, 176, 0),
    (344, "IQ4_KS_R4", 256, 136, 4),
    (352, "IQ5_KS_R4", 256, 168, 4),
    (353, "MXFP4_R8", 32, 17, 0),
    (397, "Q8_K_R16", 256, 258, 0),
    (398, "Q8_KV_R8", 32, 32, 4),
    (399, "Q8_K_R8", 256, 258, 0),
)
#: By number. Q2_0 is llama.cpp's since the autumn of 2026, and not yet in the `gguf` package.
FOREIGN_TYPES: dict[int, ForeignType] = {
    42: ForeignType(42, "Q2_0", 64, 18, 0, LLAMA),
    **{row[0]: ForeignType(*row) for row in _IK_TYPES},
}


def tensor_type(number: int) -> TensorType | None:
    """The type of this number; None if no runtime that we know has one."""
    try:
        return GGMLType(number)
    except ValueError:
        return FOREIGN_TYPES.get(number)


def native(kind: TensorType) -> GGMLType:
    """A type that is encoded and decoded here, which every type is of a file that was checked for that."""
    assert isinstance(kind, GGMLType), kind
    return kind


def block_size(kind: TensorType) -> int:
    """Elements in a block; a row must be a whole number of blocks."""
    return kind.elements if isinstance(kind, ForeignType) else GGML_QUANT_SIZES[kind][0]


def row_bytes(kind: TensorType, columns: int) -> int:
    """Bytes of a row of `columns` elements. `columns` must be a multiple of `block_size(kind)`."""
    if isinstance(kind, ForeignType):
        return columns // kind.elements * kind.nbytes + kind.row
    elements, size = GGML_QUANT_SIZES[kind]
    return columns // elements * size


def tensor_bytes(kind: TensorType, shape: Sequence[int]) -> int:
    """Bytes of a tensor of this row-major shape (the last axis is the row)."""
    return row_bytes(kind, shape[-1]) * prod(shape[:-1])


def bits_per_weight(kind: TensorType) -> float:
    if isinstance(kind, ForeignType):
        return 8 * kind.nbytes / kind.elements
    elements, size = GGML_QUANT_SIZES[kind]
    return 8 * size / elements


def widened(bf16: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """BF16 (its bits as uint16), which is a float32's upper half, as float32. Loses nothing."""
    bits = bf16.astype(np.uint32)
    bits <<= 16
    return bits.view(np.float32)
