"""The probe where there is a GPU: each device alone, which one fails, and what to do. (The GPU is played: a child that
says that it has one, and fails as llama.cpp does with such a card.)
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gemma_mtp.cli.doctor import print_report
from gemma_mtp.errors import LlamaError
from gemma_mtp.native import backend

GPU = {"name": "CUDA0", "description": "RTX", "kind": "GPU", "memory_total": 16 * 10**9, "memory_free": 15 * 10**9}
CPU = {"name": "CPU", "description": "EPYC", "kind": "CPU", "memory_total": 32 * 10**9, "memory_free": 0}
FACTS = {
    "library": "/lib/libllama.so",
    "features": ["CUDA : ARCHS = 750,800", "AVX2"],
    "devices": [GPU, CPU],
    "cards": ["Device 0: RTX, compute capability 9.0, VMM: yes, VRAM: 16376 MiB"],
}
PTX = "CUDA error: the provided PTX was compiled with an unsupported toolchain."


def gpu_fails(
    path: Path, extra_buffers: bool, threads: int | None, device: str | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Runs in a child: a driver that is too old for this build."""
    yield "decoding 1 token in a batch", FACTS
    if device != "none":
        raise LlamaError("llama_decode returned -3", log=("ggml_cuda_compute_forward: MUL_MAT failed", PTX))


def all_works(
    path: Path, extra_buffers: bool, threads: int | None, device: str | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Runs in a child: a card as it should be."""
    yield "decoding 1 token in a batch", FACTS


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMMA_MTP_CACHE", str(tmp_path / "cache"))


def test_which_device_fails_and_why(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(backend, "SURVEY", f"{__name__}:gpu_fails")
    report = backend.probe(1)
    assert not report.works
    assert [(one.device, bool(one.what)) for one in report.alone] == [("CUDA0", True), ("CPU", False)]
    advice = backend.advice(report) or ""
    assert "it works on the CPU (--device none), the GPU is at fault" in advice
    assert "update the GPU's driver" in advice
    assert "GGML_NATIVE" not in advice  # the CPU's code is not to blame
    print_report(report)
    told = capsys.readouterr().out
    for words in (PTX, "15.0 GB free of 16.0 GB", "compute capability 9.0", "kernels for", "750,800", "on CPU alone"):
        assert words in told, words


def test_a_card_that_works_is_said_to(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(backend, "SURVEY", f"{__name__}:all_works")
    report = backend.probe(1)
    assert report.works
    assert [(one.device, one.what) for one in report.alone] == [("CUDA0", ""), ("CPU", "")]
    assert backend.remembered() == report
    assert backend.advice(report) is None


def test_without_a_gpu_nothing_is_probed_twice():
    report = backend.probe(1)
    assert report.alone == ()
    assert report.works


def test_the_driver_stands_among_the_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "version").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06\nGCC version\n")
    monkeypatch.setattr(backend, "DRIVERS", (tmp_path / "missing", tmp_path / "version"))
    assert backend.versions()["GPU driver"].endswith("580.65.06")
    monkeypatch.setattr(backend, "DRIVERS", ())
    assert "GPU driver" not in backend.versions()
