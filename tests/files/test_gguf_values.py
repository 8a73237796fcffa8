"""String arrays are encoded as a whole: the bytes must be what encoding them one by one gives."""

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gemma_mtp.files import gguf_values as gv


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
@example([])
@example(["", "\0", "\0" * 9, "ÿ", "\uffff\U0010ffff", "a" * 70_000])
def test_strings(texts):
    value = gv.strings(texts)
    raw = [text.encode() for text in texts]
    assert value.payload == b"".join(struct.pack("<Q", len(item)) + item for item in raw)
    assert value.raw_strings() == raw
    assert value.decode() == texts


@pytest.mark.parametrize("text", ["\ud83d", "a\udcffb"])
def test_half_a_character_is_refused(text):
    with pytest.raises(UnicodeEncodeError):
        gv.strings(["a", text])
