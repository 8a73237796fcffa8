"""What `gemma-mtp verify` costs on a pair with Gemma 4's full vocabulary (262,144 tokens, 514,906 merges).

    python benchmarks/verify.py [--vocabulary FILE.gguf] [--reader]

A pair of the E2B shape is written around the vocabulary, with sparse weights, and the whole command is timed in a
process of its own, best of five. Then a pair with headers of the same size is put on a local Hub, and checked there.
Goals: under 1.5 s and under 300 MB; a header on the Hub in one or two range requests.

--vocabulary: a vocabulary-only GGUF of Gemma 4, for instance models/ggml-vocab-gemma-4.gguf in the sources of llama.cpp
(llama-cpp-python's source archive has it); a random one of the same size without.
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
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

from full_size import VOCABULARY, tokenizer

from gemma_mtp.files.gguf_reader import GGUFFile
from gemma_mtp.files.gguf_values import Value
from gemma_mtp.model.config import Hyperparameters
from gemma_mtp.sources.tokenizer import tokenizer_metadata

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from helpers.local_hub.stub import HubStub
from helpers.real_shapes import drafter_of, write_hollow
from helpers.tiny_pairs import TARGET

#: The published shape of E2B, as far as it is known: header work is what is measured here.
E2B = replace(
    TARGET,
    layers=35,
    hidden=1536,
    intermediate=6144,
    heads=8,
    kv_heads_sliding=1,
    head_dim_sliding=256,
    head_dim_full=512,
    sliding=tuple(layer % 5 != 4 for layer in range(35)),
    sliding_window=512,
    context=131072,
    vocabulary=VOCABULARY,
    shared_kv_layers=20,
    per_layer_input=256,
    double_wide_mlp=True,
)
ASSISTANT = replace(drafter_of(E2B), hidden=256, intermediate=2048, heads=4, per_layer_input=0, double_wide_mlp=False)
#: The same headers around weights that fit into a local Hub's memory.
NARROW = {"hidden": 64, "intermediate": 64, "per_layer_input": 0, "head_dim_sliding": 64, "head_dim_full": 128}


def write_pair(
    folder: Path, models: tuple[Hyperparameters, Hyperparameters], vocabulary: dict[str, Value]
) -> list[Path]:
    paths = [folder / name for name in ("target.gguf", "mtp-target.gguf")]
    for path, model in zip(paths, models, strict=True):
        write_hollow(path, model, "BF16", vocabulary)
    return paths


def random_vocabulary(folder: Path) -> dict[str, Value]:
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer()), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text("{}")
    (folder / "config.json").write_text(json.dumps({"bos_token_id": 2, "eos_token_id": 1}))
    return tokenizer_metadata(folder, VOCABULARY)


def vocabulary_of(path: Path) -> dict[str, Value]:
    with GGUFFile(path) as file:
        pairs = file.metadata.items()
        return {
            key: replace(value, payload=bytes(value.payload)) for key, value in pairs if key.startswith("tokenizer.")
        }


def in_a_process(make: Callable[[Path], dict[str, Value]], path: Path) -> dict[str, Value]:
    """What is made, without the memory that it took: a process's peak counts for those that it starts, too."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(make, path).result()


def run(command: list[str], **environment: str) -> tuple[float, float, float, str]:
    """Seconds by the clock, seconds of CPU time, peak memory in MB, output."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | environment)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, output
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, output


def report(what: str, places: list[str], **environment: str) -> None:
    command = [sys.executable, "-m", "gemma_mtp", "verify", *places, "--json"]
    runs = [run(command, **environment) for _ in range(5)]
    content = json.loads(runs[0][3])
    print(f"{what}: {content['verdict']} ({len(content['checks'])} checks)")
    seconds, cpu = (min(values) for values in list(zip(*runs, strict=True))[:2])
    print(f"  {seconds:.2f} s ({cpu:.2f} s of CPU time), {max(peak for _, _, peak, _ in runs):.0f} MB")
    for note in content["notes"]:
        print(f"  {note}")


def on_a_local_hub(folder: Path, paths: list[Path]) -> None:
    with HubStub(folder / "hub") as hub:
        hub.make_repo("acme/pair")
        for path in paths:
            hub.add_file("acme/pair", path.name, path.read_bytes())
        places = [f"hf://acme/pair/{path.name}" for path in paths]
        own = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "0", "HF_TOKEN": ""}
        report("on the Hub", places, NO_PROXY="127.0.0.1,localhost", HF_HUB_DISABLE_TELEMETRY="1", **own)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabulary", type=Path)
    parser.add_argument("--reader", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        vocabulary = in_a_process(vocabulary_of, arguments.vocabulary) if arguments.vocabulary else None
        vocabulary = vocabulary or in_a_process(random_vocabulary, folder)
        paths = write_pair(folder, (E2B, ASSISTANT), vocabulary)
        report("local", list(map(str, paths)))
        if arguments.reader:
            code = f"from gguf import GGUFReader; GGUFReader({str(paths[1])!r})"
            seconds, cpu, peak, _ = run([sys.executable, "-c", code])
            print(f"gguf's reader, one file: {seconds:.1f} s ({cpu:.1f} s of CPU time), {peak:.0f} MB")
        target = replace(E2B, **NARROW, double_wide_mlp=False)
        assistant = replace(ASSISTANT, **{**NARROW, "hidden": 32}, backbone=64)
        on_a_local_hub(folder, write_pair(folder, (target, assistant), vocabulary))


if __name__ == "__main__":
    main()
