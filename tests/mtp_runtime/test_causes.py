"""What is known about a failure of native code is said by every command that meets it, with llama.cpp's own line."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import command
from helpers.demo_files import GGUFFactory, with_metadata

from gemma_mtp.errors import LlamaError
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_reader import GGUFFile
from gemma_mtp.files.gguf_writer import GGUFWriter, TensorPlan
from gemma_mtp.ggml import GGMLType
from gemma_mtp.native import backend
from gemma_mtp.native.causes import explain
from gemma_mtp.native.child import NativeCrash, in_child

PAIR = ("the target's.gguf", "its assistant.gguf")
CUDA = "CUDA error: no kernel image is available for execution on the device"


def killed(lines: tuple[str, ...], name: str) -> Iterator[int]:
    """Runs in a child: says the lines, and dies of a signal."""
    yield 1
    os.write(2, "".join(f"{line}\n" for line in lines).encode())
    os.kill(os.getpid(), getattr(signal, name))


def refused(lines: tuple[str, ...]) -> Iterator[int]:
    """Runs in a child: llama.cpp gave an error code, and had said why."""
    yield 1
    raise LlamaError("llama_decode returned -3: the computation failed", log=lines)


def starved() -> Iterator[int]:
    """Runs in a child: Python itself finds no memory."""
    yield 1
    raise MemoryError


def out_of_gpu(path: Path, extra_buffers: bool, threads: int | None, *device: str) -> Iterator[tuple[str, dict]]:
    """Runs in a child, in the probe's place: a build for other GPUs, which logs why and aborts."""
    yield "loading a model", {"devices": [{"name": "CUDA0", "description": "GPU", "kind": "GPU", "memory_total": 0}]}
    from gemma_mtp.native.llama import LOG

    LOG._receive(4, CUDA.encode() + b"\n", None)
    LOG._receive(4, b"  current device: 0, in function ggml_cuda_compute_forward\n", None)
    os.abort()


def death(*call: object) -> NativeCrash:
    with pytest.raises(NativeCrash) as caught:
        list(in_child(f"{__name__}:killed", *call, files=PAIR))
    return caught.value


def test_a_killed_child_is_out_of_memory_and_no_broken_file():
    error = death((), "SIGKILL")
    assert "memory runs out" in error.what
    assert "smaller context (-c)" in (error.hint or "")
    assert error.exit_code == 3


def test_the_reason_is_shown_however_much_was_said_after_it():
    error = death(("ggml_cuda_init: found 1 device", CUDA, *(f"more {number}" for number in range(20))), "SIGABRT")
    assert "built for other GPUs" in error.what
    assert CUDA in error.log
    assert error.exit_code == 3


def test_the_files_are_named_in_what_is_advised():
    error = death(
        ("error loading model: vector::_M_range_check: __n (which is 0) >= this->size() (which is 0)",), "SIGABRT"
    )
    command = (error.hint or "").split("`")[1]
    assert shlex.split(command) == ["gemma-mtp", "convert", PAIR[1], "-o", "OUT.gguf"]
    assert error.exit_code == 1
    unknown = death(("nothing that is known",), "SIGABRT")
    assert shlex.split((unknown.hint or "").split("`")[1]) == ["gemma-mtp", "verify", *PAIR]


@pytest.mark.parametrize(
    ("line", "says", "code"),
    [(CUDA, "other GPUs", 3), ("ggml: failed to allocate buffer", "not enough memory", 3), ("odd", "computation", 1)],
)
def test_a_failure_that_is_lived_through_is_explained_too(line: str, says: str, code: int):
    with pytest.raises(LlamaError, match=says) as caught:
        list(in_child(f"{__name__}:refused", (line,)))
    assert caught.value.exit_code == code
    assert line in caught.value.log


def test_no_memory_for_python_is_no_traceback():
    with pytest.raises(LlamaError, match="not enough memory") as caught:
        list(in_child(f"{__name__}:starved"))
    assert caught.value.exit_code == 3


def test_doctor_tells_what_the_gpu_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("GEMMA_MTP_CACHE", str(tmp_path))
    monkeypatch.setattr(backend, "SURVEY", f"{__name__}:out_of_gpu")
    report = backend.probe()
    problem = backend.broken(report)
    assert CUDA in problem.log
    assert problem.exit_code == 3
    assert "CMAKE_CUDA_ARCHITECTURES" in (problem.hint or "")
    assert "GGML_NATIVE" not in (problem.hint or "")


def masked(source: Path, path: Path) -> Path:
    """The assistant with the tensors that llama.cpp declares and cannot load."""
    extra = {
        "masked_embd_centroids.weight": np.ones((2048, 256), "<f2"),
        "masked_embd_ordering": np.arange(2048, dtype="<i4"),
    }
    kinds = {"<f2": GGMLType.F16, "<i4": GGMLType.I32}
    with GGUFFile(source) as file:
        plans = [TensorPlan(one.name, one.shape, one.type) for one in file.tensors.values()]
        plans += [TensorPlan(name, data.shape, kinds[data.dtype.str]) for name, data in extra.items()]
        with GGUFWriter(path, file.metadata, plans) as writer:
            for one in file.tensors.values():
                writer.write_next([file.data(one).tobytes()])
            for data in extra.values():
                writer.write_next([data.tobytes()])
    return path


