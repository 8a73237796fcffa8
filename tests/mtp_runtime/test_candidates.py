"""What sampling leaves of a row, against the plain way to find it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gemma_mtp.mtp_runtime.candidates import candidates, confidence
from gemma_mtp.native.settings import Sampling


def row(kind: str, size: int, seed: int = 0) -> np.ndarray:
    """Logits as a model gives them: sure of one token, torn between a few, or of no opinion. coarse: many equal."""
    random = np.random.default_rng(seed)
    logits = random.standard_normal(size).astype(np.float32) * 1.5
    few = random.integers(0, size, 60)
    logits[few] += np.linspace(4, 10, 60).astype(np.float32)
    if kind == "sure":
        logits[random.integers(0, size)] = 24
    if kind == "torn":
        logits[random.integers(0, size, 5)] = 18 + random.random(5).astype(np.float32)
    return np.round(logits * 2) / 2 if kind == "coarse" else logits


def plain(logits: np.ndarray, sampling: Sampling) -> dict[int, float]:
    """By sorting all of it."""
    order = np.argsort(-logits, kind="stable")[: sampling.top_k or None]
    kept = logits[order].astype(np.float64)
    weights = np.exp(kept - kept[0])
    if sampling.top_p < 1:
        count = int(np.searchsorted(np.cumsum(weights), sampling.top_p * weights.sum())) + 1
        order, kept = order[:count], kept[:count]
    enough = kept >= kept[0] + (math.log(sampling.min_p) if sampling.min_p else -math.inf)
    return dict(zip(order[enough].tolist(), (kept[enough] / sampling.temperature).tolist(), strict=True))


@pytest.mark.parametrize("size", [1, 9, 3000, 8192, 262_144, 262_149, 20_001])
@pytest.mark.parametrize("kind", ["sure", "torn", "flat", "coarse"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"top_k": 64, "min_p": 0.0},
        {"top_k": 1},
        {"top_k": 3, "top_p": 0.5, "min_p": 0.0},
        {"top_k": 300, "top_p": 1.0, "min_p": 0.0},
        {"top_k": 5000, "top_p": 0.99, "min_p": 0.001},
        {"top_k": 0, "top_p": 1.0},
        {"top_k": 0, "top_p": 0.3},
    ],
    ids=str,
)
def test_candidates_are_what_sorting_finds(size: int, kind: str, options: dict[str, float]):
    sampling = Sampling(temperature=0.7, **options)
    logits = row(kind, size)
    found = candidates(logits, sampling)
    assert dict(zip(found.tokens.tolist(), found.logits.tolist(), strict=True)) == plain(logits, sampling)


@pytest.mark.parametrize("size", [1, 9, 262_144, 262_149])
@pytest.mark.parametrize("kind", ["sure", "torn", "flat", "coarse"])
def test_confidence_is_the_share_among_the_ten_best(size: int, kind: str):
    logits = row(kind, size)
    best = np.sort(logits.astype(np.float64))[::-1][:10]
    assert confidence(logits) == pytest.approx(1 / np.exp(best - best[0]).sum(), rel=1e-9)
