"""Random numbers that are bound to their place: a function of seed, place and stream, not of what was drawn before.

So the draw at a place of the text is the same whether or not something was drafted on the way there. The generator is
SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014), which can be entered
anywhere: its n-th output is `mix(start + n * GAMMA)`.
"""

from __future__ import annotations

import math

import numpy as np

GAMMA = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1
_ROUNDS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_LAST = 31
#: The same for arrays: a Python number would be converted at each use, which takes longer than the use.
_ARRAY_GAMMA, _ARRAY_LAST, _UNUSED = np.uint64(GAMMA), np.uint64(_LAST), np.uint64(12)
_ARRAY_ROUNDS = tuple((np.uint64(shift), np.uint64(factor)) for shift, factor in _ROUNDS)

#: What a number is for. One place may need several, which must be independent of each other.
CHOICE, PROPOSAL, ACCEPTANCE, RESIDUAL = range(4)

#: No `gumbels` are larger: the largest of `uniforms` is 1 - 2^-53.
LARGEST_GUMBEL = -math.log(-math.log1p(-(2.0**-53)))


def mix(word: int) -> int:
    """SplitMix64's output function."""
    for shift, factor in _ROUNDS:
        word = ((word ^ (word >> shift)) * factor) & MASK
    return word ^ (word >> _LAST)


def _mix_all(words: np.ndarray) -> None:
    """`mix` for each of words, uint64, in place."""
    for shift, factor in _ARRAY_ROUNDS:
        words ^= words >> shift
        words *= factor
    words ^= words >> _ARRAY_LAST


def start(seed: int, place: int, stream: int) -> int:
    """The state at which a place's numbers begin: seed, place and stream, each mixed in by a step of the generator."""
    state = 0
    for part in (seed, place, stream):
        state = mix(((state ^ part) + GAMMA) & MASK)
    return state


def uniforms(seed: int, place: int, stream: int, numbers: np.ndarray) -> np.ndarray:
    """float64 in (0, 1), neither end included, one for each of `numbers` (integers of at least 0)."""
    words = numbers.astype(np.uint64)
    words *= _ARRAY_GAMMA
    words += np.uint64(start(seed, place, stream))
    _mix_all(words)
    words >>= _UNUSED
    found = words.astype(np.float64)
    found += 0.5
    found *= 2.0**-52
    return found


def uniform(seed: int, place: int, stream: int) -> float:
    """The first of `uniforms`."""
    return ((mix(start(seed, place, stream)) >> 12) + 0.5) * 2.0**-52


def gumbels(seed: int, place: int, stream: int, tokens: np.ndarray) -> np.ndarray:
    """float64 numbers of the standard Gumbel distribution, one for each token id: the same id, the same number."""
    found = uniforms(seed, place, stream, tokens)
    for _ in range(2):
        np.log(found, out=found)
        np.negative(found, out=found)
    return found
