"""What the host means for a pair: the dialects that its runtime reads, and known problems that apply."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from difflib import get_close_matches

from gemma_mtp.advice import into_mainline
from gemma_mtp.model.dialects import ATOMIC, DIALECTS, IK, MAINLINE
from gemma_mtp.model.family import FAMILY
from gemma_mtp.validate.checks.known import KNOWN
from gemma_mtp.validate.findings import Finding, Result, Status, error, note, ok, skipped, warning
from gemma_mtp.validate.host import ATOMIC_FORK, BUUN, FORMS, IK_LLAMA, LLAMA, OPTIONS, Host, Version, foreign_caches
from gemma_mtp.validate.pair import Pair, Single

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
    "ollama": {MAINLINE.name: ((0, 32, 7), None)},
}

#: Since when mainline's form is read, in words.
FIRST_TO_READ = (
    "llama.cpp: b9553, June 7, 2026; koboldcpp: 1.115; ik_llama.cpp: June 19, 2026; Atomic's fork: b10018; Ollama: "
    "0.32.7; or later"
)


def dialect(one: Single) -> Finding:
    """Whether the runtime (llama.cpp, if none is named) reads the assistant's dialect."""
    found, host = one.side.dialect, one.host
    assert found is not None
    value = f"{found.architecture} ({found.name})"
    versions = READS[host.runtime].get(found.name)
    within = None if versions is None else host.between(*versions)
    if versions is not None and within is None:
        return skipped(f"whether this version of {host.runtime} reads {found.architecture} is not known by its name")
    if within:
        return ok("", value, f"loads in {found.runtimes}")
    respelled = _respelled(one)
    if versions is not None and versions[1] is None and host.between(*versions) is False:
        return error(
            f"the file is fine, but this version of {host.runtime} does not know `{found.architecture}` yet",
            f"update {host.runtime} ({FIRST_TO_READ})" + (f", or {respelled}" if respelled else ""),
            "",
            value,
        )
    remedy = respelled or f"update {host.runtime} ({FIRST_TO_READ}), and {into_mainline(one.side.place)}"
    if found is ATOMIC and host.runtime == ATOMIC_FORK:
        return error(
            "the assistant is in Atomic's old form, which the fork refuses since b10018 (July 23, 2026); new files "
            "have the names that the old ones had",
            f"delete the cached file and download it again, or {remedy}",
            "",
            value,
        )
    return error(
        f"the assistant is written for {found.runtimes}; {host.runtime} stops with "
        f"`unknown model architecture: '{found.architecture}'`",
        remedy,
        "",
        value,
    )


def _respelled(one: Single) -> str | None:
    """The command that writes the assistant as its host reads it, mainline's form if that is one of these."""
    readable = READS[one.host.runtime]
    names = [name for name in DIALECTS if name in readable and one.host.between(*readable[name]) is not False]
    if not names:
        return None
    mainline = MAINLINE.name in names
    return into_mainline(one.side.place, None if mainline else names[0])


def known_problems(pair: Pair) -> Iterator[Result]:
    """The rows that apply to a pair (whose keys are right) on its host."""
    host = pair.host
    for row in KNOWN if pair.assistant.family is FAMILY else ():  # what is known is about assistants
        if row.runtime in (None, host.runtime) and row.applies(pair, host):
            makers = {Status.ERROR: error, Status.WARNING: warning}
            maker = makers.get(row.status)
            finding = maker(row.message, row.remedy) if maker else note(row.message)
            yield Result(f"host-{row.id}", row.title, finding)
    yield from not_understood(host)


def not_understood(host: Host) -> Iterator[Result]:
    """What a user said about the host and nothing here can use: not to be taken for "that is fine"."""
    kinds = {type(bound) for versions in READS[host.runtime].values() for bound in versions if bound is not None}
    if host.version is not None and kinds and type(host.version) not in kinds:
        wanted = " or ".join(sorted(FORMS[kind] for kind in kinds))
        yield Result(
            "version",
            "Version of the runtime",
            note(f"what is known about {host.runtime} goes by {wanted}: this version was not compared with it"),
        )
    if foreign := foreign_caches(host):
        kinds_told = " and ".join(sorted(set(foreign.values())))
        yield Result(
            "cache-types", "KV cache", note(f"what a cache of {kinds_told} takes is not known: counted as f16")
        )
    if host.unused:
        yield Result("settings", "Settings", note(f"nothing here depends on {unused(host)}: not looked at"))


def unused(host: Host) -> str:
    """The options that were given and are not looked at, and what may be meant by them."""
    guesses = {one: get_close_matches(one, OPTIONS, 1, 0.8) for one in host.unused}
    return ", ".join(f"{one} (is {guess[0]} meant?)" if guess else one for one, guess in guesses.items())
