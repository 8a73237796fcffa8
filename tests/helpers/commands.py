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
Part = frozenset[tuple[str, str]]
#: What the interpreter has read of the environment when it runs; and what our modules and theirs have, once imported.
#: Commands that differ in it are copies of different processes.
INTERPRETER = ("PYTHON", "LANG", "LC_")
MODULES = (*INTERPRETER, "HF_", "HUGGING", "HOME", "XDG_", "COLUMNS", "TERM", "NO_COLOR", "FORCE_COLOR", "TTY_")
#: Processes that are kept at once; and after how many commands with one environment a whole one is worth its start.
KEPT, WORTH = 4, 2
_seen: Counter[Part] = Counter()


def command(
    *arguments: object,
    cwd: Path | str | None = None,
    env: Mapping[str, str] | None = None,
    input: str = "",
    before: str = "",
) -> subprocess.CompletedProcess[str]:
    """`gemma-mtp` with these words. env: the whole environment. before: Python that is run first."""
    words, environment = [str(word) for word in arguments], dict(os.environ if env is None else env)
    if not hasattr(os, "fork"):
        program = [sys.executable, "-c", f"{before}\nfrom gemma_mtp.cli.main import main; main()", *words]
        environment["PYTHONPATH"] = _path(environment, ROOT)
        kinds = {"capture_output": True, "text": True, "encoding": "utf-8", "check": False}
        return subprocess.run(program, cwd=cwd, env=environment, input=input, **kinds)
    with tempfile.TemporaryDirectory() as folder:
        streams = [Path(folder, name) for name in ("in", "out", "err")]
        for stream, text in zip(streams, (input, "", ""), strict=True):
            stream.write_text(text, encoding="utf-8")
        asked = {"words": words, "cwd": str(cwd or os.getcwd()), "environment": environment, "before": before}
        code = _asked(_server_for(environment), {**asked, "streams": [str(stream) for stream in streams]})
        out, err = (stream.read_text(encoding="utf-8") for stream in streams[1:])
    return subprocess.CompletedProcess(["gemma-mtp", *words], code, out, err)


def _path(environment: Mapping[str, str], *more: Path) -> str:
    return os.pathsep.join(filter(None, (*map(str, more), environment.get("PYTHONPATH"))))


def _asked(server: _Server, asked: Mapping[str, object]) -> int:
    assert server.stdin
    assert server.stdout
    server.stdin.write(json.dumps(asked) + "\n")
    server.stdin.flush()
    return int(server.stdout.readline())


def _server_for(environment: Mapping[str, str]) -> _Server:
    whole, bare = (
        frozenset((name, value) for name, value in environment.items() if name.startswith(names))
        for names in (MODULES, INTERPRETER)
    )
    _seen[whole] += 1
    return _server("whole", whole) if _seen[whole] > WORTH else _server("bare", bare)


@functools.lru_cache(KEPT)
def _server(kind: str, environment: Part) -> _Server:
    """The process that is copied for commands with this part of the environment."""
    return _Server(kind, environment)


class _Server(subprocess.Popen[str]):
    """It ends when nobody holds it any more: its input does then."""

    def __init__(self, kind: str, environment: Part):
        theirs = {name: value for name, value in os.environ.items() if not name.startswith(MODULES)}
        theirs |= dict(environment)
        super().__init__(
            [sys.executable, "-m", "helpers.command_server", kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=theirs | {"PYTHONPATH": _path(theirs, ROOT, ROOT / "tests"), "OPENBLAS_NUM_THREADS": "1"},
        )

    def __del__(self, **_: object) -> None:
        for pipe in (self.stdin, self.stdout):
            if pipe:
                pipe.close()
        self.wait()
