"""Conversations: the model's own chat template, and a history that stays in the KV cache.

The template is a Jinja program inside of the GGUF file, written by strangers: it runs in Jinja's sandbox, and sees the
messages only. Every turn renders the whole conversation again; what of it the KV cache holds already is not decoded
again.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from gemma_mtp.errors import BadFileError, UsageError
from gemma_mtp.mtp_runtime.engine import Generation, MtpEngine
from gemma_mtp.mtp_runtime.llama import Model
from gemma_mtp.mtp_runtime.settings import ChatSettings


class ChatTemplate:
    """A model's chat template."""

    def __init__(self, model: Model):
        """Raises UsageError (the model has none), BadFileError (it is no Jinja template)."""
        source = model.chat_template()
        if source is None:
            raise UsageError(
                "this model has no chat template",
                where=model.path,
                hint="chat with an -it model, or do not chat",
            )
        self._model = model
        # The settings that transformers renders with, and the functions that it offers to templates.
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
        environment.filters["tojson"] = _tojson
        environment.globals |= {"raise_exception": _raise_exception, "strftime_now": datetime.now().strftime}
        try:
            self._template = environment.from_string(source)
        except TemplateError as error:
            raise self._bad(error) from error

    def render(self, messages: list[dict[str, str]], *, thinking: bool = False) -> list[int]:
        """Token ids of the conversation, up to where the model's answer begins.

        messages: {"role": "system" | "user" | "assistant", "content": text}. thinking: the template's
        `enable_thinking`. Raises BadFileError (the template fails).
        """
        model = self._model
        try:
            text = self._template.render(
                messages=messages,
                add_generation_prompt=True,
                enable_thinking=thinking,
                bos_token=model.begin_text,
                eos_token=model.end_text,
            )
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            raise self._bad(error) from error
        return model.tokenize(text.removeprefix(model.begin_text))  # which the tokenizer adds by itself

    def _bad(self, error: Exception) -> BadFileError:
        return BadFileError(f"its chat template fails: {error}", where=self._model.path)


def _tojson(value: Any, indent: int | None = None) -> str:
    """JSON as it is, where Jinja's own filter would escape it for HTML."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


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
