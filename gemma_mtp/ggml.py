"""ggml's tensor types: their ids and block sizes, as the `gguf` package tables them."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

GGMLType = GGMLQuantizationType

#: Types that hold plain numbers, one an element.
FLOAT_TYPES = frozenset({GGMLType.F32, GGMLType.F16, GGMLType.BF16})


def block_size(kind: GGMLType) -> int:
    """Elements in a block; a row must be a whole number of blocks."""
    return GGML_QUANT_SIZES[kind][0]


def row_bytes(kind: GGMLType, columns: int) -> int:
    """Bytes of a row of `columns` elements. `columns` must be a multiple of `block_size(kind)`."""
    elements, size = GGML_QUANT_SIZES[kind]
    return columns // elements * size


def tensor_bytes(kind: GGMLType, shape: Sequence[int]) -> int:
    """Bytes of a tensor of this row-major shape (the last axis is the row)."""
    return row_bytes(kind, shape[-1]) * prod(shape[:-1])


def bits_per_weight(kind: GGMLType) -> float:
    elements, size = GGML_QUANT_SIZES[kind]
    return 8 * size / elements
