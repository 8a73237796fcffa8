"""Everything that reads a stranger's file, fed with damaged ones.

    PYTHONPATH=tests:. python -m helpers.fuzzing gguf safetensors --times 1000000 --seed 7

For each input a reader may give a result or raise one of the project's own errors, within bounded processor time and
memory; anything else ends the run with the input in hexadecimal. The same seed makes the same inputs.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import signal
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from helpers.bench_results import RESULTS
from helpers.mutating import Mutator
from helpers.tiny_pairs import ASSISTANT, TARGET, Model
from safetensors.numpy import save

from gemma_mtp.adapt.signals import Journal, open_signals
from gemma_mtp.adapt.texts import read_documents
from gemma_mtp.bench.results import read_results
from gemma_mtp.demo.pair import PAIR
from gemma_mtp.errors import GemmaMtpError, GGUFError
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_reader import GGUFFile, GGUFHeader, HeaderIncomplete, parse_header
from gemma_mtp.files.gguf_values import ValueType
from gemma_mtp.files.gguf_writer import TensorPlan, encode_header
from gemma_mtp.files.safetensors_file import SafetensorsCheckpoint, read_header
from gemma_mtp.ggml import GGMLType
from gemma_mtp.make.jobs_file import read_jobs
from gemma_mtp.make.manifest import Manifest
from gemma_mtp.model import family
from gemma_mtp.mtp_runtime.rendering import Renderer
from gemma_mtp.native.log_reader import read_log
from gemma_mtp.publish.front_matter import FrontMatter
from gemma_mtp.quantize import read_imatrix
from gemma_mtp.sources.card import read_card, read_generation_config
from gemma_mtp.sources.tokenizer import tokenizer_metadata
from gemma_mtp.validate import verify_file

#: Processor seconds for one input, and memory beside what the process has at the start.
SECONDS, MEMORY = 20, 512 << 20


@dataclass(frozen=True)
class Reader:
    """corpus: files to start from. read: one input, in an empty folder that is its own. times: inputs in CI."""

    corpus: Callable[[], list[bytes]]
    read: Callable[[bytes, Path], object]
    times: int = 400


def gguf_seeds() -> list[bytes]:
    metadata = {
        "general.architecture": gv.string("gemma4"),
        "general.alignment": gv.u32(32),
        "a.flags": gv.array(ValueType.BOOL, [True, False]),
        "a.number": gv.f32(1.5),
        "a.numbers": gv.array(ValueType.INT32, range(5)),
        "a.texts": gv.strings(["one", "", "drei"]),
    }
    plans = [TensorPlan("a.weight", (2, 32), GGMLType.Q8_0), TensorPlan("b.weight", (2, 3, 32), GGMLType.F16)]
    return [encode_header(metadata, plans) + bytes(512), encode_header({}, plans[:1]) + bytes(96)]


def read_gguf(data: bytes, _: Path) -> None:
    """As the beginning of a larger file, which is what is read over HTTP, and as a whole one."""
    for size in (len(data) + 1_000_000, len(data)):
        error = _gguf_error(data, size)
    if error is not None:
        raise error


def _gguf_error(data: bytes, size: int) -> GGUFError | None:
    """What is wrong with the first bytes of a file of `size` bytes, as it must be told; else all must be in place."""
    try:
        header = parse_header(memoryview(data), size)
    except HeaderIncomplete as error:
        found, (least, most), told = error, (len(data) + 1, size), error.needed
    except GGUFError as error:
        found, (least, most), told = error, (0, size), error.offset
    else:
        _check_header(header, size)
        return None
    assert told is not None
    assert least <= told <= most
    return found


def _check_header(header: GGUFHeader, size: int) -> None:
    """Everything in it can be decoded, and lies where it may."""
    for value in header.metadata.values():
        value.decode()
    spans = sorted((one.offset, one.offset + one.nbytes) for one in header.tensors.values())
    assert all(header.data_start <= start < end <= size for start, end in spans)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))


def safetensors_seeds() -> list[bytes]:
    tensors = {"a.weight": np.zeros((2, 3), np.float32), "b": np.zeros(5, np.float16), "c": np.zeros((1, 1), np.int64)}
    return [save(tensors), save(tensors, metadata={"format": "pt"}), save({})]


def read_safetensors(data: bytes, folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(data)
    for tensor in read_header(path):
        assert 0 <= tensor.offset <= tensor.offset + tensor.nbytes <= len(data)
        assert tensor.nbytes >= 0


#: Room for the data of a tiny model, which are all zero here.
DATA = 2 << 20


def model_seeds() -> list[bytes]:
    """Headers of a target and an assistant."""
    seeds = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.gguf"
        for hyper in (ASSISTANT, TARGET):
            Model(hyper).write(path)
            with GGUFFile(path) as file:
                seeds.append(path.read_bytes()[: file.header.data_start])
    return seeds


def read_model(data: bytes, folder: Path) -> None:
    """All checks of one file."""
    path = folder / "x.gguf"
    path.write_bytes(data)
    os.truncate(path, len(data) + DATA)
    json.dumps(verify_file(path).to_dict())


def of_demo(*names: str) -> Callable[[], list[bytes]]:
    return lambda: [(PAIR / name).read_bytes() for name in names]


def small_tokenizer() -> list[bytes]:
    words = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{value:02X}>" for value in range(256)), "a", "b", "ab", "▁a"]
    added = [{"id": number, "content": word, "special": True} for number, word in enumerate(words[:4])]
    model = {
        "type": "BPE",
        "byte_fallback": True,
        "vocab": {word: n for n, word in enumerate(words)},
        "merges": [["a", "b"]],
    }
    return [json.dumps({"added_tokens": added, "model": model}).encode()]


def read_tokenizer(data: bytes, folder: Path) -> None:
    (folder / "tokenizer.json").write_bytes(data)
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text('{"bos_token": "<bos>", "eos_token": "<eos>"}')
    tokenizer_metadata(folder, 264)


def read_tokenizer_config(data: bytes, folder: Path) -> None:
    (folder / "tokenizer.json").write_bytes(small_tokenizer()[0])
    for name in ("tokenizer_config.json", "special_tokens_map.json", "config.json", "chat_template.json"):
        (folder / name).write_bytes(data)
    tokenizer_metadata(folder, 264)


def imatrix_seeds() -> list[bytes]:
    body = struct.pack("<i8sii2f", 8, b"a.weight", 7, 2, 1.0, 2.0)
    keys = {"general.type": gv.string("imatrix"), "imatrix.datasets": gv.strings(["c.txt"])}
    keys |= {"imatrix.chunk_count": gv.u32(33), "imatrix.chunk_size": gv.u32(512)}
    plans = [TensorPlan("a.in_sum2", (2, 32), GGMLType.F32), TensorPlan("a.counts", (2, 1), GGMLType.F32)]
    data = np.arange(64, dtype="<f4").tobytes() + np.array([7, 1], "<f4").tobytes().ljust(32, b"\0")
    return [struct.pack("<i", 1) + body + struct.pack("<ii3s", 33, 3, b"txt"), encode_header(keys, plans) + data]


def written(name: str, read: Callable[[Path], object]) -> Callable[[bytes, Path], None]:
    """A reader of a file of that name."""

    def reading(data: bytes, folder: Path) -> None:
        (folder / name).write_bytes(data)
        read(folder / name)

    return reading


CARD = b"""---
license: gemma
base_model: [google/gemma-4-E2B-it]
tags:
- mtp
version: 1.10
language: en
---
# A card

