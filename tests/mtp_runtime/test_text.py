"""Characters that are split across tokens come whole."""

from __future__ import annotations

import pytest

from gemma_mtp.mtp_runtime import MtpEngine
from gemma_mtp.mtp_runtime.text import TextStream

TEXTS = ["plain", "Grüße, 日本語, 🎉👩‍👩‍👧", "", "\x00\n\t"]


@pytest.mark.parametrize("text", TEXTS)
def test_bytes_one_by_one(text: str):
    stream = TextStream()
    pieces = [stream.feed(bytes([byte])) for byte in text.encode()]
    assert "".join(pieces) == stream.text == text
    assert "\ufffd" not in stream.text


def test_an_unfinished_character_waits_and_is_replaced_at_the_end():
    stream = TextStream()
    assert stream.feed("日".encode()[:2]) == ""
    assert stream.feed(b"", last=True) == "\ufffd"


def test_bytes_that_are_no_utf8_do_not_stop_the_stream():
    stream = TextStream()
    assert stream.feed(b"a\xffb") == "a\ufffdb"


@pytest.mark.parametrize("text", TEXTS)
def test_the_models_pieces_make_the_text_again(engine: MtpEngine, text: str):
    begin, *tokens = engine.tokenize(text)
    assert engine.target.piece(begin) == b""
    assert b"".join(map(engine.target.piece, tokens)).decode() == text
