"""A log of llama.cpp, or of a program that is built on it, read against the causes. However long it is, little of it is
in memory: a line comes in pieces if it is longer than `PIECE`, and of each cause the first line alone is kept. Most of
a long log says nothing: it is looked at by the block, and only a block that may say something line by line.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from gemma_mtp.native.causes import Cause, may_mean, meaning

#: Characters that are looked at together, and how many of a piece's end are looked at again with the line's next one.
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
    last: dict[Cause, int] = {}
    lines = 0
    for first, block in _blocks(stream):
        lines = first + block.count("\n") - block.endswith("\n")
        if not may_mean(block):
            continue
        for number, text in enumerate(block.split("\n"), first):
            cause = meaning(text) if may_mean(text) else None
            if cause is None or last.get(cause) == number:
                continue
            last[cause] = number
            if cause in found:
                found[cause].times += 1
            else:
                found[cause] = Explained(cause, number, _around(text, cause))
    return Reading(tuple(found.values()), lines)


def _around(text: str, cause: Cause) -> str:
    """The line, or of a long one the part that says it."""
    text = text.strip()
    match = re.search(cause.words, text)
    start = max(0, match.start() - SHOWN // 2) if match and len(text) > SHOWN else 0
    return text[start : start + SHOWN]


def _blocks(stream: BinaryIO) -> Iterator[tuple[int, str]]:
    """(number of its first line, text): whole lines, or of a long line a piece, behind the end of the piece before."""
    buffered = io.BufferedReader(stream) if isinstance(stream, io.RawIOBase) else stream
    text = io.TextIOWrapper(buffered, encoding=_encoding(buffered), errors="replace", newline=None)
    number, rest = 1, ""
    try:
        while more := text.read(PIECE):
            block = rest + more
            end = block.rfind("\n") + 1
            if end:
                yield number, block[:end]
                number, rest = number + block.count("\n"), block[end:]
            elif len(block) > PIECE:
                yield number, block
                rest = block[-OVERLAP:]
            else:
                rest = block
        if rest:
            yield number, rest
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
