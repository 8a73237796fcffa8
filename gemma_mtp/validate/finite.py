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


@dataclass(frozen=True)
class Scale:
    """Numbers at bytes `start` to `stop` of a block. words: the NumPy type of their bits; mask: the exponent's.

    joined: makes one word of several that hold parts of the number.
    """

    start: int
    stop: int
    words: str
    mask: int
    joined: Callable[[Array], Array] = lambda words: words

    def spoilt(self, raw: Array) -> Array:
        """uint8 [blocks, stop - start] -> bool [blocks, numbers]: an exponent of ones alone makes NaN and infinity."""
        words = self.joined(raw.view(self.words))
        found: Array = (words & words.dtype.type(self.mask)) == self.mask
        return found


def _iq1_m(words: Array) -> Array:
    """IQ1_M spreads its F16 scale over the upper four bits of four 16-bit words."""
    words = words >> 12
    return (words[:, 0] | words[:, 1] << 4 | words[:, 2] << 8 | words[:, 3] << 12)[:, None]


_T = GGMLType
_F16 = ("<u2", 0x7C00)
SCALES: dict[GGMLType, Scale] = {
    _T.F32: Scale(0, 4, "<u4", 0x7F800000),
    _T.F64: Scale(0, 8, "<u8", 0x7FF << 52),
    _T.BF16: Scale(0, 2, "<u2", 0x7F80),
    **{kind: Scale(0, 2, *_F16) for kind in (_T.F16, _T.Q4_0, _T.Q5_0, _T.Q8_0, _T.Q1_0, _T.IQ4_NL, _T.IQ4_XS)},
    **{kind: Scale(0, 2, *_F16) for kind in (_T.IQ2_XXS, _T.IQ2_XS, _T.IQ2_S, _T.IQ3_XXS, _T.IQ3_S, _T.IQ1_S)},
    **{kind: Scale(0, 4, *_F16) for kind in (_T.Q4_1, _T.Q5_1, _T.Q4_K, _T.Q5_K)},
    _T.Q2_K: Scale(80, 84, *_F16),
    _T.Q3_K: Scale(108, 110, *_F16),
    _T.Q6_K: Scale(208, 210, *_F16),
    _T.IQ1_M: Scale(48, 56, *_F16, _iq1_m),
    _T.TQ1_0: Scale(52, 54, *_F16),
    _T.TQ2_0: Scale(64, 66, *_F16),
    _T.MXFP4: Scale(0, 1, "u1", 0xFF),
    _T.NVFP4: Scale(0, 4, "u1", 0x7F),
}


def first_spoilt(kind: GGMLType, blocks: Array) -> int | None:
    """The first block with a NaN or infinity in a float field; None if all are finite.

    blocks: uint8 [blocks, bytes of a block]. Types without float fields (integers) are always finite.
    """
    scale = SCALES.get(kind)
    if scale is None:
        return None
    bad = scale.spoilt(np.ascontiguousarray(blocks[:, scale.start : scale.stop])).any(axis=1)
    return int(bad.argmax()) if bad.any() else None
