"""Following advice: the commands in a text, run as they are printed, in a folder whose names need quotes."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gemma_mtp.files.gguf_reader import GGUFFile
from gemma_mtp.files.gguf_values import Value
from gemma_mtp.files.gguf_writer import GGUFWriter, TensorPlan
from gemma_mtp.ggml import GGMLType

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
    done = subprocess.run(
        [sys.executable, "-m", "gemma_mtp", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": "utf-8", "COLUMNS": "80"},
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


def advised(text: str) -> list[list[str]]:
    """The commands of ours in a text, as a shell splits them."""
    return [shlex.split(command) for command in _COMMAND.findall(text)]


def remade(
    source: Path,
    path: Path,
    keys: Mapping[str, Value | None] | None = None,
    tensors: Mapping[str, tuple[GGMLType, tuple[int, ...]] | None] | None = None,
) -> Path:
    """A copy of a GGUF with keys and tensors changed; None removes.

    tensors: name -> type and shape, filled with ones; in I32 with 0, 1, 2 and so on.
    """
    with GGUFFile(source) as file:
        metadata = {key: value for key, value in {**file.metadata, **(keys or {})}.items() if value is not None}
        plans = {name: TensorPlan(name, one.shape, one.type) for name, one in file.tensors.items()}
        data = {name: file.data(one).tobytes() for name, one in file.tensors.items()}
        for name, made in (tensors or {}).items():
            plans.pop(name, None)
            if made is not None:
                kind, shape = made
                plans[name] = TensorPlan(name, shape, kind)
                numbers = np.arange(shape[0]) if kind is GGMLType.I32 else np.ones(shape)
                data[name] = numbers.astype(_DTYPES[kind]).tobytes()
        with GGUFWriter(path, metadata, list(plans.values()), force=True) as writer:
            for name in plans:
                writer.write_next([data[name]])
    return path


_DTYPES = {GGMLType.F32: "<f4", GGMLType.F16: "<f2", GGMLType.I32: "<i4"}
