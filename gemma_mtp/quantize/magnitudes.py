"""How large numbers are, before and after quantizing: NaN and Inf, and what a type cannot hold."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from gemma_mtp.errors import BadFileError
from gemma_mtp.ggml import FLOAT_TYPES, GGMLType, block_size, row_bytes
from gemma_mtp.quantize import kernels

Array = np.ndarray[Any, Any]

#: Signed and unsigned integers of a number's size.
INTEGERS: dict[GGMLType, tuple[Any, Any]] = {
    GGMLType.F32: (np.int32, np.uint32),
    GGMLType.F16: (np.int16, np.uint16),
    GGMLType.BF16: (np.int16, np.uint16),
}
#: The bits of positive infinity; NaNs lie above it.
INFINITY = {GGMLType.F32: 0x7F800000, GGMLType.F16: 0x7C00, GGMLType.BF16: 0x7F80}
#: The bits of 32768. Smaller numbers cannot overflow F16, in which most types keep their scales.
MODERATE = {GGMLType.F32: 0x47000000, GGMLType.F16: 0x7800, GGMLType.BF16: 0x4700}
#: No type with F16 scales reaches this: the largest scale, times 64 (a scale of scales), times 128 (a grid's number).
REACH = 2.0**32
#: Types whose numbers or scales have the range of float32.
WIDE_TYPES = frozenset({GGMLType.F32, GGMLType.BF16, GGMLType.MXFP4})
#: MXFP4: the largest number of a block that still has an exponent, and an exponent (biased by 127) that is suspect.
MXFP4_BLOCK, MXFP4_SMALLEST, MXFP4_USUAL = block_size(GGMLType.MXFP4), 2.0**-125, 127 + 32
#: Types that hold no real numbers, so that nothing can be wrong with them.
INTEGER_TYPES = frozenset({GGMLType.I8, GGMLType.I16, GGMLType.I32, GGMLType.I64})


def check_finite(name: str, raw: Array, kind: GGMLType, size: int, first_row: int) -> None:
    """Refuse NaN and Inf in rows of `size` bytes, the first of which is row `first_row` of tensor `name`.

    Raises BadFileError.
    """
    if kind in INTEGER_TYPES or _is_finite(raw, kind):
        return
    rows = raw.reshape(-1, size)
    bad = next(row for row in range(len(rows)) if not _is_finite(rows[row], kind))
    raise BadFileError(
        f"row {first_row + bad:,} holds NaN or Inf",
        where=name,
        hint="the file is damaged: download or convert it again",
    )


def _is_finite(raw: Array, kind: GGMLType) -> bool:
    if kind not in FLOAT_TYPES:
        return kernels.is_valid(kind, raw.ctypes.data, len(raw))
    return _is_below(raw, kind, INFINITY[kind])


def is_moderate(raw: Array, kind: GGMLType) -> bool:
    """Whether these are plain numbers below the limit of MODERATE."""
    return kind in FLOAT_TYPES and _is_below(raw, kind, MODERATE[kind])


def within_reach(kind: GGMLType, address: int, elements: int) -> bool:
    """Whether a type can hold float32 numbers of such a size at all.

    Where it cannot, kernels give zeros without a word, and those that search a grid abort the process.
    """
    if kind in WIDE_TYPES:
        return True
    numbers = _floats(address, elements)
    return bool(numbers.max(initial=0) < REACH and numbers.min(initial=0) > -REACH)


def is_valid(kind: GGMLType, address: int, nbytes: int, floats: int) -> bool:
    """Whether encoded data has only finite numbers and scales, and MXFP4's exponents are those of the float32 source.

    Its kernel computes the exponent of a block without looking at where it ends: numbers that are all below
    MXFP4_SMALLEST would come back as enormous ones.
    """
    encoded = np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(address))
    if not _is_finite(encoded, kind):
        return False
    if kind is not GGMLType.MXFP4:
        return True
    exponents = encoded[:: row_bytes(kind, MXFP4_BLOCK)]
    if exponents.max(initial=0) <= MXFP4_USUAL:
        return True
    largest = np.abs(_floats(floats, len(exponents) * MXFP4_BLOCK)).reshape(-1, MXFP4_BLOCK).max(axis=1)
    return not ((largest > 0) & (largest < MXFP4_SMALLEST)).any()


def _floats(address: int, elements: int) -> Array:
    return np.ctypeslib.as_array((ctypes.c_float * elements).from_address(address))


def _is_below(raw: Array, kind: GGMLType, limit: int) -> bool:
    """Whether all magnitudes are below the number with these bits.

    As signed integers the largest positive number comes out on top, as unsigned ones the largest negative number.
    """
    signed, unsigned = INTEGERS[kind]
    sign = 1 << (8 * np.dtype(signed).itemsize - 1)
    return bool(raw.view(signed).max(initial=0) < limit and raw.view(unsigned).max(initial=0) < (limit | sign))
