"""Random numbers that are bound to their place: a function of seed, place and stream, not of what was drawn before.

So the draw at a place of the text is the same whether or not something was drafted on the way there. The generator is
SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014), which can be entered
anywhere: its n-th output is `mix(start + n * GAMMA)`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

GAMMA = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1
_ROUNDS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))

#: What a number is for. One place may need several, which must be independent of each other.
CHOICE, PROPOSAL, ACCEPTANCE, RESIDUAL = range(4)

#: No `gumbels` are larger: the largest of `uniforms` is 1 - 2^-53.
LARGEST_GUMBEL = -math.log(-math.log1p(-(2.0**-53)))


def mix(words: Any) -> Any:
    """SplitMix64's output function, for an integer or elementwise for uint64."""
    for shift, factor in _ROUNDS:
        words = ((words ^ (words >> shift)) * factor) & MASK
    return words ^ (words >> 31)


def start(seed: int, place: int, stream: int) -> int:
    """The state at which a place's numbers begin: seed, place and stream, each mixed in by a step of the generator."""
    state = 0
    for part in (seed, place, stream):
        state = int(mix(((state ^ part) + GAMMA) & MASK))
    return state


def uniforms(seed: int, place: int, stream: int, numbers: np.ndarray) -> np.ndarray:
    """float64 in (0, 1), neither end included, one for each of `numbers` (integers of at least 0)."""
    words = mix(numbers.astype(np.uint64) * np.uint64(GAMMA) + np.uint64(start(seed, place, stream)))
    return np.asarray(((words >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52)


def uniform(seed: int, place: int, stream: int) -> float:
    """One number in (0, 1)."""
    return float(uniforms(seed, place, stream, np.zeros(1, np.uint64))[0])


def gumbels(seed: int, place: int, stream: int, tokens: np.ndarray) -> np.ndarray:
    """float64 numbers of the standard Gumbel distribution, one for each token id: the same id, the same number."""
    return np.asarray(-np.log(-np.log(uniforms(seed, place, stream, tokens))))
