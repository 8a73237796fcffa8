"""The figures that the adaptive draft length is decided by, each worked out by hand."""

from __future__ import annotations

import pytest

from gemma_mtp.mtp_runtime.control import DOUBT, MEASUREMENTS, Chances, Costs, Experience

#: What a length that was measured this often is taken to cost: nearly its median.
SURE = 1 - DOUBT / MEASUREMENTS


def costs(**seconds: float) -> Costs:
    """Of lengths that were measured often: `l4=18.0`."""
    return Costs(Experience({int(name[1:]): (cost,) * MEASUREMENTS for name, cost in seconds.items()}))


def test_costs_of_lengths_that_nobody_measured():
    two, one = costs(l0=10.0, l4=18.0), costs(l4=18.0)
    assert two.of(4) == pytest.approx(18 * SURE)
    assert two.of(1) == pytest.approx(12 * SURE)  # between two: on the line
    assert two.of(2) == pytest.approx(14 * SURE)
    assert two.of(6) == pytest.approx((18 + 2) * SURE)  # beyond: half the slope
    assert one.of(2) == pytest.approx(18 * SURE / 2)  # below all: cheap enough to be tried
    assert one.of(6) == pytest.approx(18 * SURE * 1.2)  # beyond the only one: half a fifth of it a token
    assert costs(l0=10.0, l4=6.0).of(8) == pytest.approx(6 * SURE)  # longer drafts are never taken for cheaper
    assert Costs(Experience()).of(3) == 1.0


@pytest.mark.parametrize(("share", "tokens"), [(1.0, 4.0), (0.5, 1.875), (0.0, 1.0)])
def test_tokens_of_a_round_whose_drafts_hold_by_chance(share: float, tokens: float):
    """1 + p + p^2 + p^3, before anything was seen."""
    chances = Chances((0, 3), share)
    assert chances.tokens(3) == pytest.approx(tokens)
    assert chances.tokens(0) == pytest.approx(1.0)
    assert chances.share == pytest.approx(share)
