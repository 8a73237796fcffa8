"""Which token comes next, given logits; and which drafts a sampler proposes and keeps.

Three samplers, one for each promise: `Greedy` and `Matching` give the text that plain decoding gives, `Rejecting` a
text of the same distribution.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from gemma_mtp.mtp_runtime import noise
from gemma_mtp.mtp_runtime.candidates import Candidates, Penalties, candidates, softmax
from gemma_mtp.native.settings import Sampling
from gemma_mtp.native.stats import Statistics

#: With more candidates than this it pays to look first which of them can win.
MANY = 1000


class Sampler(Protocol):
    """The choice of tokens. `index` counts the generated tokens from 0; logits are float32 [vocabulary], and may be
    changed in place. seed: of all randomness, None if there is none."""

    @property
    def seed(self) -> int | None: ...

    def propose(self, logits: np.ndarray, index: int) -> int:
        """The drafter's token for place `index`."""

    def choose(self, logits: np.ndarray, index: int, draft: int | None = None) -> int:
        """The target's token for place `index`; equal to `draft` if that is accepted. Called once for each place."""


def make_sampler(sampling: Sampling | None, prompt: Sequence[int], banned: Sequence[int] = ()) -> Sampler:
    """The sampler for a generation after `prompt`. banned: tokens that are never chosen."""
    sampling = sampling or Sampling()
    penalties = Penalties(sampling, list(prompt)) if sampling.penalises else None
    if sampling.temperature == 0:
        return Greedy(banned, penalties)
    drawing = Matching if sampling.mode == "match" else Rejecting
    return drawing(sampling, len(prompt), banned, penalties)


class Greedy:
    """The most probable token, always. Ties go to the lowest id, as in llama.cpp."""

    def __init__(self, banned: Sequence[int] = (), penalties: Penalties | None = None):
        """banned: tokens that the target never chooses."""
        self.seed: int | None = None
        self._banned = np.asarray(banned, np.int64) if banned else None
        self._penalties = penalties

    def propose(self, logits: np.ndarray, index: int) -> int:
        return self._best(logits, index)

    def choose(self, logits: np.ndarray, index: int, draft: int | None = None) -> int:
        if self._banned is not None:
            logits[self._banned] = -np.inf
        return self._best(logits, index)

    def _best(self, logits: np.ndarray, index: int) -> int:
        if self._penalties is None:
            return int(logits.argmax())
        self._penalties.apply(logits, index)
        token = int(logits.argmax())
        self._penalties.note(token)
        return token


class _Drawing:
    """What the samplers that draw have in common."""

    def __init__(self, sampling: Sampling, begin: int, banned: Sequence[int], penalties: Penalties | None):
        """begin: the place in the text of the first generated token, to which randomness is bound."""
        self._sampling, self._begin, self._penalties = sampling, begin, penalties
        self._banned = np.asarray(banned, np.int64) if banned else None
        self.seed = secrets.randbits(32) if sampling.seed is None else sampling.seed

    def _candidates(self, logits: np.ndarray, index: int) -> Candidates:
        if self._banned is not None:
            logits[self._banned] = -np.inf
        if self._penalties is not None:
            self._penalties.apply(logits, index)
        return candidates(logits, self._sampling)

    def _said(self, token: int) -> int:
        if self._penalties is not None:
            self._penalties.note(token)
        return token

    def _uniform(self, index: int, stream: int) -> float:
        return noise.uniform(self.seed, self._begin + index, stream)


class Matching(_Drawing):
    """Draws from the target's distribution with randomness bound to seed and place: drafting changes nothing.

    The draw is the Gumbel-max trick: the largest of logit + Gumbel noise is distributed as the softmax. The noise
    belongs to the token id, so the drafter, which draws with the same noise from its own logits, mostly draws what the
    target will (Daliri et al.: Coupling without communication and drafter-invariant speculative decoding, 2024).
    """

    def propose(self, logits: np.ndarray, index: int) -> int:
        return self._draw(logits, index)

    def choose(self, logits: np.ndarray, index: int, draft: int | None = None) -> int:
        return self._draw(logits, index)

    def _draw(self, logits: np.ndarray, index: int) -> int:
        tokens, scores = self._candidates(logits, index)
        place, stream = self._begin + index, noise.CHOICE
        if len(tokens) > MANY:  # most cannot win, whatever their noise
            best = int(scores.argmax())
            lead = scores[best] + noise.gumbels(self.seed, place, stream, tokens[best : best + 1])[0]
            hopeful = scores >= lead - noise.LARGEST_GUMBEL
            tokens, scores = tokens[hopeful], scores[hopeful]
        if len(tokens) == 1:  # whatever its noise
            return self._said(int(tokens[0]))
        return self._said(int(tokens[(scores + noise.gumbels(self.seed, place, stream, tokens)).argmax()]))


