"""What `gemma-mtp verify` costs on a pair with Gemma 4's full vocabulary (262,144 tokens, 514,906 merges).

    python benchmarks/verify.py VOCABULARY.gguf [--reader]

VOCABULARY.gguf: a vocabulary-only GGUF of Gemma 4, for instance models/ggml-vocab-gemma-4.gguf in the sources of
llama.cpp (llama-cpp-python's source archive has it). A pair of the E2B shape is written around it, with sparse weights,
and the whole command is timed in a process of its own, best of five. Goals: under 1.5 s and under 300 MB.
--reader: how long the gguf package's reader takes for the same file, for comparison (about twenty seconds).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from gemma_mtp.convert.metadata import architecture, model_metadata
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_reader import GGUFFile
from gemma_mtp.files.gguf_values import Value
from gemma_mtp.files.gguf_writer import TensorPlan, encode_header, padded
from gemma_mtp.ggml import GGMLType
from gemma_mtp.model.config import Hyperparameters
from gemma_mtp.model.roles import ROPE_FREQS, Slot, slots

#: The published shape of E2B, as far as it is known: header work is what is measured here.
E2B = Hyperparameters(
    part="target",
    architecture="",
    layers=35,
    hidden=1536,
    intermediate=6144,
    heads=8,
    kv_heads_sliding=1,
    kv_heads_full=1,
    head_dim_sliding=256,
    head_dim_full=512,
    sliding=tuple(layer % 5 != 4 for layer in range(35)),
    sliding_window=512,
    context=131072,
    norm_epsilon=1e-6,
    rope_base_sliding=1e4,
    rope_base_full=1e6,
    rotary_share_full=0.25,
    vocabulary=262144,
    logit_softcap=None,
    shared_kv_layers=20,
    per_layer_input=256,
    double_wide_mlp=True,
    values_are_keys=False,
    experts=0,
    experts_used=0,
    expert_intermediate=0,
)
ASSISTANT = replace(
    E2B,
    part="assistant",
    layers=4,
    hidden=256,
    intermediate=2048,
    heads=4,
    sliding=(True, True, True, False),
    shared_kv_layers=4,
    per_layer_input=0,
    double_wide_mlp=False,
    backbone=1536,
)


def write_sparse(path: Path, model: Hyperparameters, vocabulary: dict[str, Value]) -> None:
    """A file of `model` whose weights are holes (zeros), except for the rope factors."""
    factors = np.array(model.rope_factors(), "<f4")
    plans = [TensorPlan("rope_freqs.weight", Slot(ROPE_FREQS, None).shape(model), GGMLType.F32)]
    for slot in slots(model):
        if slot.needed(model):
            kind = GGMLType.F32 if slot.role.plain else GGMLType.BF16
            plans.append(TensorPlan(slot.mainline_name, slot.shape(model), kind))
    general = {"general.architecture": gv.string(architecture(model)), "general.name": gv.string("Gemma 4 E2B It")}
    header = encode_header({**general, **model_metadata(model), **vocabulary}, plans)
    with path.open("wb") as file:
        file.write(header + factors.tobytes())
        file.truncate(len(header) + sum(padded(plan.nbytes) for plan in plans))


def run(command: list[str]) -> tuple[float, float, float, str]:
    """Seconds by the clock, seconds of CPU time, peak memory in MB, output."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, output
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, output


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vocabulary", type=Path)
    parser.add_argument("--reader", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, GGUFFile(arguments.vocabulary) as file:
        vocabulary = {key: value for key, value in file.metadata.items() if key.startswith("tokenizer.")}
        paths = [Path(folder, name) for name in ("target.gguf", "mtp-target.gguf")]
        for path, model in zip(paths, (E2B, ASSISTANT), strict=True):
            write_sparse(path, model, vocabulary)
        command = [sys.executable, "-m", "gemma_mtp", "verify", *map(str, paths), "--json"]
        runs = [run(command) for _ in range(5)]
        report = json.loads(runs[0][3])
        print(f"verdict: {report['verdict']} ({len(report['checks'])} checks)")
        seconds, cpu = (min(values) for values in list(zip(*runs, strict=True))[:2])
        print(f"verify: {seconds:.2f} s ({cpu:.2f} s of CPU time), {max(peak for _, _, peak, _ in runs):.0f} MB")
        if arguments.reader:
            code = f"from gguf import GGUFReader; GGUFReader({str(paths[1])!r})"
            seconds, cpu, peak, _ = run([sys.executable, "-c", code])
            print(f"gguf's reader, one file: {seconds:.1f} s ({cpu:.1f} s of CPU time), {peak:.0f} MB")


if __name__ == "__main__":
    main()
