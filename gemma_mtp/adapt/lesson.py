"""What a recording is asked for. Plain data, which goes to the child process that loads the target."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from gemma_mtp.adapt.texts import Document
from gemma_mtp.errors import BadFileError
from gemma_mtp.model.config import Hyperparameters
from gemma_mtp.native.settings import ContextSettings, ModelSettings

#: How keys and values are taken: copied while they are computed, or read from the saved state afterwards.
CALLBACK, STATE, AUTO = "callback", "state", "auto"
TEMPERATURE = 0.7


@dataclass(frozen=True)
class Donor:
    """A layer whose keys and values the assistant reads. heads: of keys; width: of one head."""

    layer: int
    heads: int
    width: int


def donors(target: Hyperparameters) -> dict[str, Donor]:
    """The last layer of each kind that has keys and values of its own: `sliding`, `full`. Raises BadFileError."""
    own = [layer for layer in range(target.layers) if not target.shares_kv(layer)]
    found = {}
    for kind, sliding in (("sliding", True), ("full", False)):
        layers = [layer for layer in own if target.sliding[layer] is sliding]
        if not layers:
            raise BadFileError(f"the target has no {kind} layer with keys and values of its own")
        found[kind] = Donor(layers[-1], target.kv_heads(layers[-1]), target.head_dim(layers[-1]))
    return found


@dataclass(frozen=True)
class Lesson:
    """Texts to record, and those to write before.

    tokens: the budget, held-out texts included; share: of it for these. top: best tokens kept of each distribution.
    length: of a piece, in tokens. answer: the longest answer. openings, opening, continuation: how many held-out
    beginnings, of how many tokens, are continued, by how many. parallel: texts written side by side. minutes: that
    answers may be written, None: without limit.
    """

    target: Path
    folder: Path
    documents: tuple[Document, ...]
    donors: dict[str, Donor]
    tokens: int
    share: float = 0.1
    seed: int = 1
    top: int = 64
    length: int = 2048
    answer: int = 512
    openings: int = 32
    opening: int = 24
    continuation: int = 128
    parallel: int = 8
    via: str = AUTO
    minutes: float | None = None
    context: ContextSettings = field(default_factory=ContextSettings)
    model: ModelSettings = field(default_factory=ModelSettings)

    @property
    def shape(self) -> dict[str, int]:
        """What recordings must have in common to go into one folder."""
        names = ("top", "length", "answer", "openings", "opening", "continuation", "parallel")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Progress:
    """stage: "writing" or "recording". done, total: tokens."""

    stage: str
    done: int
    total: int


@dataclass(frozen=True)
class Recorded:
    """The end of a recording. dropped: answers that looped. via: how."""

    tokens: int
    written: int
    dropped: int
    looping: dict[str, float]
    via: str
    build: str
    recording_seconds: float
