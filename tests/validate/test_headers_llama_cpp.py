"""Headers damaged at random: `verify` says of a file what the real loader does, or is stricter for a reason."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from helpers.differing import compared
from helpers.loader_verdicts import HYPERS

#: Tens of thousands: `PYTHONPATH=tests:. python -m helpers.differing --times 30000`.
TIMES = 200


@pytest.mark.parametrize("part", HYPERS)
def test_damaged_headers(part: str, tmp_path: Path):
    seen: Counter[str] = Counter()
    assert [str(one) for one in compared(part, TIMES, 0, tmp_path, seen)] == []
    assert min(seen[verdict] for verdict in ("good for both", "bad for both", "stricter")) > 0, seen
