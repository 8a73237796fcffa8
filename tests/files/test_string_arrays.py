"""Arrays of strings are stepped over quickly, and rightly whatever is in the strings."""

from __future__ import annotations

import random

import numpy as np
import pytest

from gemma_mtp.errors import GGUFError
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_reader import HeaderIncomplete, parse_header
from gemma_mtp.files.gguf_values import ValueType
from gemma_mtp.files.gguf_writer import encode_header

PLAIN = [f"token {index}" for index in range(150_000)]
ODD = [
    "",
    "a\0b",
    "\0" * 7,
    "\0" * 8,
    "\1" + "\0" * 7,
    "x" * 255,
    "x" * 256,
    "x" * 300_000,
    "\0" * 14 + "\3" + "\0" * 7,
]


def mixed(seed: int) -> list[str]:
    generator = random.Random(seed)
    return [generator.choice(ODD) if generator.random() < 0.01 else f"{index}" for index in range(9_000)]


def header(texts: list[str]) -> bytes:
    return encode_header({"texts": gv.strings(texts), "after": gv.u32(7)}, [])


@pytest.mark.parametrize("texts", [PLAIN, ODD * 20, ["", *PLAIN[:5000], "\0"], *(mixed(seed) for seed in range(4))])
def test_every_string_is_found_and_what_comes_after(texts: list[str]):
    raw = header(texts)
    metadata = parse_header(memoryview(raw), len(raw)).metadata
    assert metadata["texts"].decode() == texts
    assert metadata["after"].integer() == 7


@pytest.mark.parametrize("texts", [PLAIN[:200], ODD[:7]])
def test_a_buffer_that_ends_inside_is_told_at_every_byte(texts: list[str]):
    raw = header(texts)
    for end in range(60, len(raw) - 40, 7):
        with pytest.raises(HeaderIncomplete):
            parse_header(memoryview(raw)[:end], len(raw))
        with pytest.raises(GGUFError, match=r"the file ends inside|more than the"):
            parse_header(memoryview(raw)[:end], end)


def test_the_first_items_are_cut_off_before_they_are_decoded():
    texts = gv.strings(["a", "bb", "", "dddd"]).first(3)
    assert texts.decode() == ["a", "bb", ""]
    assert len(texts.payload) == 3 * 8 + 3
    numbers = gv.array(ValueType.INT32, np.arange(5)).first(2)
    assert (numbers.decode().tolist(), numbers.count, len(numbers.payload)) == ([0, 1], 2, 8)
    assert gv.u32(1).first(3) == gv.u32(1)
    assert gv.strings(["a"]).first(3).count == 1
