"""Runs our program in forked copies of one process that has imported what most commands need.

`helpers.commands` starts it. A copy is where `python -m gemma_mtp` would be after a second of imports, and ends as any
interpreter does. The server answers lines of JSON {"words", "cwd", "environment", "streams"} with the copy's exit code
(subprocess's: below 0 for a signal), until nobody writes to it any more.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import sys
from contextlib import suppress

#: Imported once. Neither llama.cpp nor torch is: a command itself imports them in its child, or late.
ROOMS = ("convert", "quantize", "validate", "hub.client", "sources.pairs", "publish", "make", "hosts", "bench.compare")
FLAGS = (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY)


def prepare() -> None:
    """Import what commands import; a room that refuses (HF_ENDPOINT is no address) does so in the copy again."""
    import gemma_mtp.cli

    commands = [module.name for module in pkgutil.iter_modules(gemma_mtp.cli.__path__)]
    for name in (*(f"cli.{name}" for name in commands), *ROOMS):
        with suppress(Exception):
            importlib.import_module(f"gemma_mtp.{name}")
    importlib.import_module("typer.rich_utils")
    gc.freeze()


def serve() -> None:
    """Answer. Returns in each copy, which then is the program."""
    while line := sys.stdin.readline():
        asked = json.loads(line)
        copy = os.fork()
        if not copy:
            become(**asked)
            return
        print(os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1]), flush=True)
    os._exit(0)


def become(words: list[str], cwd: str, environment: dict[str, str], streams: list[str]) -> None:
    """Take on the folder, the environment, the streams and the words of `python -m gemma_mtp`."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.path[0] = cwd
    for number, (path, flags) in enumerate(zip(streams, FLAGS, strict=True)):
        opened = os.open(path, flags)
        os.dup2(opened, number)
        os.close(opened)
    sys.argv = ["gemma-mtp", *words]


if __name__ == "__main__":
    prepare()
    serve()
    from gemma_mtp.cli.main import main

    main()
