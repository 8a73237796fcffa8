"""Damage to files, from a seed: bytes changed anywhere, and values changed where a format has them."""

from __future__ import annotations

import json
import random
import re
from typing import Any

NUMBERS = (0, 1, 2, 7, 127, 255, 256, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**62, 2**63 - 1, 2**64 - 1)
#: Words that formats, terminals and file systems have ideas about.
WORDS = (
    *("", "\0", "\n", "..", "../../etc/passwd", "/dev/zero", "~root", "C:\\x", "\x1b[31m", "\u202e", "\ud800", "NaN"),
    *(
        "Infinity",
        "-1",
        "1e999",
        "null",
        "true",
        "{{ x }}",
        "{% for",
        "%s%n",
        "<b>",
        "yes",
        "2026-11-26",
        "&a [*a]",
    ),
)
TEXTS = tuple(word.encode("utf-8", "surrogatepass") for word in WORDS)
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**30, 0.5, -0.0, 1e308, float("nan"), float("inf")),
    *("", "x", "\x1b[31m", "\ud800", "a" * 300, [], {}, [[]], [None], {"a": 1}, {"": {}}, [1, "a", None], "gemma4"),
)
BLANKS = re.compile(rb"\s+")


class Mutator:
    """Makes variants of the files of a corpus; which ones depends on the seed alone."""

    def __init__(self, corpus: list[bytes], seed: object, most: int = 65536):
        self._random, self._corpus, self._most = random.Random(str(seed)), corpus, most

    def next(self) -> bytes:
        choice = self._random.random()
        data = self._random.choice(self._corpus)
        if choice < 0.01:
            return self._random.randbytes(self._random.randrange(200))
        if choice < 0.5:
            data = self.tree(data)
        for _ in range(self._random.choice((0, 1, 1, 2, 4)) if choice < 0.5 else self._random.choice((1, 1, 2, 3, 8))):
            data = self.bytes(data)
        return data[: self._most]

    def bytes(self, data: bytes) -> bytes:
        """One change to the bytes."""
        rng = self._random
        at, other = rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)
        match rng.randrange(8):
            case 0:
                return data[:at] + rng.randbytes(rng.choice((1, 1, 2, 8))) + data[at + 1 :]
            case 1:
                size = rng.choice((1, 2, 4, 8))
                number = (rng.choice(NUMBERS) + rng.choice((-1, 0, 0, 1))) % 256**size
                return data[:at] + number.to_bytes(size, rng.choice(("little", "little", "big"))) + data[at + size :]
            case 2:
                return data[:at] + data[at + rng.randrange(1, 40) :]
            case 3:
                return data[:at] + rng.choice(TEXTS) + data[at:]
            case 4:
                return data[:at] + data[other : other + rng.randrange(1, 60)] + data[at:]
            case 5:
                return data[:at]
            case 6:
                return data[:at] + rng.choice(self._corpus)[other:]
            case _:
                return data[:at] + data[at : at + 1] * rng.choice((2, 30, 3000)) + data[at:]

    def tree(self, data: bytes) -> bytes:
        """One value of JSON changed (also of a safetensors header), or one word of a text."""
        head, body, rest = _json_in(data)
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            return self._word(data)
        changed = json.dumps(self._value(value), ensure_ascii=self._random.random() < 0.5)
        raw = changed.encode("utf-8", "surrogatepass")
        return (len(raw).to_bytes(8, "little") if head else b"") + raw + rest

    def _word(self, data: bytes) -> bytes:
        places = [found.end() for found in BLANKS.finditer(data)] or [0]
        at = self._random.choice(places)
        end = BLANKS.search(data, at)
        word = self._random.choice(
            (*TEXTS, str(self._random.choice(NUMBERS)).encode(), b"[" * 5000, b'{"a":' * 2000, b"- " * 200)
        )
        return data[:at] + word + data[end.start() if end else len(data) :]

    def _value(self, value: Any) -> Any:
        rng = self._random
        if not isinstance(value, (dict, list)) or not value or rng.random() < 0.1:
            return rng.choice((*ODD, [value], [value] * 3, {"x": value}))
        if isinstance(value, list):
            at = rng.randrange(len(value))
            return [*value[:at], self._value(value[at]), *value[at + rng.choice((0, 1, 1, 2)) :]]
        key = rng.choice(list(value))
        if rng.random() < 0.2:
            return {name: one for name, one in value.items() if name != key}
        if rng.random() < 0.1:
            return {**value, rng.choice(WORDS): value[key]}
        return {**value, key: self._value(value[key])}


def _json_in(data: bytes) -> tuple[bytes, bytes, bytes]:
    """The length before it (safetensors), JSON, what is behind it."""
    length = int.from_bytes(data[:8], "little")
    if data[8:9] == b"{" and length <= len(data) - 8:
        return data[:8], data[8 : 8 + length], data[8 + length :]
    return b"", data, b""
