"""The small file beside the outputs that remembers how each of them was made, so that it isn't made again.

mtp-gemma-4-31B-it.make.json     {"format": 1, "steps": {id: record}, "sources": {path: stamp}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gemma_mtp.errors import BadFileError
from gemma_mtp.files.atomic import write_whole
from gemma_mtp.files.hashing import sha256_of
from gemma_mtp.files.text import read_json, shown
from gemma_mtp.model.family import FAMILY, Family
from gemma_mtp.progress import Progress, silent

FORMAT = 1
ENDING = ".make.json"


@dataclass(frozen=True)
class Stamp:
    """A file's content, and by what it is known again without being read: size and time of the last change."""

    sha256: str
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path, known: Stamp | None = None, progress: Progress = silent) -> Stamp:
        """The file's stamp; hashed, with progress, unless size and time are those that are `known`."""
        found = path.stat()
        if known and (known.size, known.mtime_ns) == (found.st_size, found.st_mtime_ns):
            return known
        with progress(f"hashing {path.name}", found.st_size) as advance:
            return cls(sha256_of(path, advance), found.st_size, found.st_mtime_ns)


@dataclass(frozen=True)
class Record:
    """How a step was done: from what, how, and what came of it.

    inputs: name -> hash. settings: whatever else the output depends on. done: False if it was begun and not ended.
    output: the file that was made; None for a verdict.
    """

    inputs: Mapping[str, str]
    settings: Mapping[str, str]
    done: bool = False
    output: Stamp | None = None


@dataclass
class Manifest:
    """records: by the step's id. sources: the stamps of the local files that were read, by path."""

    path: Path
    records: dict[str, Record] = field(default_factory=dict)
    sources: dict[str, Stamp] = field(default_factory=dict)

    @classmethod
    def beside(cls, folder: Path, target: str, family: Family = FAMILY) -> Manifest:
        """The manifest of a family's drafters of `target` in `folder`; empty if there is none. Raises BadFileError."""
        path = folder / f"{family.prefix}{target}{ENDING}"
        if not path.exists():
            return cls(path)
        try:
            content = read_json(path)
            if content["format"] != FORMAT:
                raise ValueError(f"format {shown(content['format'])}, not {FORMAT}")
            records = {step: _record(raw) for step, raw in content["steps"].items()}
            sources = {name: Stamp(**raw) for name, raw in content["sources"].items()}
        except (BadFileError, ValueError, KeyError, TypeError, AttributeError) as error:
            what = f"the file {error.what}" if isinstance(error, BadFileError) else f"{type(error).__name__}: {error}"
            raise BadFileError(
                f"the notes of an earlier `make` are damaged: {what}",
                where=path,
                hint="delete the file; what it describes is then made again, with --force",
            ) from error
        return cls(path, records, sources)

    def save(self) -> None:
        """Raises EnvironmentProblem."""
        steps = {step: asdict(record) for step, record in sorted(self.records.items())}
        content = {"format": FORMAT, "steps": steps, "sources": {k: asdict(v) for k, v in sorted(self.sources.items())}}
        write_whole(self.path, json.dumps(content, indent=1).encode(), force=True)


def _record(raw: Mapping[str, Any]) -> Record:
    output = Stamp(**raw["output"]) if raw["output"] else None
    return Record(dict(raw["inputs"]), dict(raw["settings"]), bool(raw["done"]), output)
