"""The figures that the adaptive draft length is decided by, each worked out by hand."""

from __future__ import annotations

import pytest

from gemma_mtp.mtp_runtime.control import DRAFT, FADING, Chances, Costs
from gemma_mtp.mtp_runtime.experience import MEASUREMENTS, Experience


def costs(**seconds: float) -> Costs:
    """Of lengths that were measured often: `l4=18.0`."""
    return Costs(8, Experience({int(name[1:]): (cost,) * MEASUREMENTS for name, cost in seconds.items()}))


def test_costs_of_lengths_that_nobody_measured():
    two, one = costs(l0=10.0, l4=18.0), costs(l4=18.0)
    assert two.of(4) == pytest.approx(18, rel=0.02)
    assert two.of(1) == pytest.approx(12, rel=0.02)  # between two: on the line
    assert two.of(2) == pytest.approx(14, rel=0.02)
    assert two.of(6) == pytest.approx(22, rel=0.03)  # beyond: as it went on
    assert one.of(2) == pytest.approx(18 * (1 + 2 * DRAFT) / (1 + 4 * DRAFT))  # as drafts mostly cost
    assert costs(l0=10.0, l4=6.0).of(8) >= costs(l0=10.0, l4=6.0).of(0)  # longer drafts are never taken for cheaper
    assert Costs(8, Experience()).of(0) == 1.0


@pytest.mark.parametrize(("share", "tokens"), [(0.99, 3.940399), (0.5, 1.875), (0.01, 1.010101)])
def test_tokens_of_a_round_whose_drafts_hold_by_chance(share: float, tokens: float):
    """1 + p + p^2 + p^3, before anything was seen."""
    chances = Chances((0, 3), share, FADING[0])
    assert chances.tokens() == pytest.approx([1.0, tokens])
    assert chances.share == pytest.approx(share)
