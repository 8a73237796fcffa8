"""Which token comes next, given logits; and which drafts a sampler proposes and keeps."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class Sampler(Protocol):
    """The choice of tokens. `index` counts the generated tokens from 0; logits are float32 [vocabulary]."""

    def propose(self, logits: np.ndarray, index: int) -> int:
        """The drafter's token for place `index`."""

    def choose(self, logits: np.ndarray, index: int, draft: int | None = None) -> int:
        """The target's token for place `index`; equal to `draft` if that is accepted."""


class Greedy:
    """The most probable token, always. Ties go to the lowest id, as in llama.cpp."""

    def __init__(self, banned: list[int] | None = None):
        """banned: tokens that the target never chooses."""
        self._banned = np.asarray(banned or [], np.int64)

    def propose(self, logits: np.ndarray, index: int) -> int:
        return int(logits.argmax())

    def choose(self, logits: np.ndarray, index: int, draft: int | None = None) -> int:
        logits[self._banned] = -np.inf
        return int(logits.argmax())
