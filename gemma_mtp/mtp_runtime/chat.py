"""Conversations: the model's own chat template, and a history that stays in the KV cache.

The template is a Jinja program inside of the GGUF file, written by strangers: it runs in Jinja's sandbox and in a
process of its own (`rendering.py`), and sees the messages only. Every turn renders the whole conversation again; what
of it the KV cache holds already is not decoded again.
"""

from __future__ import annotations

from typing import Any

from gemma_mtp.errors import BadFileError, UsageError
from gemma_mtp.mtp_runtime.engine import Generation, MtpEngine
from gemma_mtp.mtp_runtime.rendering import Renderer
from gemma_mtp.native.llama import Model
from gemma_mtp.native.settings import ChatSettings


class ChatTemplate:
    """A model's chat template."""

    def __init__(self, model: Model):
        """Raises UsageError (the model has none)."""
        source = model.chat_template()
        if source is None:
            raise UsageError(
                "this model has no chat template",
                where=model.path,
                hint="chat with an -it model, or do not chat",
            )
        self._model, self._source, self._renderer = model, source, Renderer()

    def render(self, messages: list[dict[str, str]], *, thinking: bool = False) -> list[int]:
        """Token ids of the conversation, up to where the model's answer begins.

        messages: {"role": "system" | "user" | "assistant", "content": text}. thinking: the template's
        `enable_thinking`. Raises BadFileError (it is no Jinja template, fails, or takes more than it may).
        """
        model = self._model
        try:
            text = self._renderer.render(
                self._source,
                messages=messages,
                tools=None,  # transformers defines both in any case
                documents=None,
                add_generation_prompt=True,
                enable_thinking=thinking,
                **model.special_texts(),
            )
        except BadFileError as error:
            raise BadFileError(f"its chat template fails: {error.what}", where=model.path) from error
        return model.tokenize(text.removeprefix(model.begin_text))  # which the tokenizer adds by itself


class Conversation:
    """Turns with an engine. messages: what was said, without the answer that is running."""

    def __init__(self, engine: MtpEngine, settings: ChatSettings | None = None):
        """Raises UsageError (no chat template), BadFileError."""
        settings = settings or ChatSettings()
        self._engine, self._template, self._thinking = engine, ChatTemplate(engine.target), settings.thinking
        self.messages = [{"role": "system", "content": settings.system}] if settings.system else []
        self._answer: Generation | None = None

    def say(self, text: str, **options: Any) -> Generation:
        """The model's answer; options are those of `MtpEngine.generate`. Raises what that raises, and BadFileError."""
        if self._answer:
            self._answer.close()
            self.messages.append({"role": "assistant", "content": self._answer.text})
            self._answer = None
        self.messages.append({"role": "user", "content": text})
        prompt = self._template.render(self.messages, thinking=self._thinking)
        self._answer = self._engine.generate(prompt, reuse=True, **options)
        return self._answer
