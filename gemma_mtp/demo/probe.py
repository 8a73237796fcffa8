"""Does the C++ engine work on this machine? The shipped pair, quantized, is decoded with and without drafts in a child.

(The Python loop's llama.cpp is probed by `native.backend`, with settings to choose and an answer to remember: its build
is made for one machine. xllamacpp's is portable, and there is nothing to choose.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gemma_mtp.convert import Output, convert_checkpoint
from gemma_mtp.cores import available_cores
from gemma_mtp.demo.pair import PAIR
from gemma_mtp.errors import EnvironmentProblem, LlamaError
from gemma_mtp.extras import advice
from gemma_mtp.files.scratch import scratch_folder
from gemma_mtp.native import cpp
from gemma_mtp.native.child import in_child
from gemma_mtp.native.settings import ContextSettings, Drafting

SURVEY = f"{__name__}:survey"
PARTS, TYPE = ("target", "assistant"), "Q4_0"
PROMPT, TOKENS, DRAFT_MAX = "class Stack:\n    def push(self, item):\n", 16, 3
CONTEXT = 256


@dataclass(frozen=True)
class CppReport:
    """What the probe found. failure: empty, or what went wrong while doing what; log: llama.cpp's last lines then."""

    package: str
    works: bool
    devices: tuple[str, ...] = ()
    failure: str = ""
    log: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def probe_cpp(threads: int | None = None) -> CppReport:
    """Probe now. threads: to decode with; None: four, or all cores. Raises MissingExtra (it is not installed)."""
    package, devices = cpp.package_version(), ()
    stage = f"making a pair in {TYPE}"
    try:
        with scratch_folder() as folder:
            # Made here: kernels of another package must not get into the child.
            files = tuple(folder / f"{part}.gguf" for part in PARTS)
            for part, path in zip(PARTS, files, strict=True):
                convert_checkpoint(PAIR / part, [Output(path, TYPE)])
            threads = threads or min(4, available_cores())
            for stage, found in in_child(SURVEY, *files, threads):  # noqa: B007 - the last one is told
                devices = found or devices
    except (LlamaError, EnvironmentProblem) as error:
        return CppReport(package, False, devices, f"while {stage}: {error}", error.log)
    return CppReport(package, True, devices)


def broken(report: CppReport) -> EnvironmentProblem:
    """The error for a C++ engine that does not work here."""
    return EnvironmentProblem(
        f"the C++ engine does not work on this machine: {report.failure}",
        where=f"{cpp.PACKAGE} {report.package}",
        hint=f"the Python loop's llama.cpp is compiled for this machine: {advice('runtime')}",
        log=report.log,
    )


def survey(target: Path, assistant: Path, threads: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Runs in the child: (what comes next, the devices as soon as they are known). Raises LlamaError."""
    yield "loading it", ()
    devices, results = next(cpp.devices()), []
    for draft_max in (0, DRAFT_MAX):
        yield f"decoding with drafts of {draft_max}" if draft_max else "decoding", devices
        loading = cpp.Loading(target, assistant, Drafting(draft_max), context=ContextSettings(CONTEXT, threads=threads))
        with cpp.CppEngine(loading) as engine:
            results.append(engine.complete(PROMPT, max_tokens=TOKENS, ignore_end=True))
    if any(len(one.tokens) != TOKENS for one in results) or not results[-1].statistics.accepted:
        raise LlamaError("of the shipped pair no draft was accepted, or a text was cut: what it computes is wrong")
