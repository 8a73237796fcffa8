"""Blocks of zero bytes are zeros in every type that can be decoded: none has to be decoded to know."""

from __future__ import annotations

import numpy as np
import pytest
from gguf.quants import dequantize

from gemma_mtp.ggml import block_size, row_bytes
from gemma_mtp.validate.finite import SCALES


@pytest.mark.parametrize("kind", SCALES, ids=lambda kind: kind.name)
def test_zero_bytes_are_zeros(kind):
    blocks = np.zeros((2, row_bytes(kind, block_size(kind))), np.uint8)
    try:
        values = dequantize(blocks, kind)
    except NotImplementedError:
        pytest.skip("gguf does not decode it")
    assert not values.any()
