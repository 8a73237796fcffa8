"""Ollama's Modelfile.

Its grammar (ollama parser/parser.go): an instruction, a space, an argument to the end of the line, without the spaces
around it unless it stands in quotation marks. There are no escapes, and characters that cannot be printed vanish.
"""

from __future__ import annotations

from gemma_mtp.errors import UsageError
from gemma_mtp.hosts.record import Modelfile
from gemma_mtp.hosts.values import Values, filled


def written(form: Modelfile, values: Values) -> str:
    """Raises UsageError: a path that cannot stand there."""
    return "".join(
        f"{instruction} {_argument(str(filled(text, values)))}\n" for instruction, text in _kept(form, values)
    )


def _kept(form: Modelfile, values: Values) -> list[tuple[str, str]]:
    return [line for line in form.lines if values.ctx is not None or "{ctx}" not in line[1]]


def _argument(text: str) -> str:
    if not text.replace(" ", "").isprintable():
        raise UsageError("a Modelfile has no way to write this path", where=text, hint="rename the file")
    return f'"""{text}"""' if text != text.strip(" \t") else text
