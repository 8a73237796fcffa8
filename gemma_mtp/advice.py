"""How advice names a command of ours: quoted for a shell and between backticks, so that it can be pasted as it stands.

Every remedy and hint that holds a path goes through here; nothing else puts a path into a command.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

#: What stands in a command where a file is meant that nobody has named.
TARGET, ASSISTANT, CHECKPOINT = "TARGET.gguf", "ASSISTANT.gguf", "CHECKPOINT"
#: The file that advice lets a command write.
OUTPUT = "OUT.gguf"


def quoted(place: str | Path) -> str:
    """A path or place as one word of a command. One that begins with a hyphen would be taken for an option."""
    text = str(place)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def bare(command: str, *places: str | Path, options: Mapping[str, str | None] | None = None) -> str:
    """`gemma-mtp COMMAND PLACES OPTIONS`, without the backticks. options: name -> value, None for a switch."""
    words = ["gemma-mtp", command, *map(quoted, places)]
    for name, value in (options or {}).items():
        words += [name] if value is None else [name, quoted(value)]
    return " ".join(words)


def ours(command: str, *places: str | Path, options: Mapping[str, str | None] | None = None) -> str:
    """The same with the backticks, as it stands in a sentence."""
    return f"`{bare(command, *places, options=options)}`"


def into_mainline(place: str | Path, dialect: str | None = None) -> str:
    """The command that writes an assistant's GGUF anew: in mainline's form, or in another dialect's."""
    return ours("convert", place, options={"-o": OUTPUT} | ({"--dialect": dialect} if dialect else {}))


#: For a file whose content is wrong: nothing but its source helps.
RECONVERT = f"convert Google's checkpoint with {ours('convert', CHECKPOINT)}, or download the file again"
OTHER_ASSISTANT = "use the assistant that belongs to this target: same size, same release"
#: For a folder that holds an adapter, where a whole model is needed.
LORA_REMEDY = "merge it into its base model (peft: merge_and_unload), save that, and convert the result"
