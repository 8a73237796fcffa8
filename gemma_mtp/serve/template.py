"""A chat template that a user brings along for the server."""

from __future__ import annotations

from pathlib import Path

from gemma_mtp.errors import BadFileError
from gemma_mtp.files.text import read_text
from gemma_mtp.mtp_runtime.rendering import Renderer


def read_template(path: Path) -> str:
    """The template in a file, once it has rendered a question. Raises BadFileError (it fails), EnvironmentProblem."""
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
