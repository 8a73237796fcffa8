"""The code in README and docs/: blocks by language, and the command lines in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
PROGRAM = "gemma-mtp"
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(rf"`({PROGRAM} [^`]+)`")


@dataclass(frozen=True)
class Line:
    """A command line in a document. synopsis: it stands in a sentence, or shows the form of a call: it is no call."""

    document: str
    text: str
    synopsis: bool

    @property
    def words(self) -> list[str]:
        """After the program's name, as a shell gives them; of a synopsis every option and argument once."""
        text = re.sub(r"\s\\?\|\s.*|[][]|\.\.\.", " ", self.text) if self.synopsis else self.text
        words = shlex.split(text, comments=True)[1:]
        return [word.split("|")[0] for word in words] if self.synopsis else words


def fenced(path: Path, language: str) -> list[str]:
    return [code for name, code in _FENCED.findall(path.read_text(encoding="utf-8")) if name == language]


def lines(path: Path) -> Iterator[Line]:
    """All command lines of ours: of indented blocks and in sentences."""
    text = _FENCED.sub("", path.read_text(encoding="utf-8"))
    for found in _indented(text):
        words = shlex.split(found, comments=True)
        form = bool(re.search(r"[][|]|\.\.\.", " ".join(words))) or any(word.isupper() for word in words)
        yield Line(path.name, found, form)
    for code in _INLINE.findall(text):
        yield Line(path.name, " ".join(code.split()), True)


def _indented(text: str) -> Iterator[str]:
    """Lines that begin with the program's name, with those that go on with them."""
    rows = iter([*text.splitlines(), ""])
    row = next(rows)
    while True:
        found = row if row.startswith(f"    {PROGRAM} ") else ""
        row = next(rows, None)
        while found and row is not None and re.match(r" {8,}\S", row):
            found, row = f"{found.rstrip().removesuffix(chr(92))} {row.strip()}", next(rows, None)
        if found:
            yield found.strip()
        if row is None:
            return
