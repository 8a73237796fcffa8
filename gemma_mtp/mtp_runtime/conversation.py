"""What was said in a conversation, as a prompt in the model's own chat format: for every engine alike.

The template is a Jinja program inside of the GGUF file, written by strangers: it runs in Jinja's sandbox and in a
process of its own (`rendering.py`), and sees the messages only. Every turn renders the whole conversation again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gemma_mtp.errors import BadFileError, UsageError
from gemma_mtp.files.gguf_reader import GGUFFile
from gemma_mtp.files.metadata import Metadata
from gemma_mtp.files.text import read_text
from gemma_mtp.mtp_runtime.rendering import Renderer
from gemma_mtp.native.settings import ChatSettings

#: transformers' name of a special token -> the key of its number in a GGUF (llama-vocab.cpp).
SPECIAL_TOKENS = {
    "bos_token": "tokenizer.ggml.bos_token_id",
    "eos_token": "tokenizer.ggml.eos_token_id",
    "pad_token": "tokenizer.ggml.padding_token_id",
    "unk_token": "tokenizer.ggml.unknown_token_id",
    "mask_token": "tokenizer.ggml.mask_token_id",
}


@dataclass(frozen=True)
class Template:
    """A model's chat template. specials: what it may name, e.g. `bos_token`. where: the file, for errors."""

    source: str
    specials: Mapping[str, str]
    where: Path
    _renderer: Renderer = field(default_factory=Renderer, compare=False)

    def render(self, messages: list[dict[str, str]], *, thinking: bool = False, open_turn: bool = True) -> str:
        """The conversation up to where the model's answer begins, without the begin token, which a tokenizer adds.

        messages: {"role": "system" | "user" | "assistant", "content": text}. thinking: the template's
        `enable_thinking`. open_turn: whether the model speaks next. Raises BadFileError (it is no Jinja template,
        fails, or takes more than it may).
        """
        try:
            text = self._renderer.render(
                self.source,
                messages=messages,
                tools=None,  # transformers defines both in any case
                documents=None,
                add_generation_prompt=open_turn,
                enable_thinking=thinking,
                **self.specials,
            )
        except BadFileError as error:
            raise BadFileError(f"its chat template fails: {error.what}", where=self.where) from error
        return text.removeprefix(self.specials.get("bos_token", ""))


def template_of(path: Path) -> Template:
    """From a GGUF's header. Raises GGUFError, UsageError (the model has none)."""
    with GGUFFile(path) as file:
        metadata = Metadata(file.metadata, where=str(path))
        source = metadata.text("tokenizer.chat_template", "")
        if not source:
            hint = "chat with an -it model, or do not chat"
            raise UsageError("this model has no chat template", where=path, hint=hint)
        tokens = metadata["tokenizer.ggml.tokens"].raw_strings() if "tokenizer.ggml.tokens" in metadata else []
        return Template(source, special_texts(metadata, tokens), path)


def read_template(path: Path) -> str:
    """A template in a file, once it has rendered a question. Raises BadFileError (it fails), EnvironmentProblem."""
    text = read_text(path)
    renderer = Renderer()
    question = [{"role": "user", "content": "Hello"}]
    try:
        renderer.render(
            text, messages=question, add_generation_prompt=True, enable_thinking=False, bos_token="", eos_token=""
        )
    except BadFileError as error:
        raise BadFileError(f"this chat template fails: {error.what}", where=path) from error
    finally:
        renderer.close()
    return text


def special_texts(metadata: Metadata, tokens: list[bytes]) -> dict[str, str]:
    """What a template may name, as texts. tokens: the vocabulary."""
    numbers = {name: metadata.number(key, -1) for name, key in SPECIAL_TOKENS.items()}
    known = {name: number for name, number in numbers.items() if 0 <= number < len(tokens)}
    return {name: tokens[number].decode("utf-8", "replace") for name, number in known.items()}


class Talk:
    """The messages of a conversation, and the prompt for the next answer. messages: as `Template.render` takes them."""

    def __init__(self, template: Template, settings: ChatSettings | None = None):
        settings = settings or ChatSettings()
        self._template, self._thinking = template, settings.thinking
        self.messages = [{"role": "system", "content": settings.system}] if settings.system else []

    def ask(self, text: str) -> str:
        """The prompt for an answer to this message. Raises BadFileError."""
        self.messages.append({"role": "user", "content": text})
        return self._template.render(self.messages, thinking=self._thinking)

    def answered(self, text: str) -> None:
        self.messages.append({"role": "assistant", "content": text})
