"""The two parts of a pair."""

from __future__ import annotations

from enum import Enum


class Part(str, Enum):
    """What a model is in a pair. Its value is the word that people read and write."""

    TARGET = "target"
    ASSISTANT = "assistant"

    def __str__(self) -> str:
        return self.value
