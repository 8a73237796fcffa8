"""F32, F16 and BF16 among each other, bit for bit as ggml does it, in NumPy alone: no package with ggml is needed.

The functions have the shape of those of `kernels`, so that a caller takes either.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from gemma_mtp.ggml import FLOAT_TYPES, GGMLType, row_bytes, widened

Array = np.ndarray[Any, Any]

#: How many bits of a float32 are missing from a BF16, which is its upper half.
CUT = 16
#: BF16's quiet bit. ggml sets it in every NaN, lest one whose bits are all in the lower half becomes an infinity.
QUIET = 0x40
INFINITE = 0x7F800000


def is_float(*kinds: GGMLType) -> bool:
    """Whether all of these are plain numbers."""
    return FLOAT_TYPES.issuperset(kinds)


def widen(kind: GGMLType, source: int, target: int, elements: int) -> None:
    """Decode `elements` elements of F16 or BF16 at address `source` to float32 at address `target`."""
    floats = _at(target, 4 * elements).view(np.float32)
    stored = _at(source, row_bytes(kind, elements))
    if kind is GGMLType.F16:
        np.copyto(floats, stored.view(np.float16))
    else:
        np.copyto(floats, widened(stored.view(np.uint16)))


def quantize(kind: GGMLType, source: int, target: int, rows: int, columns: int, importance: int | None = None) -> int:
    """Encode float32 [rows, columns] at `source` to `target`, rounding to the nearest, ties to even.

    Returns the bytes written. Plain numbers have no use for an importance matrix.
    """
    floats = _at(source, 4 * rows * columns).view(np.float32)
    encoded = _at(target, rows * row_bytes(kind, columns))
    with np.errstate(over="ignore"):  # too large for F16: the caller looks at what came out
        encoded[:] = narrowed(kind, floats).view(np.uint8)
    return encoded.nbytes


def narrowed(kind: GGMLType, floats: Array) -> Array:
    """float32 as F32, F16 or BF16 (in uint16) of the same shape, to the nearest, ties to even."""
    if kind is GGMLType.F32:
        return floats
    if kind is GGMLType.F16:
        return floats.astype(np.float16)
    bits = floats.view(np.uint32)
    rounded = (bits >> CUT) & 1
    rounded += (1 << (CUT - 1)) - 1
    rounded += bits
    rounded >>= CUT
    nan = (bits & 0x7FFFFFFF) > INFINITE
    if nan.any():
        rounded[nan] = (bits[nan] >> CUT) | QUIET
    return rounded.astype(np.uint16)


def _at(address: int, nbytes: int) -> Array:
    """The memory there as uint8."""
    return np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(address))
