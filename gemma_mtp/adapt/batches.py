"""Recorded pieces as batches of tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from gemma_mtp.adapt.rounds import Batch, Tensor
from gemma_mtp.adapt.signals import KINDS, Place, Signals
from gemma_mtp.adapt.weights import EMBEDDING, Weights

Array = np.ndarray[Any, Any]
#: Before this position there is too little to draft from.
FIRST = 12


class Feed:
    """Makes batches of signals. The target's embedding rows come from its file, those that are needed."""

    def __init__(self, signals: Signals, target: Weights, device: str = "cpu"):
        self.signals, self._target, self._device = signals, target, device

    def embedded(self, tokens: Array) -> Array:
        """The rows of `tokens` as the target feeds them: float32 [..., width]."""
        unique, inverse = np.unique(tokens, return_inverse=True)
        rows = self._target.rows(EMBEDDING, unique)
        fed: Array = rows * np.float32(rows.shape[1] ** 0.5)
        return np.asarray(fed[inverse.reshape(tokens.shape)])

    def batch(self, places: Sequence[Place], chain: int, first: int = FIRST) -> Batch:
        """Pieces side by side, with room for a chain behind the longest.

        Training rounds are valid from `first`, or from where a piece begins to count, as long as the target has said
        something about each of their steps.
        """
        loaded = [self.signals.load(place) for place in places]
        length = max(place.length for place in places) + chain
        arrays = {name: _stacked([one[name] for one in loaded], length) for name in loaded[0]}
        valid = np.zeros((len(places), length), bool)
        for row, place in zip(valid, places, strict=True):
            row[max(first, place.begin) : max(0, place.length - chain)] = True
        tensors = {name: torch.from_numpy(array).to(self._device) for name, array in arrays.items()}
        cache = {kind: (_by_head(tensors[f"{kind}_k"]), _by_head(tensors[f"{kind}_v"])) for kind in KINDS}
        return Batch(
            tokens=tensors["tokens"].long(),
            rows=torch.from_numpy(self.embedded(arrays["tokens"])).to(self._device),
            hidden=tensors["hidden"].float(),
            cache=cache,
            valid=torch.from_numpy(valid).to(self._device),
            top_ids=tensors["top_ids"].long(),
            top_logs=tensors["top_logs"].float(),
        )

    def batches(self, places: Sequence[Place], tokens: int, chain: int) -> Iterator[tuple[list[Place], Batch]]:
        """All pieces in batches of about so many tokens, pieces of like length together."""
        for group in grouped(sorted(places, key=lambda place: place.length), tokens):
            yield group, self.batch(group, chain)


def grouped(places: Sequence[Place], tokens: int) -> Iterator[list[Place]]:
    """Neighbours together, as long as they come to no more than `tokens` when filled up to one length."""
    group: list[Place] = []
    for place in places:
        if group and (len(group) + 1) * max(place.length, *(one.length for one in group)) > tokens:
            yield group
            group = []
        group.append(place)
    if group:
        yield group


def _stacked(arrays: Sequence[Array], length: int) -> Array:
    """[texts, length, ...], with zeros behind the shorter ones."""
    whole = np.zeros((len(arrays), length, *arrays[0].shape[1:]), arrays[0].dtype)
    for row, array in zip(whole, arrays, strict=True):
        row[: len(array)] = array
    return whole


def _by_head(cached: Tensor) -> Tensor:
    """[texts, length, heads, width] -> float32 [texts, heads, length, width]."""
    return cached.float().transpose(1, 2)
