"""Fuzz the GGUF reader with atheris (coverage-guided random bytes).

    python -m venv fuzz && fuzz/bin/pip install atheris numpy 'gguf>=0.19,<0.20'
    PYTHONPATH=. fuzz/bin/python tools/fuzz_gguf.py -runs=1000000 -max_len=4096 -malloc_limit_mb=64 -timeout=2 [CORPUS]

It stops at the first input for which the reader does anything but give a header that lies inside the file, or raise a
GGUFError with the offset; libFuzzer's own limits catch large allocations (-malloc_limit_mb) and time (-timeout, s).
The input is tried as a whole file and as the beginning of a larger one (the case of a header read over HTTP).
"""

from __future__ import annotations

import struct
import sys

import atheris

with atheris.instrument_imports(include=["gemma_mtp"]):
    from gemma_mtp.errors import GGUFError
    from gemma_mtp.files import gguf_values as gv
    from gemma_mtp.files.gguf_reader import GGUFHeader, HeaderIncomplete, parse_header
    from gemma_mtp.files.gguf_values import ValueType
    from gemma_mtp.files.gguf_writer import TensorPlan, encode_header
    from gemma_mtp.ggml import GGMLType


def seed() -> bytes:
    """A small whole file, from which mutation starts."""
    metadata = {
        "general.alignment": gv.u32(32),
        "a.flags": gv.array(ValueType.BOOL, [True, False]),
        "a.texts": gv.strings(["one", "", "two"]),
        "a.number": gv.f32(1.0),
    }
    plans = [TensorPlan("a.weight", (2, 32), GGMLType.Q8_0), TensorPlan("b.weight", (8,), GGMLType.F32)]
    return encode_header(metadata, plans) + bytes(128)


def outcome(data: bytes, size: int) -> GGUFHeader | GGUFError:
    try:
        return parse_header(memoryview(data), size)
    except GGUFError as error:
        return error


def try_as(data: bytes, size: int) -> None:
    """`data` as the first bytes of a file of `size` bytes."""
    found = outcome(data, size)
    if isinstance(found, HeaderIncomplete):
        assert len(data) < found.needed <= size, (found.needed, size)
    elif isinstance(found, GGUFError):
        assert found.offset is not None, found
        assert 0 <= found.offset <= size, found
    else:
        for value in found.metadata.values():
            value.decode()
        for tensor in found.tensors.values():
            assert found.data_start <= tensor.offset <= tensor.offset + tensor.nbytes <= size


@atheris.instrument_func
def one_input(data: bytes) -> None:
    try_as(data, len(data))
    try_as(data, len(data) + 1_000_000)
    # Most random input dies at the magic: the same bytes behind a good preamble.
    try_as(b"GGUF" + struct.pack("<IQQ", 3, len(data) % 5, len(data) % 7) + data, len(data) + 24)


def mutator(data: bytes, max_size: int, seed_number: int) -> bytes:
    if not data.startswith(b"GGUF") and seed_number % 4 == 0:
        data = seed()
    return atheris.Mutate(data, max_size)


def main() -> None:
    atheris.Setup(sys.argv, one_input, custom_mutator=mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
