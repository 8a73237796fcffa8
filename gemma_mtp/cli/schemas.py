"""What the objects of `--json` are called: the command's name, its form where it has several, and a version.

docs/schemas has a JSON schema for each, which a test holds the commands to. Who changes what a key means, or takes one
away, raises the version here; a key that is added raises nothing. `bench` and `quantize --compare` carry their names
and versions themselves, for their results are files that are read again.
"""

from __future__ import annotations

from collections.abc import Mapping

#: Name -> version, where it is no longer the first.
VERSIONS: Mapping[str, int] = {}

_command = ""


def set_command(name: str) -> None:
    """Which command is run."""
    global _command
    _command = name


def schema(form: str = "") -> dict[str, str]:
    """The key that the object of the command that is run begins with. form: `--list`, where a command has several."""
    name = " ".join(filter(None, ("gemma-mtp", _command, form)))
    return {"schema": f"{name} {VERSIONS.get(name, 1)}"}
