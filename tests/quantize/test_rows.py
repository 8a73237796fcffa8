"""Rows through ggml's kernels: how near the result stays, what is refused, and that blocks and threads don't show.

A type's bound is a share of the largest magnitude in a block of 256, about a fifth above the worst that some ten
thousand random rows showed; types with plain scales have theirs by construction (a step, or half of one).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from gguf.quants import dequantize
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gemma_mtp.errors import BadFileError, UsageError
from gemma_mtp.ggml import GGMLType, row_bytes
from gemma_mtp.quantize import RowEncoder, kernels, rows
from gemma_mtp.quantize.magnitudes import REACH
from gemma_mtp.quantize.rows import Job, Stored
from gemma_mtp.quantize.types import TENSOR_TYPES

T = GGMLType
ROWS, COLUMNS, BLOCK = 2, 512, 256

#: Type -> the largest error, as a share of the block's largest magnitude.
BOUNDS = {
    T.F32: 0.0,
    T.F16: 2**-11,
    T.BF16: 2**-8,
    T.Q8_0: 0.0045,
    T.Q6_K: 0.05,
    T.Q5_K: 0.07,
    T.Q5_0: 1 / 16 + 0.001,
    T.Q5_1: 0.06,
    T.Q4_K: 0.15,
    T.Q4_0: 1 / 8 + 0.001,
    T.Q4_1: 0.11,
    T.IQ4_NL: 0.15,
    T.IQ4_XS: 0.17,
    T.MXFP4: 0.26,
    T.Q3_K: 0.30,
    T.Q2_K: 0.50,
    T.IQ3_S: 0.55,
    T.IQ3_XXS: 0.65,
    T.IQ2_S: 0.75,
    T.IQ2_XS: 0.80,
    T.IQ2_XXS: 1.0,
    T.TQ2_0: 0.501,
    T.TQ1_0: 0.501,
    T.Q1_0: 1.001,
    T.IQ1_S: 1.2,
    T.IQ1_M: 1.5,
}
#: Rows that are zero but for one number in twenty are what fitted scales are worst at.
SPARSE_BOUNDS = BOUNDS | {T.Q2_K: 0.8, T.IQ3_S: 2.5, T.IQ1_M: 20.0}
#: F16 scales end at 2^-24, and what is smaller goes with them: steps of that, times a scale of scales and a quant.
FLOOR = 2.0**-24 * 64 * 16
FLOORS = dict.fromkeys(TENSOR_TYPES.values(), FLOOR) | {T.F32: 0.0, T.BF16: 2.0**-133, T.MXFP4: 2.0**-126}

KINDS = pytest.mark.parametrize("kind", TENSOR_TYPES.values(), ids=lambda kind: kind.name)


def encoded(
    numbers: np.ndarray,
    kind: GGMLType,
    *,
    source: GGMLType = T.F32,
    shape: tuple[int, ...] | None = None,
    importance: np.ndarray | None = None,
    threads: int = 1,
    **options: bool,
) -> bytes:
    tensor = Stored("blk.0.ffn_up.weight", numbers, shape or numbers.shape, source, importance)
    with RowEncoder(threads, **options) as encoder:
        (result,) = map(joined, encoder.encode([Job(tensor, kind, lambda _: None)]))
    return result


def joined(pieces: Iterable[memoryview]) -> bytes:
    """Copied one by one: a piece is valid until the next is asked for."""
    return b"".join(bytes(piece) for piece in pieces)


def decoded(raw: bytes, kind: GGMLType, shape: Sequence[int]) -> np.ndarray:
    """By the gguf package's own code where it knows the type, otherwise by ggml."""
    data = np.frombuffer(raw, np.uint8)
    try:
        return dequantize(data.reshape(*shape[:-1], -1), kind).reshape(shape)
    except NotImplementedError:
        numbers = np.empty(shape, np.float32)
        kernels.widen(kind, data.ctypes.data, numbers.ctypes.data, numbers.size)
        return numbers


def importance_for(kind: GGMLType) -> np.ndarray | None:
    """Where the kernel cannot do without."""
    return np.linspace(0.1, 2.0, COLUMNS, dtype=np.float32) if kernels.requires_importance(kind) else None


