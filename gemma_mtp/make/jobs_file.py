"""A file of jobs, TOML or YAML: what they have in common, then one table a job.

[defaults]                                     defaults:
type = ["Q8_0", "Q4_0"]                          type: [Q8_0, Q4_0]
push = "me"                                      push: me
[[job]]                                        job:
source = "google/gemma-4-31B-it-assistant"       - source: google/gemma-4-31B-it-assistant
[[job]]                                          - all: google/gemma-4-E*-assistant
all = "google/gemma-4-E*-assistant"
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from gemma_mtp.errors import UsageError
from gemma_mtp.files.nesting import too_deep
from gemma_mtp.make.selection import Entry

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ENDINGS = (".toml", ".yaml", ".yml")
#: What the parsers raise for texts of all kinds: of TOML a ValueError, of YAML's odd dates and numbers anything.
UNREADABLE = (ValueError, yaml.YAMLError, AttributeError, TypeError, LookupError, OverflowError, RecursionError)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a text is needed")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    """One text or several."""
    return tuple(_text(item) for item in (value if isinstance(value, list) else [value]))


def _path(value: Any) -> Path:
    return Path(_text(value)).expanduser()


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("true or false is needed")
    return value


@dataclass(frozen=True)
class Field:
    """A key of the file: the field of `Job` that it sets, and how its value is read."""

    name: str
    read: Callable[[Any], Any]


#: The keys of a job and of the defaults; each is the command's option of that name.
FIELDS: Mapping[str, Field] = {
    "name": Field("name", _text),
    "type": Field("types", _texts),
    "dialect": Field("dialects", _texts),
    "output": Field("folder", _path),
    "imatrix": Field("imatrix", _path),
    "target": Field("target", _text),
    "push": Field("push", _text),
    "collection": Field("collection", _text),
    "private": Field("private", _flag),
    "bench": Field("bench", _text),
}
#: What says which assistants a job is about: one of them.
SUBJECTS = ("source", "all")


def read_jobs(path: Path) -> list[Entry]:
    """The jobs of a file. Raises UsageError: unreadable, no such key, a value of another kind."""
    content = _parsed(path)
    _refuse_unknown(path, content, ("defaults", "job"))
    rows = content.get("job")
    if not isinstance(rows, list) or not rows or not all(isinstance(row, Mapping) for row in rows):
        raise UsageError("the file has no jobs", where=path, hint="write [[job]] and source = ... below it")
    defaults = dict(_options(path, "defaults", content.get("defaults") or {}))
    return [_entry(path, f"job {number}", row, defaults) for number, row in enumerate(rows, 1)]


def _parsed(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        if too_deep(text) is not None:
            raise ValueError("it is nested too deeply")
        content = tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text)
    except OSError as error:
        raise UsageError(f"the file cannot be read: {error.strerror}", where=path) from error
    except UNREADABLE as error:
        said = " ".join(str(error).split())
        raise UsageError(f"this is no {path.suffix[1:].upper()}: {said}", where=path) from error
    if not isinstance(content, Mapping):
        raise UsageError("the file has no jobs", where=path)
    return content


def _entry(path: Path, place: str, row: Mapping[str, Any], defaults: Mapping[str, Any]) -> Entry:
    subjects = {key: row[key] for key in SUBJECTS if key in row}
    if len(subjects) != 1 or not all(isinstance(value, str) for value in subjects.values()):
        raise UsageError(f"{place} needs one of source and all, a text", where=path)
    own = {key: value for key, value in row.items() if key not in SUBJECTS}
    return Entry(subjects.get("source"), subjects.get("all"), {**defaults, **dict(_options(path, place, own))})


def _options(path: Path, place: str, row: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(row, Mapping):
        raise UsageError(f"{place} is no table of keys and values", where=path)
    _refuse_unknown(path, row, FIELDS, place)
    for key, value in row.items():
        try:
            yield FIELDS[key].name, FIELDS[key].read(value)
        except TypeError as error:
            raise UsageError(f"{place}: {key} is {value!r}; {error}", where=path) from error


def _refuse_unknown(path: Path, row: Mapping[str, Any], known: Any, place: str = "the file") -> None:
    for key in row:
        if key not in known:
            close = get_close_matches(str(key), list(known), n=1)
            hint = f"is {close[0]} meant?" if close else f"there are {', '.join(known)}"
            raise UsageError(f"{place} has the unknown key {key!r}", where=path, hint=hint)
