"""Speed of `quantize` against bare ggml_quantize_chunk and llama_model_quantize, in one run, interleaved.

    python benchmarks/quantize.py [--types Q4_0 Q8_0 Q4_K_M Q6_K] [--repeats 3] [--threads N] [--folder DIR]

On a full-size random 26B-A4B assistant (419 million parameters, 839 MB of BF16). "bare" is what the kernels alone take:
every tensor in its final type, from float32 in memory to memory, by as many threads; nothing is read, widened, checked
or written. Each figure is the best of the repeats. `kernel share` is bare / ours (1.00: as quick as the kernels),
`times llama.cpp` is llama.cpp's time / ours; both make the same tensors, which is checked. Types marked "pure" give
every matrix the one type, as recipes do.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from full_size import config

from gemma_mtp.cores import available_cores
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_reader import GGUFFile
from gemma_mtp.files.gguf_writer import GGUFWriter, TensorPlan
from gemma_mtp.ggml import FLOAT_TYPES, GGMLType, row_bytes
from gemma_mtp.model.config import parse_config
from gemma_mtp.model.family import slots
from gemma_mtp.model.gguf_keys import written_keys
from gemma_mtp.quantize import FILE_TYPES, Output, kernels, parse_override, quantize_file

GROUPS = ("head", "attention", "mlp", "projections")
BLOCK = 1 << 20  # elements for each call of the bare kernels


def write_assistant(path: Path) -> None:
    """The random assistant, seeded."""
    model = parse_config(config("26B-A4B"), path)
    generator = np.random.default_rng(26)
    keys = {"general.architecture": gv.string("gemma4-assistant"), **written_keys(model)}
    plans = [
        TensorPlan(slot.mainline_name, slot.shape(model), GGMLType.F32 if slot.role.plain else GGMLType.BF16)
        for slot in slots(model)
    ]
    with GGUFWriter(path, keys, plans, force=True) as writer:
        for plan in plans:
            numbers = generator.standard_normal(plan.shape, np.float32) * np.float32(0.02)
            raw = numbers if plan.type is GGMLType.F32 else (numbers.view(np.uint32) >> 16).astype(np.uint16)
            writer.write_next([raw.data.cast("B")])


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def bare(quantized: Path, threads: int) -> float:
    """Seconds of the kernels alone for the tensors of a finished file: from whole float32 tensors to whole results."""
    with GGUFFile(quantized) as file:
        tensors = [(tensor.type, *tensor.shape) for tensor in file.tensors.values() if tensor.type not in FLOAT_TYPES]
    elements = max(rows * columns for _, rows, columns in tensors)
    floats = np.resize(np.random.default_rng(1).standard_normal(1 << 22, np.float32) * np.float32(0.02), elements)
    encoded = np.ones(max(row_bytes(kind, columns) * rows for kind, rows, columns in tensors), np.uint8)

    def block(kind: GGMLType, columns: int, row: int, rows: int) -> None:
        source, target = floats[row * columns :].ctypes.data, encoded[row * row_bytes(kind, columns) :].ctypes.data
        kernels.quantize(kind, source, target, rows, columns, None)

    with ThreadPoolExecutor(threads) as pool:
        blocks = [
            (kind, columns, row, min(BLOCK // columns, rows - row))
            for kind, rows, columns in tensors
            for row in range(0, rows, BLOCK // columns)
        ]
        return timed(lambda: list(pool.map(lambda arguments: block(*arguments), blocks)))


def llama_seconds(source: Path, output: Path, number: int, threads: int, pure: bool, kind: GGMLType) -> float:
    from llama_cpp import llama_cpp as llama

    llama.llama_log_set(QUIET, None)
    params = llama.llama_model_quantize_default_params()
    params.ftype, params.nthread = number, threads
    if pure:
        params.pure, params.token_embedding_type, params.output_tensor_type = True, kind, kind
    call = (str(source).encode(), str(output).encode(), ctypes.byref(params))
    return timed(lambda: llama.llama_model_quantize(*call) and sys.exit("llama_model_quantize failed"))


QUIET = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)


def same_tensors(one: Path, other: Path) -> bool:
    """Whether two files hold the same tensors: names, types and bytes."""
    with GGUFFile(one) as left, GGUFFile(other) as right:
        kinds = [[(tensor.name, tensor.type) for tensor in file.tensors.values()] for file in (left, right)]
        return kinds[0] == kinds[1] and all(
            np.array_equal(left.data(tensor), right.data(right.tensors[name])) for name, tensor in left.tensors.items()
        )


def measure(source: Path, folder: Path, wanted: str, repeats: int, threads: int) -> dict[str, object]:
    name, _, mode = wanted.partition(":")
    kind, pure = FILE_TYPES[name], mode == "pure"
    overrides = [parse_override(f"{group}={kind.base.name}") for group in GROUPS] if pure else []
    ours, theirs = folder / "ours.gguf", folder / "theirs.gguf"

    def quantize() -> None:
        quantize_file(source, [Output(ours, name)], overrides=overrides, force=True, threads=threads)

    seconds: dict[str, list[float]] = {"bare": [], "ours": [], "llama": []}
    quantize()  # a warm-up, whose file tells `bare` the types
    for _ in range(repeats):
        seconds["bare"].append(bare(ours, threads))
        ours.unlink()
        seconds["ours"].append(timed(quantize))
        theirs.unlink(missing_ok=True)
        seconds["llama"].append(llama_seconds(source, theirs, kind.number, threads, pure, kind.base))
    best = {engine: min(times) for engine, times in seconds.items()}
    same = same_tensors(ours, theirs)
    ours.unlink()
    theirs.unlink()
    return {
        "type": wanted,
        **{f"{engine}_seconds": round(value, 3) for engine, value in best.items()},
        "kernel_share": round(best["bare"] / best["ours"], 3),
        "times_llama": round(best["llama"] / best["ours"], 2),
        "same_tensors": same,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--types", nargs="+", default=["Q4_0", "Q4_0:pure", "Q8_0", "Q4_K_M", "Q4_K_S:pure", "Q6_K"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--folder", type=Path, help="Where the files go, some GB; the source is kept there.")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        source = folder / "assistant-BF16.gguf"
        if not source.exists():
            write_assistant(source)
        rows = [measure(source, folder, name, options.repeats, options.threads) for name in options.types]
    if not all(row["same_tensors"] for row in rows):
        sys.exit(f"other tensors than llama.cpp's: {[row['type'] for row in rows if not row['same_tensors']]}")
    if options.json:
        print(json.dumps({"threads": options.threads, "load": os.getloadavg()[0], "results": rows}, indent=2))
        return
    print(f"{options.threads} threads, load {os.getloadavg()[0]:.1f}")
    print(f"{'type':14s}{'bare':>8s}{'ours':>8s}{'llama.cpp':>11s}{'kernel share':>14s}{'times llama.cpp':>17s}")
    for row in rows:
        print(
            f"{row['type']:14s}{row['bare_seconds']:7.2f}s{row['ours_seconds']:7.2f}s{row['llama_seconds']:10.2f}s"
            f"{row['kernel_share']:14.2f}{row['times_llama']:17.2f}"
        )


if __name__ == "__main__":
    main()
