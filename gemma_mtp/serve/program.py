"""A llama-server of the user's own, in the place of the one in xllamacpp: with the GPU that it was compiled for.

It runs below a child process of ours, which ends it, and whose log is its log.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from time import sleep
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from gemma_mtp.errors import EnvironmentProblem, LlamaError, UsageError
from gemma_mtp.files.scratch import scratch_folder
from gemma_mtp.model.family import FAMILY
from gemma_mtp.native import cpp, server_line
from gemma_mtp.native.child import NativeCrash, signal_name, telling
from gemma_mtp.sources.pairing import check_runnable

NAME = "llama-server"
#: Seconds in which it says what it is, and in which it ends when it is told to.
ANSWERING, ENDING = 60, 1.0
#: Seconds between two looks at whether it is ready, or still there.
BETWEEN = 0.1
#: `version: 10434 (abc)`, or `version: 0.1.0 (build 10434, commit abc)`.
_BUILD = re.compile(r"version: (?:(\d{4,6}) |.*build (\d{4,6}))")
_DEVICE = re.compile(r"^\s+(\w+): (.+)$", re.MULTILINE)
#: Linux: a signal for a child whose parent has died (sys/prctl.h).
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Program:
    """A llama-server. build: None if it does not say. devices: its GPUs. help: what it can be told."""

    path: Path
    build: int | None
    devices: tuple[str, ...]
    help: str


def find_program(named: Path | None) -> Program:
    """The one that is named, or the one on the PATH, once it has said what it is.

    Raises UsageError (there is none, it is no llama-server or too old for drafting), EnvironmentProblem (it does not
    run here).
    """
    found = shutil.which(named or NAME)
    if found is None:
        where = named or "the PATH"
        raise UsageError(f"there is no {NAME} to run", where=where, hint="name the program: --llama-server PATH")
    path = Path(found).absolute()
    known = _said(path, "--help")
    if "--spec-type" not in known or FAMILY.spec_type not in known:
        what = f"this {NAME} knows no --spec-type {FAMILY.spec_type}" if "--model" in known else f"this is no {NAME}"
        raise UsageError(what, where=path, hint="llama.cpp's of June 7, 2026 (b9553) or later is needed")
    version = _BUILD.search(_said(path, "--version"))
    build = int(version[1] or version[2]) if version else None
    devices = tuple(f"{name}: {what}" for name, what in _DEVICE.findall(_said(path, "--list-devices")))
    return Program(path, build, devices, known)


def _said(path: Path, option: str) -> str:
    """Raises EnvironmentProblem, UsageError (it says nothing for a minute)."""
    try:
        done = subprocess.run(
            [path, option], stdin=subprocess.DEVNULL, capture_output=True, timeout=ANSWERING, check=False
        )
    except OSError as error:
        raise EnvironmentProblem(f"it cannot be run: {error.strerror or error}", where=path) from error
    except subprocess.TimeoutExpired:
        raise UsageError(f"it does not answer {option}", where=path, hint=f"name a {NAME}") from None
    if name := signal_name(done.returncode):
        raise EnvironmentProblem(
            f"it dies of {name} when it is asked for {option}", where=path, hint="take a build for this machine"
        )
    return (done.stdout + done.stderr).decode(errors="replace")


def serve(
    loading: cpp.Loading, listening: cpp.Listening, program: Program
) -> Generator[tuple[str, tuple[str, ...]], None, None]:
    """As `server.serve`, with that program: the address and the GPUs, then nothing until the other side hangs up.

    Raises BadFileError, LlamaError (it does not start, or has ended by itself), NativeCrash.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    check_runnable(loading.target, loading.drafter, loading.model)
    process = None
    try:
        with scratch_folder() as folder:  # what is in there is read while it starts
            process = _started(loading, listening, program, folder)
            address = f"http://{listening.host}:{listening.port}"
            while fetched(f"{address}/health", ANSWERING) is None:
                _require_alive(process)
                sleep(BETWEEN)
        yield address, program.devices
        hung_up = _when_hung_up()
        while not hung_up.wait(BETWEEN):
            _require_alive(process)
    finally:
        if process:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(ENDING)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _started(loading: cpp.Loading, listening: cpp.Listening, program: Program, folder: Path) -> subprocess.Popen[bytes]:
    """Keys and template are told in files, which others cannot read: a command line is everybody's."""
    keys = template = None
    if listening.api_keys:
        keys = folder / "keys"
        keys.write_text("".join(f"{key}\n" for key in listening.api_keys), encoding="utf-8")
    if listening.chat_template is not None:
        template = folder / "chat_template.jinja"
        template.write_text(listening.chat_template, encoding="utf-8")
    words = server_line.serving(loading, listening, program.help, keys=keys, template=template)
    verbosity = cpp.EVERYTHING if telling() else cpp.ERRORS
    # A session of its own: Ctrl-C in a terminal is for whoever asked for the server, who lets requests finish first.
    return subprocess.Popen(
        [program.path, *words, "-lv", str(verbosity)],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_dies_with_parent(),
    )


def _dies_with_parent() -> Callable[[], object] | None:
    if sys.platform != "linux":
        return None
    import ctypes

    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def fetched(request: str | Request, seconds: float) -> bytes | None:
    """What a server answers to a request; None where it refuses, or does not answer within `seconds`."""
    try:
        with urlopen(request, timeout=seconds) as answer:
            content: bytes = answer.read()
            return content if answer.status == HTTPStatus.OK else None
    except HTTPError as error:  # its connection is open until it is read
        error.close()
    except (URLError, OSError):
        pass
    return None


def _require_alive(process: subprocess.Popen[bytes]) -> None:
    """Raises NativeCrash, LlamaError."""
    code = process.poll()
    if code is None:
        return
    if name := signal_name(code):
        raise NativeCrash(f"{NAME} crashed ({name})", signal_name=name)
    raise LlamaError(f"{NAME} has ended by itself, with code {code}")


def _when_hung_up() -> threading.Event:
    """Set when nobody holds the other end of this process's stdin any more."""
    event = threading.Event()

    def read() -> None:
        sys.stdin.buffer.read()
        event.set()

    threading.Thread(target=read, name="hung up", daemon=True).start()
    return event