#: The weights of one token.
ALONE = np.ones(1)


class Rejecting(_Drawing):
    """Speculative sampling (Leviathan et al., 2023, algorithm 1; Chen et al., 2023): drafts are drawn from the
    drafter's distribution q and kept with probability min(1, p/q); in place of a rejected one the target draws from
    what of p exceeds q. The result is distributed as p.

    It holds only if nobody drops a draft because of what it is: see `MtpEngine.generate`.
    """

    def __init__(self, sampling: Sampling, begin: int, banned: Sequence[int], penalties: Penalties | None):
        super().__init__(sampling, begin, banned, penalties)
        self._proposed: dict[int, Distribution] = {}

    def propose(self, logits: np.ndarray, index: int) -> int:
        q = self._proposed[index] = self._distribution(logits, index)
        if len(q.tokens) == 1:  # whatever is drawn
            return self._said(int(q.tokens[0]))
        return self._said(q.draw(self._uniform(index, noise.PROPOSAL)))

    def choose(self, logits: np.ndarray, index: int, draft: int | None = None) -> int:
        p, q = self._distribution(logits, index), self._proposed.pop(index, None)
        if len(p.tokens) == 1:  # such a draft is kept, any other is not, and what of p exceeds q is this token
            return self._said(int(p.tokens[0]))
        if draft is None or q is None:
            return self._said(p.draw(self._uniform(index, noise.CHOICE)))
        if self._uniform(index, noise.ACCEPTANCE) * q.of_one(draft) < p.of_one(draft):
            return self._said(draft)
        excess = Distribution(p.tokens, np.maximum(p.weights - q.of(p.tokens), 0))
        return self._said(excess.draw(self._uniform(index, noise.RESIDUAL)))

    def _distribution(self, logits: np.ndarray, index: int) -> Distribution:
        tokens, scores = self._candidates(logits, index)
        return Distribution(tokens, softmax(scores) if len(tokens) > 1 else ALONE)


class Distribution(NamedTuple):
    """tokens: ids, int64 [n]. weights: float64 [n], at least 0; what is not listed has none."""

    tokens: np.ndarray
    weights: np.ndarray

    def of_one(self, token: int) -> float:
        """The weight of `token`."""
        return float(self.weights[self.tokens == token].sum())

    def of(self, tokens: np.ndarray) -> np.ndarray:
        """The weights of `tokens`."""
        if len(self.tokens) < MANY:
            order = self.tokens.argsort()
            places = order[np.minimum(self.tokens[order].searchsorted(tokens), len(order) - 1)]
            return np.where(self.tokens[places] == tokens, self.weights[places], 0.0)
        dense = np.zeros(1 + max(self.tokens.max(), tokens.max()))
        dense[self.tokens] = self.weights
        return np.asarray(dense[tokens])

    def draw(self, uniform: float) -> int:
        """A token by its weight. uniform: in (0, 1)."""
        sums = self.weights.cumsum()
        place = int(sums.searchsorted(uniform * sums[-1], side="right"))
        return int(self.tokens[min(place, len(sums) - 1)])


class Timed:
    """A sampler whose time is counted in `statistics.sampling_seconds`."""

    def __init__(self, sampler: Sampler, statistics: Statistics):
        self._sampler, self._statistics, self.seed = sampler, statistics, sampler.seed

    def propose(self, logits: np.ndarray, index: int) -> int:
        with self._statistics.timed("sampling_seconds"):
            return self._sampler.propose(logits, index)

    def choose(self, logits: np.ndarray, index: int, draft: int | None = None) -> int:
        with self._statistics.timed("sampling_seconds"):
            return self._sampler.choose(logits, index, draft)
