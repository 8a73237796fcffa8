"""What a generation came to, whichever engine ran it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gemma_mtp.native.engines import PYTHON
from gemma_mtp.native.stats import Statistics


@dataclass(frozen=True)
class Result:
    """A generation that has ended: `Generation`'s text, token ids, finish and seed, and the statistics.

    context: tokens of the context that it ran in, 0 where that is not known. trained: those that the model was trained
    for, to which every context is cut. engine: a key of `engines.TITLE`.
    """

    text: str
    tokens: list[int]
    finish: str
    statistics: Statistics
    seed: int | None = None
    context: int = 0
    trained: int = 0
    engine: str = PYTHON

    def to_dict(self) -> dict[str, Any]:
        """For JSON. `tokens` are the ids; the number of them is their length."""
        own = {"text": self.text, "tokens": self.tokens, "finish": self.finish, "seed": self.seed}
        own |= {"context": self.context, "trained_context": self.trained, "engine": self.engine}
        return self.statistics.to_dict() | own
