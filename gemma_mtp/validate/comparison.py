"""What `verify --run` asks of its child process, and what comes back. Plain data: nothing native is imported for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gemma_mtp.mtp_runtime.settings import ContextSettings, ModelSettings


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


@dataclass(frozen=True)
class Choice:
    """A token that the target chose, and its logit, and the next best."""

    token: int
    logit: float
    second: int
    second_logit: float

    @property
    def gap(self) -> float:
        return self.logit - self.second_logit


@dataclass(frozen=True)
class Comparison:
    """One prompt. `different_at`: the first place where the outputs differ, with both choices there."""

    kind: str
    tokens: int
    plain_speed: float
    drafted_speed: float
    drafted_at: tuple[int, ...]
    accepted_at: tuple[int, ...]
    different_at: int | None = None
    plain: Choice | None = None
    drafted: Choice | None = None
