"""A teacher's signals on disk: what a target says about texts, kept so that training needs the target no more.

A folder: `signals.json` says what of; `answers.jsonl` has the texts that the target wrote; each shard is a safetensors
file of some pieces of text, one behind the other, T tokens in all:

    tokens        I32 [T]
    hidden        F16 [T, width]        the target's final row of each position (after its last norm)
    sliding_k, _v F16 [T, heads, dim]   keys (after norm and rope) and values of the sliding donor layer
    full_k, _v    F16 [T, heads, dim]   of the full one
    top_ids       I32 [T, k]            the target's k best next tokens, the best first
    top_logs      F16 [T, k]            and the logarithms of their probabilities
    pieces        I32 [pieces, 5]       of each: tokens, where it begins to count, document, held out or not, kind

Shards appear complete or not at all, so that a recording that was cut off goes on behind the last one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from gemma_mtp.errors import BadFileError, UsageError
from gemma_mtp.files.atomic import write_whole
from gemma_mtp.files.text import read_json

Array = np.ndarray[Any, Any]

DESCRIPTION, ANSWERS = "signals.json", "answers.jsonl"
VERSION = 1
KINDS = ("sliding", "full")
#: What a piece is: a text as it was given; an answer of the target; its continuations of held-out openings.
TEXT, ANSWER, GREEDY, SAMPLED = range(4)
ARRAYS = ("tokens", "hidden", "sliding_k", "sliding_v", "full_k", "full_v", "top_ids", "top_logs")


@dataclass(frozen=True)
class Piece:
    """tokens: with the begin token. begin: the first position that counts. document: its number. kind: TEXT, ..."""

    tokens: tuple[int, ...]
    begin: int
    document: int
    held: bool
    kind: int

    @property
    def row(self) -> tuple[int, int, int, int, int]:
        return len(self.tokens), self.begin, self.document, int(self.held), self.kind


@dataclass(frozen=True)
class Place:
    """A recorded piece: the rows `start` to `start + length` of a shard. The rest as in `Piece`."""

    shard: Path
    start: int
    length: int
    begin: int
    document: int
    held: bool
    kind: int


@dataclass
class Signals:
    """A folder of signals, read. about: what signals.json says. places: of all pieces, in the order of recording."""

    folder: Path
    about: dict[str, Any]
    places: list[Place] = field(default_factory=list)
    _open: dict[Path, Any] = field(default_factory=dict, repr=False)

    def load(self, place: Place) -> dict[str, Array]:
        """The arrays of a piece. Raises BadFileError."""
        try:
            if place.shard not in self._open:
                self._open[place.shard] = safe_open(place.shard, "np")
            shard = self._open[place.shard]
            rows = slice(place.start, place.start + place.length)
            return {name: shard.get_slice(name)[rows] for name in ARRAYS}
        except (OSError, SafetensorError) as error:
            raise _damaged(place.shard, error) from error

    def some(self, *, held: bool | None = None, kinds: Sequence[int] = (TEXT, ANSWER, GREEDY, SAMPLED)) -> list[Place]:
        """The pieces of these kinds: all, or those that are held out, or the others."""
        return [place for place in self.places if held in (None, place.held) and place.kind in kinds]

    @property
    def tokens(self) -> int:
        return sum(place.length for place in self.places)

    @property
    def complete(self) -> bool:
        return bool(self.about.get("complete"))


def open_signals(folder: Path) -> Signals:
    """Raises BadFileError: no signals, of another version, or damaged."""
    about = read_json(folder / DESCRIPTION)
    if not isinstance(about, dict) or about.get("version") != VERSION:
        raise BadFileError("these are no signals that this version reads", where=folder, hint="record them again")
    signals = Signals(folder, about)
    for shard in shards(folder):
        signals.places += _places(shard)
    return signals


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("shard-*.safetensors"))


def _places(shard: Path) -> Iterator[Place]:
    try:
        with safe_open(shard, "np") as file:
            rows = file.get_tensor("pieces")
    except (OSError, SafetensorError) as error:
        raise _damaged(shard, error) from error
    start = 0
    for length, begin, document, held, kind in rows.tolist():
        yield Place(shard, start, length, begin, document, bool(held), kind)
        start += length


def _damaged(shard: Path, error: Exception) -> BadFileError:
    return BadFileError(f"this shard of signals is damaged: {error}", where=shard, hint="delete it, and record again")


def write_shard(folder: Path, number: int, pieces: Sequence[Piece], arrays: Sequence[dict[str, Array]]) -> Path:
    """Write the arrays of some pieces. Raises EnvironmentProblem (no room)."""
    whole = {name: np.ascontiguousarray(np.concatenate([one[name] for one in arrays])) for name in ARRAYS}
    whole["pieces"] = np.array([piece.row for piece in pieces], np.int32)
    path = folder / f"shard-{number:05}.safetensors"
    write_whole(path, save(whole), force=True)
    return path


def begin_folder(folder: Path, about: dict[str, Any]) -> Signals:
    """Make the folder, or go on in one that was begun with the same things.

    Raises UsageError: what is there is of other texts, another target or other settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / DESCRIPTION).exists():
        found = open_signals(folder)
        other = [key for key, value in about.items() if found.about.get(key) != value]
        if other:
            raise UsageError(
                f"the signals that are there differ in: {', '.join(other)}",
                where=folder,
                hint="name another folder, or delete this one",
            )
        return found
    if any(not path.name.startswith(".") for path in folder.iterdir()):  # hidden: unfinished, of a killed process
        raise UsageError("this folder is not empty, and holds no signals", where=folder, hint="name another folder")
    describe(folder, {"version": VERSION, **about, "complete": False})
    return open_signals(folder)


def describe(folder: Path, about: dict[str, Any]) -> None:
    write_whole(folder / DESCRIPTION, json.dumps(about, indent=2).encode(), force=True)


def _entry(line: bytes) -> Any:
    """What stands in a line; None if that is no JSON."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


class Journal:
    """Texts that the target wrote, by name, in a file that grows line by line. A line that was cut off is not there."""

    def __init__(self, folder: Path):
        self._path = folder / ANSWERS
        self._known: dict[str, tuple[int, ...]] = {}
        if self._path.exists():
            for line in self._path.read_bytes().splitlines():
                match _entry(line):
                    case [str(name), [*tokens]] if all(type(token) is int for token in tokens):
                        self._known[name] = tuple(tokens)

    def get(self, name: str) -> tuple[int, ...] | None:
        return self._known.get(name)

    def add(self, name: str, tokens: Sequence[int]) -> None:
        self._known[name] = tuple(tokens)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"\n{json.dumps([name, list(tokens)])}\n")  # a line break first: the last line may be cut off