@pytest.mark.parametrize(
    "options",
    [
        ("run", "-p", "def", "-n", "2", "-t", "1"),
        ("run", "-p", "def", "-n", "2", "-t", "1", "--engine", "cpp"),
        ("bench", "--tokens", "2", "--repeats", "1", "--draft-max", "1", "-t", "1"),
    ],
    ids=lambda options: " ".join(options[:1] + options[-2:]),
)
def test_commands_name_the_cause_of_a_real_death(
    options: tuple[str, ...], target_gguf: GGUFFactory, assistant_gguf: GGUFFactory, tmp_path: Path
):
    """`vector::_M_range_check`, from llama.cpp itself."""
    assistant = masked(assistant_gguf("BF16"), tmp_path / "mit 'Köpfen' it.gguf")
    done = command(options[0], target_gguf("BF16"), assistant, *options[1:])
    assert done.returncode == 1
    assert "`masked_embd_*` tensors" in done.stderr
    assert "_M_range_check" in done.stderr or "invalid vector subscript" in done.stderr
    hint = next(line for line in done.stderr.splitlines() if line.startswith("hint:"))
    assert shlex.split(hint.split("`")[1]) == ["gemma-mtp", "convert", str(assistant), "-o", "OUT.gguf"]


#: A machine with 8 GB: a larger one would be filled to its end before it says no.
LITTLE_MEMORY = "import resource; resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))"


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_no_memory_for_a_context_is_the_environment(target_gguf: GGUFFactory, tmp_path: Path):
    """A context of a billion tokens, in a model that says it was trained for that."""
    big = with_metadata(target_gguf("BF16"), tmp_path / "big.gguf", {"gemma4.context_length": gv.u32(2**30)})
    done = command("run", big, "--no-draft", "-p", "def", "-c", str(2**30), "-t", "1", before=LITTLE_MEMORY)
    assert done.returncode == 3, done.stderr
    assert "there was not enough memory" in done.stderr
    assert "smaller context (-c)" in done.stderr


#: (asked for, what is said about it).
CONTEXTS = [
    ("131072", ["the model was trained for", "2,048", "cut from 131,072"]),
    ("256", ["a larger context (--ctx 512)"]),
]


@pytest.mark.parametrize("engine", ["python", "cpp"])
@pytest.mark.parametrize(("asked", "says"), CONTEXTS)
def test_a_full_context_says_what_bounds_it(engine: str, asked: str, says: list[str], target_gguf: GGUFFactory):
    options = ("-n", "3000", "--ignore-eos", "-t", "1", "--engine", engine)
    done = command("run", target_gguf("Q8_0"), "--no-draft", "-p", "def main():", "-c", asked, *options)
    assert done.returncode == 0
    assert "the context is full" in done.stderr
    assert all(words in done.stderr for words in says)
    assert ("larger --ctx" in done.stderr or "a larger context" in done.stderr) is (asked == "256")


def test_a_prompt_that_no_context_takes(target_gguf: GGUFFactory, tmp_path: Path):
    prompt = tmp_path / "long.txt"
    prompt.write_text("x = [1, 2]\n" * 2000)
    done = command("run", target_gguf("Q8_0"), "--no-draft", "-f", prompt, "-c", "131072", "-t", "1")
    assert done.returncode == 2
    assert "2,048 tokens are what the model was trained for" in done.stderr
    assert "--ctx 1" not in done.stderr
    short = tmp_path / "short.txt"
    short.write_text("x = [1, 2]\n" * 60)
    done = command("run", target_gguf("Q8_0"), "--no-draft", "-f", short, "-c", "256", "-t", "1", "--json")
    suggested = done.stderr.split("--ctx ")[1].split(")")[0]
    again = command(
        "run", target_gguf("Q8_0"), "--no-draft", "-f", short, "-c", suggested, "-t", "1", "-n", "2", "--json"
    )
    assert json.loads(again.stdout)["trained_context"] == 2048


def test_what_llama_cpp_says_when_all_is_well_is_no_cause(
    target_gguf: GGUFFactory, assistant_gguf: GGUFFactory, tmp_path
):
    """A crash brings the log's last lines, and with it keys of the header and sizes of buffers."""
    log = tmp_path / "native.log"
    files = map(str, (target_gguf("Q8_0"), assistant_gguf("Q8_0")))
    assert command("run", *files, "-p", "def", "-n", "8", "--log", str(log)).returncode == 0
    said = log.read_text(encoding="utf-8", errors="replace")
    assert "gemma4-assistant.embedding_length_out" in said
    assert [(line, cause.shown) for line in said.splitlines() if (cause := explain("", line))] == []
    last = "pre-allocated tensor (cache_k_l1) in a buffer (CUDA0) that cannot run the operation (NONE)"
    assert "on another device than the KV cache" in explain("", said + last).cause
