"""Commands for a POSIX shell."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import Any

from gemma_mtp.hosts.record import CommandLine, Word
from gemma_mtp.hosts.values import Values, filled


def written(form: CommandLine, values: Values) -> str:
    """One command a line; whatever a path holds, it is one word (shlex)."""
    return "".join(f"{shlex.join(words(command, values))}\n" for command in form.commands)


def words(command: Iterable[Word], values: Values) -> list[str]:
    """A command's words, with everything in its place."""
    return [word for item in filled(tuple(command), values) for word in _flat(item)]


def _flat(item: Any) -> list[str]:
    return [str(word) for word in item] if isinstance(item, list) else [str(item)]
