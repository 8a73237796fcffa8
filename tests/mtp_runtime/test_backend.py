"""The probe: real decoding in a child process, its answer remembered, its failures told with advice."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.schemas import checked

from gemma_mtp.errors import EnvironmentProblem, LlamaError
from gemma_mtp.files.gguf_reader import GGUFFile
from gemma_mtp.ggml import GGMLType
from gemma_mtp.native import backend
from gemma_mtp.native.probe_model import write_probe_model


def dies_with_extra_buffers(
    path: Path, extra_buffers: bool, threads: int | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Runs in a child: a machine whose extra buffer types crash at the first batch."""
    for stage, facts in backend.survey(path, extra_buffers):
        yield stage, facts
        if extra_buffers and "4 tokens" in stage:
            os.abort()


def dies_always(path: Path, extra_buffers: bool, threads: int | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Runs in a child: a build for another CPU."""
    yield "loading a model", {"library": "/lib/libllama.so"}
    os.abort()


def computes_nonsense(path: Path, extra_buffers: bool, threads: int | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Runs in a child: decodes, but gives wrong numbers."""
    yield "decoding 4 tokens in a batch", {"features": ["AVX2"]}
    raise LlamaError("llama_decode gave logits that are not finite")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("GEMMA_MTP_CACHE", str(tmp_path / "cache"))
    backend.settings_for_this_machine.cache_clear()
    yield tmp_path / "cache"
    backend.settings_for_this_machine.cache_clear()


def test_the_probe_model_is_quantized_and_loads_everywhere(tmp_path: Path):
    write_probe_model(tmp_path / "probe.gguf")
    with GGUFFile(tmp_path / "probe.gguf") as file:
        assert {GGMLType.Q4_0, GGMLType.Q8_0, GGMLType.Q4_K} <= {tensor.type for tensor in file.tensors.values()}
        assert all(tensor.shape[-1] % 256 == 0 for tensor in file.tensors.values())
        for tensor in file.tensors.values():
            if tensor.type is GGMLType.F32:
                assert np.isfinite(file.data(tensor).view(np.float32)).all()


def test_the_probe_works_and_is_remembered(own_cache: Path):
    report = backend.probe()
    assert report.works
    assert report.features
    assert report.devices[0]["kind"] == "CPU"
    assert backend.remembered() == report
    assert backend.settings_for_this_machine().extra_buffers is report.extra_buffers


@pytest.mark.parametrize("damage", [b"", b"{ not json", b"[]", b'{"works": true}', b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_memory_is_ignored_and_replaced(own_cache: Path, damage: bytes):
    report = backend.probe()
    backend.cache_file().write_bytes(damage)
    assert backend.remembered() is None
    assert backend.settings_for_this_machine().extra_buffers is report.extra_buffers
    again = backend.remembered()
    assert again
    # Not what a crash left to read: it may hit several threads at once, which write over each other.
    assert replace(again, failures=()) == replace(report, failures=())


def test_a_cache_that_cannot_be_written_only_costs_time(own_cache: Path):
    own_cache.write_text("a file where the folder should be")
    assert backend.probe().works


def test_another_library_is_another_question(own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    before = backend.cache_file()
    (tmp_path / "libllama.so").write_bytes(b"another build")
    monkeypatch.setenv("LLAMA_CPP_LIB_PATH", str(tmp_path))
    assert backend.cache_file() != before


def test_extra_buffers_that_crash_are_switched_off(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(backend, "SURVEY", f"{__name__}:dies_with_extra_buffers")
    report = backend.probe()
    assert report.works
    assert not report.extra_buffers
    (failure,) = report.failures
    assert failure.signal == "SIGABRT"
    assert "while decoding 4 tokens in a batch" in failure.what
    assert not backend.settings_for_this_machine().extra_buffers
    assert "by itself" in (backend.advice(report) or "")


@pytest.mark.parametrize(
    ("survey", "words"), [("dies_always", "crashed .SIGABRT."), ("computes_nonsense", "not finite")]
)
def test_a_build_that_never_works_comes_with_advice(monkeypatch: pytest.MonkeyPatch, survey: str, words: str):
    monkeypatch.setattr(backend, "SURVEY", f"{__name__}:{survey}")
    with pytest.raises(EnvironmentProblem, match=words) as caught:
        backend.settings_for_this_machine()
    assert caught.value.exit_code == 3
    assert 'CMAKE_ARGS="-DGGML_NATIVE=OFF"' in (caught.value.hint or "")
    assert "llama-cpp-python==" in (caught.value.hint or "")
    assert backend.remembered() is None  # a failure is probed again


def test_a_library_that_cannot_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LLAMA_CPP_LIB_PATH", str(tmp_path))
    with pytest.raises(EnvironmentProblem, match="cannot be loaded"):
        backend.settings_for_this_machine()


def test_doctor_says_it(own_cache: Path):
    command = [sys.executable, "-m", "gemma_mtp", "doctor"]
    report = checked(subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout)
    assert report["works"] is True
    assert report["remembered_in"].startswith(str(own_cache))
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "llama.cpp" in text
    assert report["library"] in text