def numbers_of(name: str, scale: float, seed: int) -> np.ndarray:
    """Float32 [ROWS, COLUMNS] of a certain kind, with magnitudes about `scale`."""
    random = np.random.default_rng(seed)
    normal = random.standard_normal((ROWS, COLUMNS))
    made = {
        "normal": normal,
        "heavy tails": normal**3,
        "constant": np.full((ROWS, COLUMNS), normal[0, 0]),
        "zero": np.zeros((ROWS, COLUMNS)),
        "one outlier": np.where(np.arange(COLUMNS) == seed % COLUMNS, 40, normal),
        "sparse": normal * (random.random((ROWS, COLUMNS)) < 0.05),
        "positive": np.abs(normal),
        "few levels": np.round(normal),
        "scales apart": normal * 10.0 ** -random.integers(0, 8, (ROWS, COLUMNS // 32)).repeat(32, axis=1),
    }[name]
    with np.errstate(over="ignore"):
        return np.clip(made * scale, -3e38, 3e38).astype(np.float32)


#: Above this a type may refuse a number; all others above 2^15, with which a scale in F16 may overflow.
LARGE = {T.F32: np.inf, T.BF16: 3e38, T.MXFP4: np.inf}

NAMES = ["normal", "heavy tails", "constant", "zero", "one outlier", "sparse", "positive", "few levels", "scales apart"]
#: Subnormal, tiny, usual, large, too large for F16 scales, near float32's end.
SCALES = [1e-42, 1e-39, 1e-20, 1e-6, 0.02, 1.0, 1e3, 1e6, 1e12, 1e20, 1e38]


@KINDS
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(name=st.sampled_from(NAMES), scale=st.sampled_from(SCALES), seed=st.integers(0, 2**32 - 1))
@example(name="normal", scale=1e-42, seed=0)
@example(name="zero", scale=1.0, seed=0)
@example(name="normal", scale=1e38, seed=0)
@example(name="constant", scale=0.02, seed=1)
def test_errors_stay_within_the_types_bound(kind: GGMLType, name: str, scale: float, seed: int):
    """Or the rows are refused, which only those may be whose numbers the type's scales cannot hold."""
    numbers = numbers_of(name, scale, seed)
    raw = encoded_or_refused(numbers, kind)
    if raw is None:
        largest = np.abs(numbers).max()
        assert largest >= LARGE.get(kind, 2.0**15) or (
            kind is T.MXFP4 and np.abs(numbers[numbers != 0]).min() < 2**-125
        )
        return
    assert len(raw) == ROWS * row_bytes(kind, COLUMNS)
    result = decoded(raw, kind, numbers.shape)
    assert np.isfinite(result).all()
    blocks = (ROWS, COLUMNS // BLOCK, BLOCK)
    errors = np.abs(result.astype(np.float64) - numbers).reshape(blocks).max(axis=-1)
    largest = np.abs(numbers.astype(np.float64)).reshape(blocks).max(axis=-1)
    bound = (SPARSE_BOUNDS if name == "sparse" else BOUNDS)[kind]
    assert (errors <= bound * largest + FLOORS[kind]).all(), (errors / np.maximum(largest, 1e-300)).max()


def encoded_or_refused(numbers: np.ndarray, kind: GGMLType) -> bytes | None:
    try:
        return encoded(numbers, kind, importance=importance_for(kind))
    except BadFileError as error:
        if "too large" not in str(error):
            raise
        return None


@KINDS
def test_numbers_that_no_scale_can_hold_are_refused(kind: GGMLType):
    """Kernels make zeros of them without a word, and some abort the process."""
    numbers = numbers_of("normal", 1.0, 3)
    numbers[1, 300] = REACH * 2
    if kind in (T.F32, T.BF16, T.MXFP4):
        assert decoded(encoded(numbers, kind), kind, numbers.shape)[1, 300] == pytest.approx(REACH * 2, rel=0.26)
        return
    with pytest.raises(BadFileError, match="too large"):
        encoded(numbers, kind, importance=importance_for(kind))


def as_stored(numbers: np.ndarray, source: GGMLType) -> np.ndarray:
    """Float32 with all its NaN and Inf in the form of `source`."""
    if source is T.BF16:
        return (numbers.view(np.uint32) >> 16).astype(np.uint16)
    with np.errstate(over="ignore"):
        return numbers.astype(np.float16) if source is T.F16 else numbers


@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf], ids=["nan", "-nan", "inf", "-inf"])
@pytest.mark.parametrize("source", [T.F32, T.F16, T.BF16], ids=lambda kind: kind.name)
@pytest.mark.parametrize("kind", [T.Q8_0, T.Q4_0, T.Q4_K, T.IQ3_S, T.F16, T.F32, T.BF16], ids=lambda kind: kind.name)
def test_nan_and_inf_are_refused_by_tensor_and_row(kind: GGMLType, source: GGMLType, bad: float):
    """Copies are checked as well."""
    numbers = np.zeros((700, COLUMNS), np.float32)
    numbers[600, 17] = bad
    with pytest.raises(BadFileError, match="row 600 holds NaN or Inf") as error:
        encoded(as_stored(numbers, source), kind, source=source)
    assert error.value.where == "blk.0.ffn_up.weight"


def test_a_damaged_scale_of_a_quantized_source_is_refused():
    raw = np.frombuffer(encoded(numbers_of("normal", 1.0, 0), T.Q8_0), np.uint8).reshape(ROWS, -1).copy()
    raw[1, :2] = [0, 0x7C]  # infinity in F16
    with pytest.raises(BadFileError, match="row 1 holds NaN or Inf"):
        encoded(raw, T.Q4_0, source=T.Q8_0, shape=(ROWS, COLUMNS))


@pytest.mark.parametrize("kind", [T.Q8_0, T.Q4_K, T.F16], ids=lambda kind: kind.name)
def test_nan_can_be_allowed(kind: GGMLType):
    numbers = numbers_of("normal", 1.0, 0)
    numbers[1, 5] = np.nan
    assert len(encoded(numbers, kind, allow_nonfinite=True)) == ROWS * row_bytes(kind, COLUMNS)
    with pytest.raises(BadFileError):  # this kernel would abort the process
        encoded(numbers, T.IQ3_S, allow_nonfinite=True)


def test_a_type_that_cannot_do_without_importance_says_so():
    with pytest.raises(UsageError, match="needs an importance matrix"):
        encoded(numbers_of("normal", 1.0, 0), T.IQ2_XS)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces and slices so small that even a small tensor needs many."""
    monkeypatch.setattr(rows, "PIECE", 4 * COLUMNS)
    monkeypatch.setattr(rows, "SLICE", 3 * COLUMNS)


@pytest.mark.parametrize("importance", [False, True], ids=["plain", "importance"])
@pytest.mark.parametrize("source", [T.F32, T.F16, T.BF16], ids=lambda kind: kind.name)
@pytest.mark.parametrize("kind", [T.Q8_0, T.Q4_K, T.BF16], ids=lambda kind: kind.name)
def test_blocks_and_threads_do_not_show(kind: GGMLType, source: GGMLType, importance: bool, small_blocks: None):
    """Three experts of 23 rows, in pieces of 4 rows by 3 threads, against one call of the kernel for each expert."""
    numbers = np.random.default_rng(1).standard_normal((3, 23, COLUMNS), np.float32)
    stored = as_stored(numbers, source)
    wide = decoded(stored.tobytes(), source, numbers.shape)
    weights = np.random.default_rng(2).random((3, COLUMNS), np.float32) + 0.1 if importance else None
    if kind is source:
        expected = stored.tobytes()
    else:
        expected = b"".join(
            kernel_alone(wide[expert], kind, weights[expert] if importance else None) for expert in range(3)
        )
    assert encoded(stored, kind, source=source, importance=weights, threads=3) == expected


def kernel_alone(numbers: np.ndarray, kind: GGMLType, weights: np.ndarray | None) -> bytes:
    numbers, target = np.ascontiguousarray(numbers), np.zeros(len(numbers) * row_bytes(kind, COLUMNS), np.uint8)
    weights = None if weights is None else np.ascontiguousarray(weights)
    kernels.quantize(
        kind, numbers.ctypes.data, target.ctypes.data, *numbers.shape, None if weights is None else weights.ctypes.data
    )
    return target.tobytes()


def test_a_stream_of_tensors_keeps_their_order(small_blocks: None):
    """Several tensors in work at once; each one's bytes, and its progress, are its own."""
    random = np.random.default_rng(0)
    tensors = [random.standard_normal((count, COLUMNS), np.float32) for count in (1, 40, 3, 17)]
    done = dict.fromkeys(range(len(tensors)), 0)

    def counting(number: int):
        return lambda count: done.update({number: done[number] + count})

    jobs = [
        Job(Stored(f"{number}.weight", tensor, tensor.shape, T.F32), kind, counting(number))
        for number, (tensor, kind) in enumerate(zip(tensors, (T.Q4_0, T.F32, T.F16, T.Q8_0), strict=True))
    ]
    with RowEncoder(3) as encoder:
        results = list(map(joined, encoder.encode(jobs)))
    for job, result, tensor in zip(jobs, results, tensors, strict=True):
        assert result == (tensor.tobytes() if job.wanted is T.F32 else kernel_alone(tensor, job.wanted, None))
    assert list(done.values()) == [tensor.nbytes for tensor in tensors]
