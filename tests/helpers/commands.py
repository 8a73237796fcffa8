"""Our commands as processes: copies of one that has imported what they need, where the system can fork."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: What imported modules have read of the environment: commands that differ in it are copies of different processes.
READ = ("HF_", "HOME", "XDG_", "PYTHON", "HUGGING", "LANG", "LC_", "COLUMNS", "TERM", "NO_COLOR", "FORCE_COLOR")
#: Servers that are kept at once, and after how many commands with the same environment one is worth its start.
KEPT, WORTH = 4, 2
_seen: Counter[frozenset[tuple[str, str]]] = Counter()


def command(
    *arguments: object,
    cwd: Path | str | None = None,
    env: Mapping[str, str] | None = None,
    input: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """`gemma-mtp` with these words. env: the whole environment; input: its standard input, none by default."""
    words = [str(word) for word in arguments]
    environment = dict(os.environ if env is None else env)
    read = frozenset((name, value) for name, value in environment.items() if name.startswith(READ))
    _seen[read] += 1
    if _seen[read] <= WORTH or not hasattr(os, "fork"):
        program = [sys.executable, "-m", "gemma_mtp", *words]
        kinds = {"capture_output": True, "text": True, "encoding": "utf-8", "check": False}
        theirs = environment | {"PYTHONPATH": _path(environment, ROOT)}
        return subprocess.run(program, cwd=cwd, env=theirs, input=input or "", **kinds)
    with tempfile.TemporaryDirectory() as folder:
        streams = [Path(folder, name) for name in ("in", "out", "err")]
        for stream, text in zip(streams, (input or "", "", ""), strict=True):
            stream.write_text(text, encoding="utf-8")
        asked = {"words": words, "cwd": str(cwd or os.getcwd()), "environment": environment}
        code = _asked(_server(read), json.dumps({**asked, "streams": [str(stream) for stream in streams]}))
        out, err = (stream.read_text(encoding="utf-8") for stream in streams[1:])
    return subprocess.CompletedProcess(["gemma-mtp", *words], code, out, err)


def _path(environment: Mapping[str, str], *more: Path) -> str:
    return os.pathsep.join(filter(None, (*map(str, more), environment.get("PYTHONPATH"))))


def _asked(server: _Server, line: str) -> int:
    assert server.stdin
    assert server.stdout
    server.stdin.write(line + "\n")
    server.stdin.flush()
    return int(server.stdout.readline())


@functools.lru_cache(KEPT)
def _server(environment: frozenset[tuple[str, str]]) -> _Server:
    """The process that is copied for commands with this part of the environment."""
    return _Server(environment)


class _Server(subprocess.Popen[str]):
    """It ends when nobody holds it any more: its input does then."""

    def __init__(self, environment: frozenset[tuple[str, str]]):
        theirs = {name: value for name, value in os.environ.items() if not name.startswith(READ)} | dict(environment)
        path = _path(theirs, ROOT, ROOT / "tests")
        super().__init__(
            [sys.executable, "-m", "helpers.command_server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=theirs | {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
        )

    def __del__(self, **_: object) -> None:
        if self.stdin:
            self.stdin.close()
        self.wait()
