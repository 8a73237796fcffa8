"""A log of llama.cpp, or of a program that is built on it, read against the causes. However long it is, little of it is
in memory: a line comes in pieces if it is longer than `PIECE`, and of each cause the first line alone is kept.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from gemma_mtp.native.causes import Cause, meaning

#: Characters that are looked at together, and how many of a piece's end are looked at again with the next one.
PIECE, OVERLAP = 65_536, 512
#: Characters of a line that are kept to be shown.
SHOWN = 300
#: How a text begins in these encodings. Windows PowerShell redirects in UTF-16.
MARKS = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be", b"\xef\xbb\xbf": "utf-8"}


@dataclass
class Explained:
    """A cause that a log has words of. line: the first one's number, from 1; text: that line; times: how many lines."""

    cause: Cause
    line: int
    text: str
    times: int = 1

    def to_dict(self) -> dict[str, Any]:
        own = {"line": self.line, "text": self.text, "times": self.times}
        return {**own, "cause": self.cause.cause, "remedy": self.cause.told()}


@dataclass(frozen=True)
class Reading:
    """What a log says: its causes in the order of their first lines, and how many lines it has."""

    found: tuple[Explained, ...]
    lines: int

    def to_dict(self) -> dict[str, Any]:
        return {"found": [one.to_dict() for one in self.found], "lines": self.lines}


def read_log(stream: BinaryIO) -> Reading:
    """Read a log to its end. Any encoding will do: the words that count are ASCII, and what cannot be read is skipped.

    Raises OSError.
    """
    found: dict[Cause, Explained] = {}
    number = 0
    for number, text in _pieces(stream):
        cause = meaning(text)
        if cause is None:
            continue
        if cause not in found:
            found[cause] = Explained(cause, number, _around(text, cause))
        elif found[cause].line != number:
            found[cause].times += 1
    return Reading(tuple(found.values()), number)


def _around(text: str, cause: Cause) -> str:
    """The line, or of a long one the part that says it."""
    text = text.strip()
    match = re.search(cause.words, text)
    start = max(0, match.start() - SHOWN // 2) if match and len(text) > SHOWN else 0
    return text[start : start + SHOWN]


def _pieces(stream: BinaryIO) -> Iterator[tuple[int, str]]:
    """(number of the line, a piece of it), with the last piece's end before each further one."""
    buffered = io.BufferedReader(stream) if isinstance(stream, io.RawIOBase) else stream
    text = io.TextIOWrapper(buffered, encoding=_encoding(buffered), errors="replace", newline=None)
    number, before = 1, ""
    try:
        while piece := text.readline(PIECE):
            yield number, before + piece
            ended = piece.endswith("\n")
            number, before = (number + 1, "") if ended else (number, piece[-OVERLAP:])
    finally:
        text.detach()


def _encoding(stream: Any) -> str:
    """By the mark at the beginning, or by where its zeros are: ASCII in UTF-16 has one in every pair of bytes."""
    start = stream.peek(2)[:64]
    marked = next((name for mark, name in MARKS.items() if start.startswith(mark)), None)
    if marked:
        return marked
    even, odd = start[0::2].count(0), start[1::2].count(0)
    if max(even, odd) * 4 < len(start):
        return "utf-8"
    return "utf-16-le" if odd > even else "utf-16-be"
