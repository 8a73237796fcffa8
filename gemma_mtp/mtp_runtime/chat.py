"""Conversations with an engine: a history that stays in the KV cache.

Every turn renders the whole conversation again; what of it the KV cache holds already is not decoded again.
"""

from __future__ import annotations

from typing import Any

from gemma_mtp.mtp_runtime.conversation import Talk, template_of
from gemma_mtp.mtp_runtime.engine import Generation, MtpEngine
from gemma_mtp.native.settings import ChatSettings


class Conversation:
    """Turns with an engine. messages: what was said, without the answer that is running."""

    def __init__(self, engine: MtpEngine, settings: ChatSettings | None = None):
        """Raises UsageError (no chat template), BadFileError."""
        self._engine, self._talk = engine, Talk(template_of(engine.target.path), settings)
        self.messages = self._talk.messages
        self._answer: Generation | None = None

    def say(self, text: str, **options: Any) -> Generation:
        """The model's answer; options are those of `MtpEngine.generate`. Raises what that raises, and BadFileError."""
        if self._answer:
            self._answer.close()
            self._talk.answered(self._answer.text)
            self._answer = None
        self._answer = self._engine.generate(self._talk.ask(text), reuse=True, **options)
        return self._answer
