"""What is known about a host, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from gemma_mtp.model.family import FAMILY

#: A word of a command, or several that are left out together.
Word = str | tuple[str, ...]
#: Stands in a `YamlFile` where its command line goes.
SHELL = "<command>"


@dataclass(frozen=True)
class CommandLine:
    """Commands, each a list of words, for a POSIX shell."""

    commands: tuple[tuple[Word, ...], ...]
    file: str = "start.sh"


@dataclass(frozen=True)
class Preset:
    """A section of llama.cpp's INI files, named after the model."""

    keys: Mapping[str, str]
    file: str = "preset.ini"


@dataclass(frozen=True)
class Modelfile:
    """Ollama's: (instruction, argument), one a line."""

    lines: tuple[tuple[str, str], ...]
    file: str = "Modelfile"


@dataclass(frozen=True)
class YamlFile:
    """A mapping. shell: a value that is a command line, by its key, as words."""

    content: Mapping[str, Any]
    file: str
    shell: tuple[Word, ...] = ()


@dataclass(frozen=True)
class Folder:
    """A folder with both files, below the one that the host looks through. path: its parts."""

    path: tuple[str, ...]


Form = CommandLine | Preset | Modelfile | YamlFile | Folder


@dataclass(frozen=True)
class HostRecord:
    """One host. name: the word for `gemma-mtp export`. since: the first version that drafts with a Gemma 4 assistant.

    checked, source: the day on which that was looked up last, and where. runtime: whose rules the pair has to obey (a
    key of `validate.host.RUNTIMES`); None: it takes Google's checkpoints and no GGUF.
    form: what it wants to be told. then: commands that make it run, for people. expect: what there is to see.
    limits: what it cannot do, or does without a word. own_options: the form's options are not those of the runtime.
    drafters: the families of those that it is known to take.
    """

    name: str
    title: str
    since: str
    checked: date
    source: str
    runtime: str | None
    form: Form
    expect: str
    then: tuple[tuple[str, ...], ...] = ()
    limits: tuple[str, ...] = ()
    own_options: bool = False
    drafters: tuple[str, ...] = (FAMILY.name,)

    @property
    def takes(self) -> str:
        return "checkpoints" if self.runtime is None else "GGUF files"

    def to_dict(self) -> dict[str, Any]:
        names = ("name", "title", "since", "source", "takes", "runtime", "expect")
        own = {name: getattr(self, name) for name in names}
        return own | {"checked": self.checked.isoformat(), "limits": list(self.limits)}
