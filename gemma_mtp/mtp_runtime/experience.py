"""What is known of rounds on a machine before the first, and how it is found out where nothing is known.

That is done once for a pair, machine and settings, between prompt and first token, and what it finds is kept
(`memory.Memory`). So it also is what makes the first round of each length slow: graphs are built, kernels loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median

#: The share of drafts that holds as long as nobody knows better.
SHARE = 0.75
#: Rounds of each length that are kept for the next start.
MEASUREMENTS = 60
#: Lengths that a probe measures, from the first on, and how often; what lies between them follows.
PROBED, ROUNDS = (0, 1, 2, 4, 8), 5
#: When so many seconds were measured, no longer length is: where rounds are that slow, the first lengths tell enough.
ENOUGH = 1.0


@dataclass(frozen=True)
class Experience:
    """What a control knows when it begins, and what it leaves to the next one.

    costs: seconds of rounds by their length. change: seconds that a round of another length than the one before takes
    more. share: of drafts that held.
    """

    costs: Mapping[int, tuple[float, ...]] = field(default_factory=dict)
    change: float = 0.0
    share: float = SHARE


def measured(seconds: Callable[[int], float], lengths: Iterable[int]) -> Experience:
    """What rounds of these lengths, ascending, cost. seconds: of a round of a length, which is run."""
    costs: dict[int, tuple[float, ...]] = {}
    for length in lengths:
        seconds(length)  # the first one has more to do
        costs[length] = tuple(seconds(length) for _ in range(ROUNDS))
        if sum(map(sum, costs.values())) > ENOUGH:
            break
    changes = [seconds(length) - median(costs[length]) for length in costs] if len(costs) > 1 else [0.0]
    return Experience(costs, max(median(changes), 0.0))
