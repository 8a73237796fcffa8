"""What `verify --run` asks of its child process, and what comes back. Plain data: nothing native is imported for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from gemma_mtp.errors import UsageError
from gemma_mtp.native.engines import PYTHON
from gemma_mtp.native.settings import ContextSettings, ModelSettings, more_context


@dataclass(frozen=True)
class Job:
    """What the child is to do.

    tokens: to generate for each prompt. seconds: for loading, and again for each prompt; then the process is killed.
    memory: bytes of address space the process may have, None for no limit.
    """

    target: str
    assistant: str
    prompts: Mapping[str, str]
    tokens: int
    draft_max: int
    seconds: int
    memory: int | None
    context: ContextSettings
    model: ModelSettings
    engine: str = PYTHON

    @property
    def files(self) -> tuple[str, str]:
        return self.target, self.assistant

    def room_for_prompt(self, size: int, trained: int) -> int:
        """Tokens that a prompt may have in a context of `size`, for the context's end never to be what ends a run.

        trained: what the model was trained for. Raises UsageError: there is no room.
        """
        needed = self.tokens + self.draft_max + 1
        if size <= needed:
            raise UsageError(
                f"the context has {size} tokens, {self.tokens} are to be generated",
                hint=f"{more_context(size, trained, needed + 1)}, or fewer --tokens",
            )
        return size - needed


@dataclass(frozen=True)
class Choice:
    """A token that the target chose, and its logit, and the next best.

    other_logit: of the token that was chosen in this place with the other way of decoding; None: it was far behind.
    """

    token: int
    logit: float
    second: int
    second_logit: float
    other_logit: float | None

    @property
    def ahead(self) -> float | None:
        """By how much it was chosen before the other way's token."""
        return None if self.other_logit is None else self.logit - self.other_logit


@dataclass(frozen=True)
class Comparison:
    """One prompt. `different_at`: the first place where the outputs differ, with both choices there.

    engine: what decoded. The C++ engine tells no logits, so that the choices of a difference are None; and of drafts
    only how many there were and were accepted: `totals`, with nothing by position.
    """

    kind: str
    tokens: int
    plain_speed: float
    drafted_speed: float
    drafted_at: tuple[int, ...]
    accepted_at: tuple[int, ...]
    different_at: int | None = None
    plain: Choice | None = None
    drafted: Choice | None = None
    engine: str = PYTHON
    totals: tuple[int, int] | None = None

    @property
    def drafts(self) -> tuple[int, int]:
        """Tokens that were drafted, and accepted."""
        return self.totals or (sum(self.drafted_at), sum(self.accepted_at))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class ReferenceJob:
    """What the child of `--reference` is to do: `pair` in llama.cpp, the two checkpoints' folders in transformers.

    tie: official logits closer than this are a near-tie.
    """

    pair: Job
    target: str
    assistant: str
    tie: float


@dataclass(frozen=True)
class ReferenceComparison:
    """One prompt's rounds, drafted by llama.cpp and by transformers from the same tokens.

    rounds, equal: all, and those with the same drafts. near_ties: rounds whose first differing draft was within `tie`
    of the official one, by the official logits. unscored: rounds whose first differing draft is in a cluster that the
    official centroid head left out (llama.cpp's head scores all tokens). widest_gap: the largest distance of a
    differing draft that was scored. compared: steps whose logits were compared (those with the same drafts before
    them). difference: of two logits there, the largest.
    """

    kind: str
    rounds: int
    equal: int
    near_ties: int
    unscored: int
    widest_gap: float
    compared: int
    difference: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
