"""Which of many files the real llama.cpp can use, without any check of ours in between. Runs in a child process.

A file may abort the process that loads it, or hang: the files go one after the other through a fork that has the
library loaded. Where it dies, the next fork begins with that file, and what kills a fresh one as well is not usable.
What takes too long is not usable at once: a load takes milliseconds.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress

from gemma_mtp.native.llama import LOG, Context, Model
from gemma_mtp.native.settings import ContextSettings, ModelSettings

SETTINGS = ContextSettings(size=64, batch=16, outputs=1, threads=1)
MODEL = ModelSettings(extra_buffers=False)
#: Of processor time for one file, and of the clock, for one that waits for ever.
SECONDS, PATIENCE = 1, 300
HANGS = (-signal.SIGPROF, -signal.SIGALRM)
#: Of address space beside what the process has: a header may ask for anything.
MEMORY = 4 << 30


def usable(decode: bool) -> Generator[list[bool], list[str], None]:
    """Is sent lists of paths: for each file whether it loads, and, if wanted, a text can be read into a context of it.

    Its first item is empty.
    """
    LOG.echo = None  # nobody reads it, and it is longer than the files
    paths = yield []
    while True:
        paths = yield judged(paths, lambda path: _use(path, decode))


def judged(paths: Sequence[str], use: Callable[[str], object]) -> list[bool]:
    """For each file whether `use` neither raises, nor dies, nor takes too long."""
    found: list[bool] = []
    while len(found) < len(paths):
        told = _in_fork(paths[len(found) :], use)
        found += told or [False]
    return found


def _in_fork(paths: Sequence[str], use: Callable[[str], object]) -> list[bool]:
    """The verdicts up to the file that killed the fork."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reading)
        _limit_memory()
        for path in paths:
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            signal.alarm(PATIENCE)
            verdict = b"0"
            with suppress(BaseException):
                use(path)
                verdict = b"1"
            os.write(writing, verdict)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as verdicts:
        told = verdicts.read()
    end = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    found = [verdict == b"1"[0] for verdict in told]
    return [*found, False] if end in HANGS else found


def _limit_memory() -> None:
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _use(path: str, decode: bool) -> None:
    with Model(path, MODEL) as model:
        if decode:
            with Context(model, SETTINGS) as context:
                context.decode(model.tokenize("abc")[: context.capacity], 0, 1)
