"""What the host means for a pair: the dialects that its runtime reads, and known problems that apply."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from gemma_mtp.model.dialects import ATOMIC, IK, MAINLINE
from gemma_mtp.validate.checks.known import KNOWN
from gemma_mtp.validate.findings import Finding, Result, Status, error, note, ok, skipped, warning
from gemma_mtp.validate.host import ATOMIC_FORK, BUUN, IK_LLAMA, LLAMA, Version
from gemma_mtp.validate.pair import Pair

#: Runtime -> dialect -> the versions that read it.
READS: dict[str, dict[str, tuple[Version | None, Version | None]]] = {
    LLAMA: {MAINLINE.name: (9553, None)},
    IK_LLAMA: {
        IK.name: (date(2026, 5, 10), None),
        MAINLINE.name: (date(2026, 6, 19), None),
        ATOMIC.name: (date(2026, 6, 9), date(2026, 6, 18)),
    },
    ATOMIC_FORK: {ATOMIC.name: (None, 10017), MAINLINE.name: (10018, None)},
    "koboldcpp": {MAINLINE.name: ((1, 115), None)},
    BUUN: {MAINLINE.name: (None, None)},
    "lmstudio": {MAINLINE.name: (None, None)},
    "ollama": {},
}

#: Since when mainline's form is read, in words.
FIRST_TO_READ = "llama.cpp: b9553, June 7, 2026; koboldcpp: 1.115; ik_llama.cpp: June 19, 2026; or later"


def dialect(pair: Pair) -> Finding:
    """Whether the runtime (llama.cpp, if none is named) reads the assistant's dialect."""
    found, host = pair.assistant.dialect, pair.host
    assert found is not None
    value = f"{found.architecture} ({found.name})"
    readable = READS[host.runtime]
    versions = readable.get(found.name)
    within = None if versions is None else host.between(*versions)
    if versions is not None and within is None:
        return skipped(f"whether this version of {host.runtime} reads {found.architecture} is not known by its name")
    if within:
        return ok("", value, f"loads in {found.runtimes}")
    if versions is not None and found is MAINLINE:
        return error(
            f"the file is fine, but this version of {host.runtime} does not know `{found.architecture}` yet",
            f"update {host.runtime} ({FIRST_TO_READ})",
            "",
            value,
        )
    if found is ATOMIC and host.runtime == ATOMIC_FORK:
        return error(
            "the assistant is in Atomic's old form, which the fork refuses since b10018 (July 23, 2026); new files "
            "have the names that the old ones had",
            f"delete the cached file and download it again, or gemma-mtp convert {pair.assistant.place} -o OUT.gguf",
            "",
            value,
        )
    return error(
        f"the assistant is written for {found.runtimes}; {host.runtime} stops with "
        f"`unknown model architecture: '{found.architecture}'`",
        f"gemma-mtp convert {pair.assistant.place} -o OUT.gguf",
        "",
        value,
    )


def known_problems(pair: Pair) -> Iterator[Result]:
    """The rows that apply to a pair (whose keys are right) on its host."""
    host = pair.host
    for row in KNOWN:
        if row.runtime in (None, host.runtime) and row.applies(pair, host):
            makers = {Status.ERROR: error, Status.WARNING: warning}
            maker = makers.get(row.status)
            finding = maker(row.message, row.remedy) if maker else note(row.message)
            yield Result(f"host-{row.id}", row.title, finding)
