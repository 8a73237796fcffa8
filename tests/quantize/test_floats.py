"""Plain numbers among each other: NumPy's bytes are ggml's, whichever package brings it."""

from __future__ import annotations

import numpy as np
import pytest

from gemma_mtp.ggml import GGMLType
from gemma_mtp.quantize import floats, kernels


def widened(module, kind: GGMLType, stored: np.ndarray) -> np.ndarray:
    out = np.empty(stored.size, np.float32)
    module.widen(kind, stored.ctypes.data, out.ctypes.data, stored.size)
    return out


def narrowed(module, kind: GGMLType, numbers: np.ndarray) -> np.ndarray:
    out = np.zeros(numbers.size, np.uint16)
    assert module.quantize(kind, numbers.ctypes.data, out.ctypes.data, 1, numbers.size, None) == out.nbytes
    return out


@pytest.mark.parametrize("kind", [GGMLType.F16, GGMLType.BF16])
def test_every_16_bit_number_widens_as_in_ggml(kind):
    every = np.arange(1 << 16, dtype=np.uint16)
    ours, theirs = widened(floats, kind, every), widened(kernels, kind, every)
    numbers = ~np.isnan(theirs)
    np.testing.assert_array_equal(np.isnan(ours), ~numbers)
    np.testing.assert_array_equal(ours[numbers].view(np.uint32), theirs[numbers].view(np.uint32))


@pytest.mark.parametrize("kind", [GGMLType.F16, GGMLType.BF16])
def test_numbers_ties_and_extremes_narrow_as_in_ggml(kind):
    rng = np.random.default_rng(7)
    patterns = rng.integers(0, 1 << 32, 1 << 18, dtype=np.uint32)
    ties = (rng.integers(0, 1 << 16, 1 << 16, dtype=np.uint32) << 16) | 0x8000
    numbers = np.concatenate([patterns, ties, [0, 1 << 31, 0x7F800000, 0xFF800000, 0x7F800001]]).astype(np.uint32)
    numbers = np.ascontiguousarray(numbers.view(np.float32))
    ours, theirs = narrowed(floats, kind, numbers), narrowed(kernels, kind, numbers)
    chosen = ~np.isnan(numbers) if kind is GGMLType.F16 else np.ones(len(numbers), bool)
    np.testing.assert_array_equal(ours[chosen], theirs[chosen])
    if kind is GGMLType.F16:
        assert np.isnan(ours[~chosen].view(np.float16)).all()


def test_both_packages_quantize_to_the_same_bytes():
    """The kernels of every provider that is installed agree on every type that needs no importance matrix."""
    libraries = [kernels._bound(path) for provider in kernels.PROVIDERS if (path := provider.library())]
    if len(libraries) < 2:
        pytest.skip("one package with ggml is installed")
    rows, columns = 4, 512
    numbers = np.random.default_rng(3).standard_normal((rows, columns)).astype(np.float32)
    for kind in (GGMLType.Q8_0, GGMLType.Q4_0, GGMLType.Q4_K, GGMLType.Q6_K, GGMLType.IQ4_XS, GGMLType.IQ3_S):
        encoded = []
        for library in libraries:
            out = np.zeros(numbers.nbytes, np.uint8)
            size = library.ggml_quantize_chunk(kind, numbers.ctypes.data, out.ctypes.data, 0, rows, columns, None)
            encoded.append(bytes(out[:size]))
        assert encoded[0] == encoded[1], kind.name