Text.
"""
JOBS_TOML = b"""[defaults]
type = ["Q8_0", "Q4_0"]
push = "me"
[[job]]
source = "google/gemma-4-31B-it-assistant"
private = true
"""
JOBS_YAML = b"""defaults:
  type: [Q8_0, Q4_0]
job:
- source: google/gemma-4-31B-it-assistant
  output: made
- all: google/gemma-4-E*-assistant
"""
LOG = b"""llama_model_load: error loading model: unknown model architecture: 'gemma4-assistant'
ggml_backend_cuda_buffer_type_alloc_buffer: allocating 9000.00 MiB on device 0: cudaMalloc failed: out of memory
srv  update_slots: all slots are idle
"""
TEMPLATE = b"""{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}<u>{{ m.content | trim }}</u>{% else %}
{{ m['content'] }}{% endif %}{% endfor %}{% if add_generation_prompt %}
{{ raise_exception('no') if x else 'go' }}{% endif %}
"""
CHAT = b"""{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
{"text": "some words"}
{"prompt": "a question"}
"""
ASKED = b"""srv  log_server_r: request:  {"messages": [{"role": "user", "content": "hello"}]}
srv  log_server_r: response: {"choices": [{"message": {"role": "assistant", "content": "well"}}]}
srv  log_server_r: request:  {"prompt": "and"}
"""
MANIFEST = json.dumps(
    {
        "format": 1,
        "steps": {
            "convert:x": {
                "inputs": {"a": "1"},
                "settings": {"type": "Q8_0"},
                "done": True,
                "output": {"sha256": "0" * 64, "size": 1, "mtime_ns": 2},
            }
        },
        "sources": {"a": {"sha256": "0" * 64, "size": 1, "mtime_ns": 2}},
    }
).encode()
INDEX = json.dumps({"metadata": {}, "weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}).encode()


def read_front_matter(data: bytes, _: Path) -> None:
    FrontMatter.of(data.decode("utf-8", "replace"), "README.md")


def read_index(data: bytes, folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_bytes(data)
    for number, name in enumerate("ab", 1):
        (folder / f"model-{number}.safetensors").write_bytes(save({name: np.zeros(2, np.float32)}))
    SafetensorsCheckpoint(folder)


RENDERER = Renderer()


def render(data: bytes, _: Path) -> None:
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    RENDERER.render(data.decode("utf-8", "replace"), messages=messages, bos_token="<bos>", add_generation_prompt=True)


def read_signals(data: bytes, folder: Path) -> None:
    (folder / "signals.json").write_text('{"version": 1}')
    (folder / "shard-00000.safetensors").write_bytes(data)
    signals = open_signals(folder)
    for place in signals.places[:4]:
        signals.load(place)


def signals_seeds() -> list[bytes]:
    arrays = {name: np.zeros((4, 2), np.float16) for name in ("hidden", "top_logs", "sliding_k", "sliding_v")}
    arrays |= {"full_k": arrays["hidden"], "full_v": arrays["hidden"], "top_ids": np.zeros((4, 2), np.int32)}
    return [save({**arrays, "tokens": np.zeros(4, np.int32), "pieces": np.array([[4, 0, 0, 0, 0]], np.int32)})]


READERS: Mapping[str, Reader] = {
    "gguf": Reader(gguf_seeds, read_gguf, 3000),
    "safetensors": Reader(safetensors_seeds, read_safetensors, 1500),
    "model": Reader(model_seeds, read_model, 40),
    "config.json": Reader(
        of_demo("target/config.json", "assistant/config.json"),
        written("config.json", lambda path: family.read_model(path.parent)),
    ),
    "tokenizer.json": Reader(small_tokenizer, read_tokenizer),
    "tokenizer_config.json": Reader(of_demo("target/tokenizer_config.json"), read_tokenizer_config),
    "generation_config.json": Reader(
        of_demo("target/generation_config.json"),
        written("generation_config.json", lambda path: read_generation_config(path.parent)),
    ),
    "index": Reader(lambda: [INDEX], read_index),
    "imatrix": Reader(imatrix_seeds, written("imatrix.dat", read_imatrix), 1000),
    "template": Reader(lambda: [TEMPLATE], render, 150),
    "jobs.toml": Reader(lambda: [JOBS_TOML], written("jobs.toml", read_jobs)),
    "jobs.yaml": Reader(lambda: [JOBS_YAML], written("jobs.yaml", read_jobs)),
    "bench": Reader(lambda: [json.dumps(RESULTS.to_dict()).encode()], written("bench.json", read_results)),
    "card": Reader(lambda: [CARD], written("README.md", lambda path: read_card(path.parent, lambda _: None))),
    "front matter": Reader(lambda: [CARD], read_front_matter),
    "log": Reader(lambda: [LOG], lambda data, _: read_log(io.BufferedReader(io.BytesIO(data)))),
    "chats": Reader(lambda: [CHAT], written("chats.jsonl", lambda path: read_documents([path]))),
    "chat log": Reader(lambda: [ASKED], written("server.log", lambda path: read_documents([path]))),
    "manifest": Reader(lambda: [MANIFEST], written("mtp-x.make.json", lambda path: Manifest.beside(path.parent, "x"))),
    "signals": Reader(signals_seeds, read_signals),
    "answers": Reader(lambda: [b'\n["a", [1, 2]]\n'], written("answers.jsonl", lambda path: Journal(path.parent))),
}


def fuzz(name: str, times: int, seed: object) -> tuple[int, float]:
    """How many of the inputs were refused, and the processor time. Raises what must not be raised, with the input."""
    reader = READERS[name]
    mutator, refused, begin = Mutator(reader.corpus(), f"{name} {seed}"), 0, time.process_time()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as place:
        folder = Path(place)
        for number in range(times):
            data = mutator.next()
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            try:
                reader.read(data, folder)
            except GemmaMtpError:
                refused += 1
            except BaseException as error:
                error.add_note(f"{name}, input {number} of seed {seed}: bytes.fromhex('{data.hex()}')")
                raise
    signal.setitimer(signal.ITIMER_PROF, 0)
    return refused, time.process_time() - begin


def _too_long(*_: Any) -> None:
    raise TimeoutError(f"more than {SECONDS} s of processor time for one input")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("readers", nargs="*", default=list(READERS), metavar="READER", help=", ".join(READERS))
    parser.add_argument("--times", type=int, help="inputs for each reader (default: as in CI)")
    parser.add_argument("--seed", default="0")
    options = parser.parse_args()
    signal.signal(signal.SIGPROF, _too_long)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    for name in options.readers:
        times = options.times or READERS[name].times
        refused, seconds = fuzz(name, times, options.seed)
        print(f"{name}: {times:,} inputs, {refused:,} refused, {seconds:,.1f} s of processor time", flush=True)


if __name__ == "__main__":
    sys.exit(main())
