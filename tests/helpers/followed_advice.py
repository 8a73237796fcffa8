"""Following advice: the commands in a text, run as they are printed, in a folder whose names need quotes."""

from __future__ import annotations

import json
import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.commands import command

#: A folder and files as users have them, who are not all called x.gguf.
FOLDER, TARGET, ASSISTANT = 'Ünser "Modell" it\'s', "mein $ziel 'Q8_0'.gguf", "-mtp größer & besser.gguf"
_COMMAND = re.compile(r"`gemma-mtp ([^`]*)`")


@dataclass(frozen=True)
class Done:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def run(words: list[str], folder: Path) -> Done:
    """The program, as a shell in `folder` would start it."""
    done = command(*words, cwd=folder, env={**os.environ, "PYTHONIOENCODING": "utf-8", "COLUMNS": "80"})
    assert "Traceback" not in done.stderr, done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


def advised(text: str) -> list[list[str]]:
    """The commands of ours in a text, as a shell splits them."""
    return [shlex.split(command) for command in _COMMAND.findall(text)]
