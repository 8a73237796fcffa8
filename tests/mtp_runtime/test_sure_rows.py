"""Rows that leave one token: found by looking at one column, and drawn without a draw."""

from __future__ import annotations

import numpy as np
import pytest

from gemma_mtp.mtp_runtime import noise
from gemma_mtp.mtp_runtime.candidates import COLUMNS, candidates
from gemma_mtp.mtp_runtime.sampler import make_sampler
from gemma_mtp.native.settings import Sampling

SAMPLING = Sampling(temperature=0.7, top_k=40, top_p=0.9, seed=5)


def sure_row(size: int, *places: int) -> np.ndarray:
    """One logit far above the others; where there is a second place, half a unit below it."""
    row = np.random.default_rng(size).standard_normal(size).astype(np.float32)
    for number, place in enumerate(places):
        row[place] = 30 - number / 2
    return row


@pytest.mark.parametrize(
    ("size", "places"),
    [
        (4 * COLUMNS, (5,)),
        (4 * COLUMNS, (3 * COLUMNS + 5,)),
        (4 * COLUMNS, (COLUMNS + 5, 3 * COLUMNS + 5)),  # both in one column
        (4 * COLUMNS, (3 * COLUMNS + 5, COLUMNS + 6)),
        (4 * COLUMNS + 3, (4 * COLUMNS + 2,)),  # behind the last whole line
        (4 * COLUMNS + 3, (4 * COLUMNS + 1, 4 * COLUMNS + 2)),
        (4 * COLUMNS + 3, (7, 4 * COLUMNS + 2)),
        (100, (99,)),
        (100, (99, 3)),
    ],
)
def test_the_tokens_are_those_of_a_sorted_row(size: int, places: tuple[int, ...]):
    row = sure_row(size, *places)
    found = candidates(row, SAMPLING)
    assert found.tokens.tolist() == list(places)
    assert found.logits == pytest.approx(row[list(places)].astype(np.float64) / 0.7)


def test_one_token_is_drawn_without_a_draw(monkeypatch: pytest.MonkeyPatch):
    """Whatever was drafted: p / q of this token is at least 1, of another 0, and what p exceeds q in is this token."""
    drawn: list[int] = []
    uniform = noise.uniform
    monkeypatch.setattr(noise, "uniform", lambda *of: drawn.append(1) or uniform(*of))
    one, other, flat = sure_row(8192, 17), sure_row(8192, 18), sure_row(8192, 17, 18)
    sampler = make_sampler(Sampling(temperature=0.7, top_k=40, top_p=0.9, seed=5, mode="reject"), [1])
    assert sampler.propose(one.copy(), 0) == sampler.choose(one.copy(), 0, 17) == 17
    assert sampler.propose(one.copy(), 1) == 17
    assert sampler.choose(other.copy(), 1, 17) == 18
    assert sampler.choose(one.copy(), 2) == 17
    assert not drawn
    assert sampler.choose(one.copy(), 3, sampler.propose(flat.copy(), 3)) == 17
    assert len(drawn) == 1
    assert sampler.choose(flat.copy(), 4, sampler.propose(one.copy(), 4)) in (17, 18)
    assert len(drawn) > 1
