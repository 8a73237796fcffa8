"""Drafting without a model: what followed the same words before. Counterparts of llama.cpp's `ngram-simple` and
`ngram-mod` (common/ngram-map.cpp, common/ngram-mod.cpp, common/speculative.cpp), equal to them draft for draft.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gemma_mtp.mtp_runtime.drafter import Asked, Drafter
from gemma_mtp.native.methods import NGRAM_MOD, NGRAM_SIMPLE, Use

#: ngram-mod's table: so many places, and the factor of its hash; it is emptied when so large a share is taken.
PLACES, FACTOR, FULL = 4 * 1024 * 1024, 6364136223846793005, 0.25
#: New words are put into the table when there are so many more.
CHUNK = 32
#: A draft of which less than this share holds is a bad one; after so many in a row the table is emptied.
BAD_SHARE, MOST_BAD = 0.25, 5


class _Ngrams(Drafter):
    """What both have in common: drafts come from the text alone."""

    def __init__(self, use: Use):
        self._use = use

    def draft(self, asked: Asked) -> list[int]:
        return self.guess(asked.cached, asked.newest)[: asked.length]

    def guess(self, cached: Sequence[int], newest: int) -> list[int]:
        """What may follow `newest`, which follows `cached`; empty if nothing is known."""
        raise NotImplementedError


class NgramSimple(_Ngrams):
    """Finds the last place where the text's last `match` tokens stood before, and copies what came after it."""

    def guess(self, cached: Sequence[int], newest: int) -> list[int]:
        match, length, count = self._use.match, self._use.length, len(cached)
        if count <= match + length + 1:
            return []
        text = np.asarray(cached, np.int32)
        wanted = [*cached[count - match + 1 :], newest]
        found = np.arange(1, count - match)  # place 0 counts as none, as in llama.cpp
        for offset, token in enumerate(wanted):
            found = found[text[found + offset] == token]
        if not len(found):
            return []
        begin = int(found[-1]) + match
        copied = list(cached[begin : begin + length])
        return copied if len(copied) >= match else []


class NgramMod(_Ngrams):
    """Remembers by a hash of `match` tokens which one followed, over all texts, and follows that chain."""

    def __init__(self, use: Use):
        super().__init__(use)
        self._follows: dict[int, int] = {}
        self._noted = self._drafted = self._bad = 0

    def begin(self, prompt: Sequence[int]) -> None:
        self._noted = self._drafted = 0
        if len(prompt) < self._use.match:
            return
        self._note(prompt)
        if len(self._follows) > FULL * PLACES:
            self._follows.clear()

    def guess(self, cached: Sequence[int], newest: int) -> list[int]:
        match, count = self._use.match, len(cached)
        self._drafted = 0
        if count < match:
            return []
        if self._noted + CHUNK < count:
            self._note(cached)
        text = [*cached[count - match + 1 :], newest]
        while len(text) < match + self._use.length:
            token = self._follows.get(places(text[-match:], match)[0])
            if token is None:
                break
            text.append(token)
        drafts = text[match:]
        drafts = drafts if len(drafts) >= self._use.least else []
        self._drafted = len(drafts)
        return drafts

    def learn(self, accepted: int) -> None:
        if accepted >= BAD_SHARE * self._drafted:
            self._bad = 0
            return
        self._bad += 1
        if self._bad >= MOST_BAD:
            self._follows.clear()
            self._bad = self._noted = 0

    def _note(self, text: Sequence[int]) -> None:
        match, end = self._use.match, len(text)
        if end > self._noted + match:
            new = text[self._noted :]
            self._follows.update(zip(places(new[:-1], match), new[match:], strict=True))
        self._noted = end - match


def places(tokens: Sequence[int], match: int) -> list[int]:
    """Of each run of `match` tokens its place in ngram-mod's table."""
    text = np.asarray(tokens, np.int64).astype(np.uint64)
    count = len(text) - match + 1
    hashed = np.zeros(count, np.uint64)
    for offset in range(match):  # wraps at 64 bits, as in C++
        hashed = hashed * np.uint64(FACTOR) + text[offset : offset + count]
    return [int(place) for place in hashed % np.uint64(PLACES)]


#: A method's name -> who drafts so in this package's loop.
NGRAMS: dict[str, type[_Ngrams]] = {NGRAM_SIMPLE: NgramSimple, NGRAM_MOD: NgramMod}
