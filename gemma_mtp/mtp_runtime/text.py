"""From tokens to text that can be shown: characters split across tokens wait until they are whole."""

from __future__ import annotations

import codecs


class TextStream:
    """Bytes in, complete characters out."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self.text = ""

    def feed(self, piece: bytes, *, last: bool = False) -> str:
        """The characters that `piece` completes. With `last` an incomplete rest becomes a replacement character."""
        new = self._decoder.decode(piece, final=last)
        self.text += new
        return new
