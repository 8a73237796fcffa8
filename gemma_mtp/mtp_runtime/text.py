"""From tokens to text that can be shown: what may still turn into something else waits."""

from __future__ import annotations

import codecs
from collections.abc import Sequence


class TextStream:
    """Bytes in, text out: characters when they are whole, and nothing of a stop string, ever.

    text: all that came out. stopped: a stop string was met; what follows it is not text any more.
    """

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._stop, self._waiting = tuple(stop), ""
        self.text = ""
        self.stopped = False

    def feed(self, piece: bytes, *, last: bool = False) -> str:
        """What can be shown now. With `last` nothing waits any more, and half a character becomes a replacement."""
        if self.stopped:
            return ""
        text = self._waiting + self._decoder.decode(piece, final=last)
        found = [place for place in map(text.find, self._stop) if place >= 0]
        self.stopped = bool(found)
        end = min(found) if found else len(text) if last else self._settled(text)
        new, self._waiting = text[:end], "" if found else text[end:]
        self.text += new
        return new

    def _settled(self, text: str) -> int:
        """Where the longest end of `text` starts that could be the beginning of a stop string."""
        longest = max(map(len, self._stop), default=1)
        for start in range(max(0, len(text) - longest + 1), len(text)):
            if any(stop.startswith(text[start:]) for stop in self._stop):
                return start
        return len(text)
