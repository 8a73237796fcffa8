"""From logits to the tokens that may be drawn: penalties, top-k, top-p, min-p, temperature, as llama.cpp means them.

A vocabulary has 262,144 tokens and this happens for every row, so nothing here sorts the vocabulary or loops over it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from gemma_mtp.native.settings import Sampling

#: Parts of the vocabulary whose maxima bound the k-th best logit from below.
PARTS = 512
#: Fewer logits than this are looked at one by one.
FEW = 16 * PARTS
#: The confidence is the share among so many.
TEN = 10
#: The smallest logit: below it are tokens that must not be chosen.
LEAST = float(np.finfo(np.float32).min)
#: What a bound in float32 may be off, generously.
ROUNDING = 1e-3


class Candidates(NamedTuple):
    """tokens: ids, int64 [n], in any order. logits: float64 [n], divided by the temperature."""

    tokens: np.ndarray
    logits: np.ndarray


def candidates(logits: np.ndarray, sampling: Sampling) -> Candidates:
    """What `sampling` leaves of logits, float32 [vocabulary]. The temperature must be above 0."""
    tokens = _most_probable(logits, sampling)
    kept = logits[tokens].astype(np.float64)
    if sampling.min_p > 0:
        enough = kept >= kept.max() + np.log(sampling.min_p)
        tokens, kept = tokens[enough], kept[enough]
    return Candidates(tokens, kept / sampling.temperature)


def confidence(logits: np.ndarray) -> float:
    """The best token's probability among the ten best: what llama.cpp compares with --spec-draft-p-min.

    It depends on no draw, so that a draft which ends here says nothing about the token that it would have had.
    """
    hopeful = _hopeful(logits, TEN)
    hopeful.partition(max(len(hopeful) - TEN, 0))
    # Ten numbers are added up fastest without NumPy, whose code is no longer in the CPU's caches after a pass.
    ten = hopeful[-TEN:].tolist()
    best = max(ten)
    return 1 / sum(math.exp(logit - best) for logit in ten)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max())
    return np.asarray(powers / powers.sum())


def _most_probable(logits: np.ndarray, sampling: Sampling) -> np.ndarray:
    """Token ids after top-k and top-p."""
    if sampling.top_k:
        tokens = top(logits, sampling.top_k)
        return tokens[: _nucleus(softmax(logits[tokens].astype(np.float64)), sampling.top_p)]
    if sampling.top_p < 1:
        return _top_p(logits, sampling.top_p)
    least = logits.max() + math.log(sampling.min_p) - ROUNDING if sampling.min_p > 0 else LEAST
    return np.flatnonzero(logits >= least)


def top(logits: np.ndarray, count: int) -> np.ndarray:
    """Ids of the `count` best logits, best first; of equal ones the lowest ids."""
    if count >= len(logits):
        return _ranked(logits, np.arange(len(logits)))
    return _ranked(logits, np.flatnonzero(logits >= _bound(logits, count)))[:count]


def _bound(logits: np.ndarray, count: int) -> float:
    """A value that at least `count` logits reach, and few more do."""
    # The maxima of the parts are `PARTS` different logits: their count-th best is the bound.
    best = _parts(logits).max(axis=0) if count <= PARTS // 2 and len(logits) >= 2 * PARTS else logits
    return float(np.partition(best, len(best) - count)[len(best) - count])


def _hopeful(logits: np.ndarray, count: int) -> np.ndarray:
    """A copy of some logits, the `count` best among them, in any order."""
    if len(logits) < FEW:
        return np.array(logits)
    parts = _parts(logits)
    best = np.argpartition(parts.max(axis=0), PARTS - count)[PARTS - count :]
    return np.concatenate((parts[:, best].ravel(), logits[parts.size :]))


def _parts(logits: np.ndarray) -> np.ndarray:
    """A view [n, PARTS] of nearly all logits, whose columns are the parts: so their maxima are found fastest."""
    width = len(logits) // PARTS
    return logits[: width * PARTS].reshape(width, PARTS)


def _top_p(logits: np.ndarray, share: float) -> np.ndarray:
    """The best tokens that together have this probability: how many that is, is found by trying more and more."""
    best = float(logits.max())
    total = float(np.exp(logits - best).sum(dtype=np.float64))
    count = PARTS // 2
    while True:
        tokens = top(logits, count)
        probabilities = np.exp(logits[tokens].astype(np.float64) - best) / total
        if count >= len(logits) or probabilities.sum() >= share:
            return tokens[: _nucleus(probabilities, share)]
        count *= 8


def _nucleus(probabilities: np.ndarray, share: float) -> int:
    """How many of the sorted probabilities reach `share` together, at least 1."""
    if share >= 1:
        return len(probabilities)
    return min(int(np.searchsorted(np.cumsum(probabilities), share)) + 1, len(probabilities))


def _ranked(logits: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """`tokens`, in ascending order, by their logits: best first, equal ones as they stand."""
    return tokens[np.argsort(-logits[tokens], kind="stable")]


class Penalties:
    """What was said lately becomes less probable (or more, as the user likes).

    Keeps the tokens before each place. Places must be visited as text grows, but one may go back and say something
    else there: that is how drafts come and go.
    """

    def __init__(self, sampling: Sampling, prompt: list[int]):
        self._sampling, self._tokens, self._prompt = sampling, list(prompt), len(prompt)

    def apply(self, logits: np.ndarray, index: int) -> None:
        """Change logits, float32 [vocabulary], of the `index`-th generated token in place."""
        options = self._sampling
        del self._tokens[self._prompt + index :]
        recent = self._tokens if options.repeat_last_n < 0 else self._tokens[-options.repeat_last_n :]
        tokens, counts = np.unique(np.asarray(recent, np.int64), return_counts=True)
        found = logits[tokens]
        found = np.where(found <= 0, found * options.repeat_penalty, found / options.repeat_penalty)
        logits[tokens] = found - counts * options.frequency_penalty - options.presence_penalty

    def note(self, token: int) -> None:
        """This token was said (or drafted) at the place that `apply` was called for last."""
        self._tokens.append(token)
