"""Which stored weights are NaN or infinite, by tensor type.

A quantized block is spoilt by its scale: ggml's kernels multiply it with the small integers, and the result may even
be a finite number that is wrong. So the scale fields are read where each type keeps them (ggml/src/ggml-common.h).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gemma_mtp.ggml import GGMLType

Array = np.ndarray[Any, Any]


def _has_all_bits(words: Array, mask: int) -> Array:
    """An exponent of ones alone is what makes NaN and infinity."""
    found: Array = (words & words.dtype.type(mask)) == mask
    return found


def _f16(raw: Array) -> Array:
    return _has_all_bits(raw.view("<u2"), 0x7C00)


def _bf16(raw: Array) -> Array:
    return _has_all_bits(raw.view("<u2"), 0x7F80)


def _f32(raw: Array) -> Array:
    return _has_all_bits(raw.view("<u4"), 0x7F800000)


def _f64(raw: Array) -> Array:
    return _has_all_bits(raw.view("<u8"), 0x7FF << 52)


def _e8m0(raw: Array) -> Array:
    return _has_all_bits(raw, 0xFF)


def _ue4m3(raw: Array) -> Array:
    return _has_all_bits(raw, 0x7F)


def _iq1_m(raw: Array) -> Array:
    """IQ1_M spreads its F16 scale over the upper four bits of four 16-bit words."""
    words = raw.view("<u2") >> 12
    scale = words[:, 0] | words[:, 1] << 4 | words[:, 2] << 8 | words[:, 3] << 12
    return _has_all_bits(scale[:, None], 0x7C00)


@dataclass(frozen=True)
class Scale:
    """Bytes `start` to `stop` of a block, and what in them is not finite: [blocks, bytes] -> bool [blocks, numbers]."""

    start: int
    stop: int
    spoilt: Callable[[Array], Array]


SCALES: dict[GGMLType, tuple[Scale, ...]] = {
    GGMLType.F32: (Scale(0, 4, _f32),),
    GGMLType.F64: (Scale(0, 8, _f64),),
    GGMLType.F16: (Scale(0, 2, _f16),),
    GGMLType.BF16: (Scale(0, 2, _bf16),),
    GGMLType.Q4_0: (Scale(0, 2, _f16),),
    GGMLType.Q4_1: (Scale(0, 4, _f16),),
    GGMLType.Q5_0: (Scale(0, 2, _f16),),
    GGMLType.Q5_1: (Scale(0, 4, _f16),),
    GGMLType.Q8_0: (Scale(0, 2, _f16),),
    GGMLType.Q2_K: (Scale(80, 84, _f16),),
    GGMLType.Q3_K: (Scale(108, 110, _f16),),
    GGMLType.Q4_K: (Scale(0, 4, _f16),),
    GGMLType.Q5_K: (Scale(0, 4, _f16),),
    GGMLType.Q6_K: (Scale(208, 210, _f16),),
    GGMLType.IQ2_XXS: (Scale(0, 2, _f16),),
    GGMLType.IQ2_XS: (Scale(0, 2, _f16),),
    GGMLType.IQ2_S: (Scale(0, 2, _f16),),
    GGMLType.IQ3_XXS: (Scale(0, 2, _f16),),
    GGMLType.IQ3_S: (Scale(0, 2, _f16),),
    GGMLType.IQ1_S: (Scale(0, 2, _f16),),
    GGMLType.IQ1_M: (Scale(48, 56, _iq1_m),),
    GGMLType.IQ4_NL: (Scale(0, 2, _f16),),
    GGMLType.IQ4_XS: (Scale(0, 2, _f16),),
    GGMLType.TQ1_0: (Scale(52, 54, _f16),),
    GGMLType.TQ2_0: (Scale(64, 66, _f16),),
    GGMLType.MXFP4: (Scale(0, 1, _e8m0),),
    GGMLType.NVFP4: (Scale(0, 4, _ue4m3),),
    GGMLType.Q1_0: (Scale(0, 2, _f16),),
}


def first_spoilt(kind: GGMLType, blocks: Array) -> int | None:
    """The first block with a NaN or infinity in a float field; None if all are finite.

    blocks: uint8 [blocks, bytes of a block]. Types without float fields (integers) are always finite.
    """
    for scale in SCALES.get(kind, ()):
        field = np.ascontiguousarray(blocks[:, scale.start : scale.stop])
        bad = scale.spoilt(field).any(axis=1)
        if bad.any():
            return int(bad.argmax())
    return None
