"""Runs our program in forked copies of one process that has imported what most commands need.

`helpers.commands` starts it. A copy is where `python -m gemma_mtp` would be after a second of imports, and ends as any
interpreter does. The server answers lines of JSON, the arguments of `become`, with the copy's exit code (subprocess's:
below 0 for a signal), until nobody writes to it any more.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import sys
from contextlib import suppress

#: Imported by a bare one, for any environment: what reads none of it.
BARE = ("numpy", "gguf", "orjson", "safetensors", "yaml", "jinja2", "rich.console", "rich.table", "typer")
#: Of us, by a whole one. Neither llama.cpp nor torch is: a command itself imports them in its child, or late.
ROOMS = ("convert", "quantize", "validate", "hub.client", "sources.pairs", "publish", "make", "hosts", "bench.compare")
FLAGS = (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY)


def prepare(kind: str) -> None:
    """Import what commands import; what refuses (HF_ENDPOINT is no address) does so in the copy again."""
    names = [*BARE, "httpx", "httpx2", "tqdm.auto"]  # of the latter two what huggingface_hub has
    if kind == "whole":
        import gemma_mtp.cli

        commands = [f"cli.{module.name}" for module in pkgutil.iter_modules(gemma_mtp.cli.__path__)]
        names += [*(f"gemma_mtp.{name}" for name in (*commands, *ROOMS)), "typer.rich_utils"]
    for name in names:
        with suppress(Exception):
            importlib.import_module(name)
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


def become(words: list[str], cwd: str, environment: dict[str, str], streams: list[str], before: str) -> None:
    """Take on the folder, the environment, the streams and the words of `python -m gemma_mtp`."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    for number, (path, flags) in enumerate(zip(streams, FLAGS, strict=True)):
        opened = os.open(path, flags)
        os.dup2(opened, number)
        os.close(opened)
    sys.argv = ["gemma-mtp", *words]
    exec(before, {})


if __name__ == "__main__":
    prepare(sys.argv[1])
    serve()
    from gemma_mtp.cli.main import main

    main()
