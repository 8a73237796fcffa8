"""Our commands in forked copies of one process, which die or meet a failing disk at a chosen moment.

A start costs a fork instead of half a second of imports, so that *every* moment can be tried. What counts as a moment
is what the system is asked for (a file opened, written, flushed, named, removed; bytes sent), not the time, so that a
run is the same on any machine.

As a program it answers lines of JSON: {"words", "cwd", "fault", "moment", "on"} -> {"code", "moments", "out", "err"}.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: What Python's audit hooks call what is asked for -> the kind of moment. `open` is told apart by its flags.
KINDS = {
    **dict.fromkeys(("os.rename", "os.link", "os.symlink", "os.mkdir", "os.truncate", "os.chmod"), "write"),
    **dict.fromkeys(("os.remove", "os.rmdir"), "remove"),
}
NOT_FILES = ("/dev", "/proc", "/sys")


@dataclass(frozen=True)
class Ended:
    """How a copy ended. code: as subprocess has it, negative for a signal. moments: how many came; None if killed."""

    code: int
    moments: int | None
    out: str
    err: str


class Forked:
    """The process that forks, at work; a context manager. environment: what differs in it; None removes."""

    def __init__(self, environment: Mapping[str, str | None] | None = None):
        words = [sys.executable, "-m", "helpers.forked"]
        own = {"PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"}
        variables = {**os.environ, **own, **(environment or {})}
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={name: value for name, value in variables.items() if value is not None},
        )

    def run(
        self, words: Sequence[object], cwd: Path, fault: str = "", moment: int = 0, on: Sequence[str] = ("write",)
    ) -> Ended:
        """A command in `cwd`. fault: "kill", or the name of an error number that is raised.

        It comes at the moment of that number, from 1, among those of the kinds `on`: "write", "remove", "read", "send".
        """
        call = {"words": [str(word) for word in words], "cwd": str(cwd), "fault": fault, "moment": moment, "on": on}
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(call) + "\n")
        self._process.stdin.flush()
        return Ended(**json.loads(self._process.stdout.readline()))

    def __enter__(self) -> Forked:
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.communicate()


class _Moments:
    """Counts them, and does what is to be done at one of them."""

    def __init__(self, fault: str, moment: int, on: Sequence[str]):
        self._fault, self._moment, self._on, self.seen = fault, moment, on, 0
        self._folder = os.getcwd()

    def watch(self) -> None:
        sys.addaudithook(self._audited)
        self._wrap(os, ("write", "fsync", "posix_fallocate"), "write")
        self._wrap(os, ("read", "pread", "preadv"), "read")
        self._wrap(socket.socket, ("send", "sendall"), "send")

    def _wrap(self, owner: Any, names: Sequence[str], kind: str) -> None:
        for name in names:
            real = getattr(owner, name, None)
            if real is not None:
                setattr(owner, name, self._counted(real, kind))

    def _counted(self, real: Callable[..., Any], kind: str) -> Callable[..., Any]:
        def counted(first: Any, *rest: Any) -> Any:
            if not isinstance(first, int) or first > 2:  # not the standard streams
                self._pass(kind, None)
            return real(first, *rest)

        return counted

    def _is_ours(self, path: str) -> bool:
        """Whether it stands in the folder of the run: no module of the interpreter's, which are imported late."""
        return os.path.abspath(path).startswith(self._folder + os.sep)

    def _audited(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, (str, bytes)) and not os.fsdecode(path).startswith(NOT_FILES):
                writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
                self._pass("write" if writes else "read", os.fsdecode(path))
        elif event in KINDS:
            self._pass(KINDS[event], os.fsdecode(arguments[0]) if isinstance(arguments[0], (str, bytes)) else None)

    def _pass(self, kind: str, path: str | None) -> None:
        if kind not in self._on or (kind == "read" and path is not None and not self._is_ours(path)):
            return
        self.seen += 1
        if self.seen != self._moment:
            return
        if self._fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        number = getattr(errno, self._fault)
        raise OSError(number, os.strerror(number), *([path] if path else []))


def _as_typed(word: str) -> str:
    """A word as Python gives it to a program whose locale may have no such letters."""
    return os.fsdecode(word.encode("utf-8", "surrogateescape"))


def _copy(call: dict[str, Any], out: Any, err: Any, notes: Any) -> None:
    """The forked copy: run, tell how many moments there were, end."""
    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    os.chdir(_as_typed(call["cwd"]))
    sys.argv = ["gemma-mtp", *map(_as_typed, call["words"])]
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    from gemma_mtp.cli.main import main

    moments, code = _Moments(call["fault"], call["moment"], call["on"]), 1
    moments.watch()
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        seen, modules = moments.seen, list(sys.modules)
        sys.stdout.flush()
        sys.stderr.flush()
        os.pwrite(notes.fileno(), json.dumps([seen, modules]).encode(), 0)
        os._exit(code)


def _answer(call: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, tempfile.TemporaryFile() as notes:
        child = os.fork()
        if not child:
            _copy(call, out, err, notes)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        noted, said, told = (os.pread(file.fileno(), 1 << 20, 0).decode(errors="replace") for file in (notes, out, err))
    seen, modules = json.loads(noted) if noted else (None, [])
    for name in modules:  # the next copy has them from its birth
        if name not in sys.modules:
            with contextlib.suppress(Exception):
                importlib.import_module(name)
    return {"code": code, "moments": seen, "out": said, "err": told}


def _serve() -> None:
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    _serve()
