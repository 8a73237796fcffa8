"""Which of many files the real llama.cpp can use, without any check of ours in between. Runs in a child process.

Each file is tried in a fork of a process that has the library loaded: a file may abort it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress

from gemma_mtp.native.llama import Context, Model
from gemma_mtp.native.settings import ContextSettings, ModelSettings

SETTINGS = ContextSettings(size=64, batch=16, outputs=1, threads=1)
MODEL = ModelSettings(extra_buffers=False)


def usable(paths: list[str], decode: bool) -> Iterator[list[bool]]:
    """For each file whether it loads, and, if wanted, whether a text can be read into a context of it."""
    yield [_is_usable(path, decode) for path in paths]


def _is_usable(path: str, decode: bool) -> bool:
    process = os.fork()
    if process == 0:
        code = 1
        signal.alarm(5)  # a file may also make it hang
        with suppress(BaseException):
            _use(path, decode)
            code = 0
        os._exit(code)
    return os.waitpid(process, 0)[1] == 0


def _use(path: str, decode: bool) -> None:
    with Model(path, MODEL) as model:
        if decode:
            with Context(model, SETTINGS) as context:
                context.decode(model.tokenize("abc"), 0, 1)
