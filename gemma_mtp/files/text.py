"""The one reader of small text files: configs, tokenizers, templates, cards, prompts, jobs, notes.

What stands under a small file's name may be anything: a folder, a pipe, /dev/zero, a terabyte, UTF-16, a thousand
brackets. All of it ends in a sentence before it costs time or memory. A byte order mark, which Windows' editors write,
is no part of the text, and line ends are "\\n" as in Python's text mode.
"""

from __future__ import annotations

import json
import os
import reprlib
import stat
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import yaml

from gemma_mtp.errors import OF_THE_MACHINE, BadFileError, EnvironmentProblem, GemmaMtpError
from gemma_mtp.files.reading import HINTS, PIECE
from gemma_mtp.files.signature import HEAD, JSON, MARK, TEXT, recognized

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: Bytes of a file. JSON of this size is at most some 100 MB of Python's objects.
SMALL = 4 << 20
#: A prompt: more than any context holds.
PROMPT = 16 << 20
#: A tokenizer has 33 MB.
LARGE = 256 << 20
#: YAML and TOML are parsed in Python, about a megabyte a second, and are written by hand.
BY_HAND = 256 << 10
#: How deep lists and objects may stand in each other, and how many values a text of YAML may come to, with its aliases.
DEPTH, VALUES = 64, 100_000

#: First bytes -> an encoding that is not ours. UTF-32's begins like UTF-16's, so it stands first.
OTHER_ENCODINGS = {b"\xff\xfe\0\0": "UTF-32", b"\0\0\xfe\xff": "UTF-32", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
#: What a path may lead to beside a file.
KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)

#: What parsers raise for texts of all kinds: of TOML a ValueError, of YAML's odd dates and numbers anything.
UNREADABLE = (ValueError, TypeError, AttributeError, LookupError, OverflowError, yaml.YAMLError)

Kind = type[GemmaMtpError]


def read_small(path: Path, *, limit: int = SMALL, error: Kind = BadFileError) -> bytes:
    """The bytes of a regular file of at most `limit` bytes. Raises `error`, EnvironmentProblem for a failing disk."""
    try:
        # Not blocking: the opening of a pipe would wait for somebody who writes into it.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(handle, "rb") as file:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                kind = next((name for test, name in KINDS if test(found.st_mode)), "no file")
                raise error(f"is {kind}, where a small file is needed", where=path)
            raw = _read_up_to(file, limit + 1) if found.st_size <= limit else b""
    except IsADirectoryError:
        raise error("is a folder, where a small file is needed", where=path) from None
    except (OSError, ValueError) as problem:  # ValueError: a zero byte in the path
        raise _unreadable(problem, path, error) from problem
    if found.st_size > limit or len(raw) > limit:
        raise error(f"has more than {limit:,} bytes, which is too much for a file of its kind", where=path)
    return raw


def _read_up_to(file: BinaryIO, most: int) -> bytes:
    """At most so many bytes, in memory for those that are there: a single `read` takes room for all that it may get."""
    parts: list[bytes] = []
    while most and (part := file.read(min(most, PIECE))):
        parts.append(part)
        most -= len(part)
    return b"".join(parts)


def _unreadable(problem: OSError | ValueError, where: str | Path, error: Kind) -> GemmaMtpError:
    """What the system says of a file: `error`, or an EnvironmentProblem where the machine is to blame."""
    number = getattr(problem, "errno", None) or 0
    kind = EnvironmentProblem if number in OF_THE_MACHINE else error
    said = getattr(problem, "strerror", None) or problem
    return kind(f"cannot be read: {said}", where=where, hint=HINTS.get(number) if kind is not error else None)


def decode(raw: bytes, where: str | Path, error: Kind = BadFileError) -> str:
    """UTF-8, with or without a byte order mark, as text. Raises `error` for what is no text."""
    _refuse_other_encodings(raw, where, error)
    try:
        text = raw.removeprefix(MARK).decode("utf-8")
    except UnicodeDecodeError as problem:
        start = problem.start + (len(MARK) if raw.startswith(MARK) else 0)
        raise error(f"is no UTF-8 text (at byte {start:,})", where=where, hint="save it as UTF-8") from problem
    if "\0" in text:
        raise error(f"is no text: it has a zero byte at character {text.index(chr(0)):,}", where=where)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _refuse_other_encodings(raw: bytes, where: str | Path, error: Kind) -> None:
    other = next((name for mark, name in OTHER_ENCODINGS.items() if raw.startswith(mark)), None)
    if other is not None:
        raise error(f"is {other}, where UTF-8 is needed", where=where, hint="save it as UTF-8")


def read_text(path: Path, *, limit: int = SMALL, error: Kind = BadFileError) -> str:
    """A text file. Raises `error`."""
    return decode(read_small(path, limit=limit, error=error), path, error)


def typed(text: str) -> str:
    """A text of the command line as it was typed: a locale without its letters has their bytes as lone surrogates.

    What is no UTF-8 stays as it is.
    """
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeError:
        return text


