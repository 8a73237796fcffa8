"""Where `gemma-mtp run` gets its prompt from."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

from gemma_mtp.errors import UsageError
from gemma_mtp.files.text import PROMPT, read_text, text_of, typed


def read_prompt(prompt: str | None, file: Path | None) -> str:
    """The prompt that was given, or the file's text, or what is piped in, both without a newline at their end.

    The file `-` is standard input. Raises UsageError: both given, nothing given, not readable.
    """
    if prompt is not None and file is not None:
        raise UsageError("--prompt and --file are given", hint="give one of them")
    if prompt is not None:
        return typed(prompt)
    if file is None and sys.stdin.isatty():
        raise UsageError("there is no prompt", hint='give one with -p "...", with -f prompt.txt, or through a pipe')
    if file is None or file == Path("-"):
        return text_of(sys.stdin.buffer, "standard input", error=UsageError).removesuffix("\n")
    return read_text(file, limit=PROMPT, error=UsageError).removesuffix("\n")


def ask() -> str | None:
    """The next message of a conversation; None at its end (Ctrl-D). An empty line asks again, and so does Ctrl-C."""
    with suppress(ImportError):
        import readline  # noqa: F401  (its import gives `input` a history and editing)
    while True:
        try:
            message = input("> ")
        except EOFError:
            print()
            return None
        except KeyboardInterrupt:  # clears the line, as in a shell; Ctrl-D leaves
            print()
            continue
        if message.strip():
            return message
