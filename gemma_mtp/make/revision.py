"""Which state of the program made a file: a step that another state would take otherwise is taken again.

The version of a release says too little, for it stays while the code changes; a number raised by hand would be
forgotten one day, and a wrong file published. So it is a hash of the source that an action runs through, and of the
versions of the libraries that bytes of a file come from. Every edit counts, of a comment, too: making files once too
often costs minutes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import gemma_mtp

#: What each action runs through: rooms of the package and modules at its root.
ROOMS: Mapping[str, tuple[str, ...]] = {
    "convert": ("convert", "sources", "quantize", "model", "files", "ggml.py"),
    "quantize": ("quantize", "model", "files", "ggml.py"),
    "respell": ("convert", "sources", "quantize", "model", "files", "ggml.py"),
    "verify": ("validate", "publish", "convert", "sources", "quantize", "model", "files", "ggml.py"),
}
#: What writes bytes of a file beside us: ggml's kernels, the rules of general.*; and what reads the weights.
LIBRARIES = ("llama-cpp-python", "xllamacpp", "gguf", "safetensors")


@cache
def code_revision(action: str) -> str:
    """The state of the installed code that an action's result depends on, in 16 hexadecimal digits."""
    return revision_of(Path(gemma_mtp.__file__).parent, action)


def revision_of(package: Path, action: str) -> str:
    """The same of the package at `package`."""
    hasher = hashlib.sha256()
    for library in LIBRARIES:
        hasher.update(f"{library} {_version(library)}\n".encode())
    for room in ROOMS[action]:
        for source in _sources(package / room):
            hasher.update(f"{source.relative_to(package).as_posix()}\n".encode() + source.read_bytes() + b"\n")
    return hasher.hexdigest()[:16]


def _sources(room: Path) -> Iterator[Path]:
    if room.suffix == ".py":
        yield room
    else:
        yield from sorted(path for path in room.rglob("*.py") if path.parent.name != "__pycache__")


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "none"