def text_of(stream: BinaryIO, where: str | Path, *, limit: int = PROMPT, error: Kind = BadFileError) -> str:
    """The text of a stream that is open already, such as standard input. Raises `error`."""
    try:
        raw = _read_up_to(stream, limit + 1)
    except OSError as problem:
        raise _unreadable(problem, where, error) from problem
    if len(raw) > limit:
        raise error(f"has more than {limit:,} bytes, which is too much for a file of its kind", where=where)
    return decode(raw, where, error)


def read_json(path: Path, *, error: Kind = BadFileError) -> Any:
    """What a JSON file holds, whatever its type, nested no deeper than `DEPTH`. Raises `error`."""
    return parse_json(read_text(path, error=error), path, error=error)


def read_large_json(path: Path, parse: Callable[[bytes], Any], *, error: Kind = BadFileError) -> Any:
    """What a JSON file of up to `LARGE` bytes holds, by a parser of bytes that bounds the depth itself. Raises `error`.

    Nothing is copied but for a byte order mark.
    """
    raw = read_small(path, limit=LARGE, error=error)
    _refuse_other_encodings(raw, path, error)
    return _parsed(parse, raw.removeprefix(MARK), "JSON", path, error)


def parse_json(text: str, where: str | Path, *, error: Kind = BadFileError) -> Any:
    """JSON, nested no deeper than `DEPTH`. Raises `error`."""
    value = _parsed(json.loads, text, "JSON", where, error)
    _require_shallow(value, where, error)
    return value


def read_toml(path: Path, *, error: Kind = BadFileError) -> dict[str, Any]:
    """A TOML file. Raises `error`."""
    text = read_text(path, limit=BY_HAND, error=error)
    value: dict[str, Any] = _parsed(tomllib.loads, text, "TOML", path, error)
    _require_shallow(value, path, error)
    return value


def read_yaml(path: Path, *, error: Kind = BadFileError) -> Any:
    """What a YAML file holds, by YAML's own types. Raises `error`."""
    return parse_yaml(read_text(path, limit=BY_HAND, error=error), path, error=error)


def parse_yaml(text: str, where: str | Path, *, as_texts: bool = False, error: Kind = BadFileError) -> Any:
    """YAML, by its own types or with every value but null as the text that was written (`yes`, `1.10`). Raises `error`.

    The depth is seen from libyaml's events, before anything recurses over it.
    """
    if len(text) > BY_HAND:
        raise error(f"has more than {BY_HAND:,} characters of YAML, which nobody writes by hand", where=where)
    loader = _Texts if as_texts else _SafeLoader

    def load(text: str) -> Any:
        require_shallow_yaml(text)
        return yaml.load(text, Loader=loader)

    value = _parsed(load, text, "YAML", where, error)
    _require_shallow(value, where, error, VALUES)
    return value


_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Texts(_SafeLoader):  # type: ignore[misc]
    """Scalars are the texts that stand there: only null is null, and `<<` merges."""


_Texts.yaml_implicit_resolvers = {
    first: kept
    for first, resolvers in _SafeLoader.yaml_implicit_resolvers.items()
    if (kept := [pair for pair in resolvers if pair[0] in ("tag:yaml.org,2002:null", "tag:yaml.org,2002:merge")])
}


def require_shallow_yaml(text: str) -> None:
    """Raises ValueError where lists and mappings open too deep, before anything recurses over them; yaml.YAMLError."""
    depth = 0
    for event in yaml.parse(text, Loader=_SafeLoader):
        if isinstance(event, yaml.events.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.events.CollectionEndEvent):
            depth -= 1
        if depth > DEPTH:
            raise ValueError(f"its values stand more than {DEPTH} deep in each other")


def _parsed(parse: Callable[[Any], Any], text: str | bytes, name: str, where: str | Path, error: Kind) -> Any:
    try:
        return parse(text)
    except RecursionError:
        raise error(f"its values stand more than {DEPTH} deep in each other", where=where) from None
    except UNREADABLE as problem:
        head = text[:HEAD].encode("utf-8", "replace") if isinstance(text, str) else text[:HEAD]
        if other := recognized(head, JSON, TEXT):
            raise error(f"is {other.what}", where=where, hint=other.hint) from problem
        raise error(f"is not {name}: {' '.join(str(problem).split())[:300]}", where=where) from problem


def _require_shallow(value: Any, where: str | Path, error: Kind, most: int = SMALL) -> None:
    """Raises `error` for values too deep in each other, and for more than `most`, which aliases can make of a few."""
    level, count = [value], 0
    for _ in range(DEPTH + 1):
        inner: list[Any] = []
        for item in level:
            if isinstance(item, Mapping):
                inner.extend(item.values())
            elif isinstance(item, list):
                inner.extend(item)
            if count + len(inner) > most:
                raise error(f"it comes to more than {most:,} values", where=where)
        if not inner:
            return
        level, count = inner, count + len(inner)
    raise error(f"its values stand more than {DEPTH} deep in each other", where=where)


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80


def shown(value: Any) -> str:
    """A value from a file as a message shows it: short, whatever its size and depth."""
    return _SHORT.repr(value)
