"""N-gram drafters: what they find in a text, and what ngram-mod forgets."""

from __future__ import annotations

import numpy as np

from gemma_mtp.mtp_runtime.drafter import Asked
from gemma_mtp.mtp_runtime.ngrams import FACTOR, MOST_BAD, PLACES, NgramMod, NgramSimple, places
from gemma_mtp.native.methods import Use

NO_ROW = np.zeros(0, np.float32)
TEXT = [9, *range(10, 30), 7, *range(10, 18)]


def test_simple_copies_what_followed_the_last_match():
    drafter = NgramSimple(Use("ngram-simple", 6, 4))
    assert drafter.guess(TEXT[:-1], 17) == [18, 19, 20, 21, 22, 23]
    assert drafter.guess(TEXT[:-1], 16) == []
    assert drafter.draft(Asked(17, NO_ROW, TEXT[:-1], 2, None, 0)) == [18, 19]  # cut to what the round has room for
    assert drafter.guess([1, 2, 3, 4, 1, 2, 3], 4) == []  # shorter than both lengths together
    begun = [*range(10), *range(50, 60), 0, 1, 2]
    assert NgramSimple(Use("ngram-simple", 4, 4)).guess(begun, 3) == []  # the first place counts as none
    assert NgramSimple(Use("ngram-simple", 4, 4)).guess([99, *begun], 3) == [4, 5, 6, 7]


def test_simple_makes_no_draft_shorter_than_what_must_match():
    text = [*range(100, 120), 50, 51, 52, 53, 60, 61, 50, 51, 52]
    assert NgramSimple(Use("ngram-simple", 8, 4)).guess(text, 53) == [60, 61, 50, 51, 52]
    text = [*range(100, 120), 50, 51, 52, 53, 60, 50, 51]
    assert NgramSimple(Use("ngram-simple", 8, 4)).guess([*text, 52], 53) == [60, 50, 51, 52]
    assert NgramSimple(Use("ngram-simple", 8, 5)).guess([*text, 52], 53) == []


def test_mod_follows_the_chain_of_an_earlier_text():
    drafter = NgramMod(Use("ngram-mod", 8, 3))
    drafter.begin(list(range(10, 40)))
    assert drafter.guess([1, 2, 12, 13], 14) == [*range(15, 23)]
    assert drafter.guess([1, 2, 32, 33], 34) == []  # five known, six needed
    assert drafter.guess([1], 2) == []
    drafter.begin([1, 2])  # another text: what was read before stays
    assert drafter.guess([1, 2, 12, 13], 14) == [*range(15, 23)]


def test_mod_forgets_after_bad_drafts_in_a_row():
    drafter = NgramMod(Use("ngram-mod", 8, 3))
    drafter.begin(list(range(10, 40)))
    for accepted in (0, 1, 2, 0, 0, 0, 0):  # the third held by a quarter: counting begins anew
        assert drafter.guess([5, 12, 13], 14)
        drafter.learn(accepted)
    assert drafter.guess([5, 12, 13], 14)
    drafter.learn(1)
    assert MOST_BAD == 5
    assert drafter.guess([5, 12, 13], 14) == []


def test_the_place_is_the_hash_that_cpp_computes():
    tokens = [3, 262143, 17, 5]
    wanted = []
    for begin in range(2):
        value = 0
        for token in tokens[begin : begin + 3]:
            value = (value * FACTOR + token) % 2**64
        wanted.append(value % PLACES)
    assert places(tokens, 3) == wanted
