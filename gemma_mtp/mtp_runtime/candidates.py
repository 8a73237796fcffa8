"""From logits to the tokens that may be drawn: penalties, top-k, top-p, min-p, temperature, as llama.cpp means them.

A vocabulary has 262,144 tokens and this happens for every row, so nothing here sorts the vocabulary or loops over it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from gemma_mtp.native.settings import Sampling

#: A row is looked at as lines of so many logits: the maxima of its columns cost one pass over it, and nothing else that
#: is asked of it needs more than the few columns in which something is. (Of widths from 256 to 8,192 the fastest.)
COLUMNS = 4096
#: The columns' maxima are put together to so many, if that is enough for a bound which few more logits reach.
GROUPS = 512
#: Logits that are so far below the best one have at most this share of its probability each.
NEAR = 8.0
LEFT = math.exp(-NEAR)
#: Fewer logits than this are looked at one by one.
FEW = 2 * COLUMNS
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
    tokens, kept = _most_probable(logits, sampling)
    if sampling.min_p > 0 and len(tokens) > 1:
        enough = kept >= kept.max() + math.log(sampling.min_p)
        tokens, kept = tokens[enough], kept[enough]
    return Candidates(tokens, kept / sampling.temperature if sampling.temperature != 1 else kept)


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


def _most_probable(logits: np.ndarray, sampling: Sampling) -> tuple[np.ndarray, np.ndarray]:
    """Token ids after top-k and top-p, and their logits in float64."""
    if sampling.top_k >= len(logits) or not sampling.top_k:
        return _nucleus_of_all(logits, sampling)
    row, share = _Row(logits), sampling.top_p
    if share < 1 and (found := _few(row, sampling.top_k, share)):
        return found
    tokens, kept = _in_order(*row.reaching(row.bound(sampling.top_k)))
    count = _nucleus(kept[: sampling.top_k], share)
    return tokens[:count], kept[:count]


def _few(row: _Row, top_k: int, share: float) -> tuple[np.ndarray, np.ndarray] | None:
    """The same where few logits come near the best one, as in most of a text; None if it takes more to know.

    The rest of the `top_k`, not looked at, is not nothing: but what it can be at most must make no difference.
    """
    most_probable = int(row.best.argmax())
    near = row.best[most_probable] - NEAR
    columns = np.count_nonzero(row.best >= near)
    if columns >= top_k:
        return None
    tokens, kept = row.column(most_probable, near) if columns == 1 else _in_order(*row.reaching(near))
    if len(tokens) == 1:
        return (tokens, kept) if share * (1 + (top_k - 1) * LEFT) <= 1 else None
    sums = np.exp(kept - kept[0]).cumsum()
    count = int(sums.searchsorted(share * sums[-1])) + 1
    most = sums[-1] + max(top_k - len(kept), 0) * LEFT
    return None if len(kept) > top_k or sums[count - 1] < share * most else (tokens[:count], kept[:count])


def _nucleus_of_all(logits: np.ndarray, sampling: Sampling) -> tuple[np.ndarray, np.ndarray]:
    """The same without top-k."""
    if sampling.top_p < 1:
        return _top_p(logits, sampling.top_p)
    row = _Row(logits)
    least = row.best.max() + math.log(sampling.min_p) - ROUNDING if sampling.min_p > 0 else LEAST
    tokens, kept = row.reaching(least)
    return tokens, kept.astype(np.float64)


class _Row:
    """Logits, float32 [vocabulary], and the maxima of the columns in which they are looked at.

    best: float32 [columns]; logits after the last whole line are columns of their own.
    """

    def __init__(self, logits: np.ndarray):
        self._columns = COLUMNS if len(logits) >= FEW else len(logits)
        whole = len(logits) // self._columns * self._columns
        self._lines, self._rest = logits[:whole].reshape(-1, self._columns), logits[whole:]
        self.best = self._lines.max(axis=0) if len(self._lines) > 1 else logits
        if len(self._rest):
            self.best = np.concatenate((self.best, self._rest))

    def bound(self, count: int) -> float:
        """A value that at least `count` logits reach, and few more do. There must be so many."""
        best = self.best
        if len(best) % GROUPS == 0 and 4 * count <= GROUPS < len(best):
            best = best.reshape(-1, GROUPS).max(axis=0)
        if len(best) < count:  # of the columns there are fewer
            best = np.concatenate((self._lines.ravel(), self._rest))
        return float(np.partition(best, len(best) - count)[len(best) - count])

    def column(self, number: int, bound: float) -> tuple[np.ndarray, np.ndarray]:
        """What `reaching` finds where no other column reaches the bound, best first, the logits in float64."""
        if number >= self._columns:
            return _in_order(*self.reaching(bound))
        values = self._lines[:, number]
        lines = (values >= bound).nonzero()[0]
        return _in_order(lines * self._columns + number, values[lines])

    def reaching(self, bound: float) -> tuple[np.ndarray, np.ndarray]:
        """Ids of the logits that are at least `bound`, in ascending order, and these logits."""
        columns = (self.best >= bound).nonzero()[0]
        alone = columns.searchsorted(self._columns) if len(self._rest) else len(columns)
        inside = columns[:alone]
        values = self._lines.take(inside, axis=1).ravel()
        places = (values >= bound).nonzero()[0]
        lines, columns_of = np.divmod(places, max(alone, 1))
        tokens, kept = lines * self._columns + inside[columns_of], values[places]
        if alone == len(columns):
            return tokens, kept
        rest = columns[alone:] - self._columns
        return np.concatenate((tokens, rest + self._lines.size)), np.concatenate((kept, self._rest[rest]))


def top(logits: np.ndarray, count: int) -> np.ndarray:
    """Ids of the `count` best logits, best first; of equal ones the lowest ids."""
    return _best(logits, count)[0]


def _best(logits: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The same, and these logits in float64."""
    if count >= len(logits):
        tokens, kept = np.arange(len(logits)), logits
    else:
        row = _Row(logits)
        tokens, kept = row.reaching(row.bound(count))
    tokens, kept = _in_order(tokens, kept)
    return tokens[:count], kept[:count]


def _in_order(tokens: np.ndarray, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tokens, in ascending order, and their logits by these: best first, equal ones as they stand; in float64."""
    if len(tokens) == 1:
        return tokens, kept.astype(np.float64)
    order = (-kept).argsort(kind="stable")
    return tokens[order], kept[order].astype(np.float64)


def _hopeful(logits: np.ndarray, count: int) -> np.ndarray:
    """A copy of some logits, the `count` best among them, in any order."""
    if len(logits) < FEW:
        return np.array(logits)
    row = _Row(logits)
    return row.reaching(row.bound(count))[1]


def _top_p(logits: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """The best tokens that together have this probability: how many that is, is found by trying more and more."""
    best = float(logits.max())
    total = float(np.exp(logits - best).sum(dtype=np.float64))
    count = GROUPS // 2
    while True:
        tokens, kept = _best(logits, count)
        reached = np.exp(kept - best).sum() / total
        if count >= len(logits) or reached >= share:
            found = _nucleus(kept, share, total)
            return tokens[:found], kept[:found]
        count *= 8


def _nucleus(kept: np.ndarray, share: float, total: float | None = None) -> int:
    """How many of the logits, best first, reach `share` of the probability together, at least 1.

    total: of all exp(logit - best), where there are more than these.
    """
    if share >= 1:
        return len(kept)
    sums = np.exp(kept - kept[0]).cumsum()
    return min(int(sums.searchsorted(share * (sums[-1] if total is None else total))) + 1, len(kept))


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
