"""Texts to learn from and to measure on: read, freed of doubles, and split before anything else is done with them.

A document is a whole text or a whole conversation. Which documents are held out is decided by what they are about (a
conversation by its first message, a text by its beginning): a conversation that a server logged after every turn, or a
text that stands in two files, never lies on both sides.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

from gemma_mtp.errors import UsageError
from gemma_mtp.files.text import parse_json, read_text

#: Bytes of a file of texts.
LARGEST = 1 << 30
#: How llama-server's log names what came in and what went out (tools/server/server.cpp, `log_server_request`).
LOGGED = re.compile(r"\b(request|response):\s+(\{.*)$")
#: Characters by which a text without messages is recognised.
BEGINNING = 200
#: A token that completes a run of so many for the third time stands in a loop; texts with more than this share of such
#: tokens are not learnt from.
GRAM, MOST_LOOPING = 5, 0.30
SUFFIXES = (".jsonl", ".json", ".txt", ".log", ".md")


@dataclass(frozen=True)
class Document:
    """text: as it stands; or messages: {"role", "content"}, in order. held: only measured on, never learnt from."""

    origin: str
    text: str = ""
    messages: tuple[tuple[str, str], ...] = ()
    held: bool = False

    @property
    def answered(self) -> bool:
        """Whether there is something of a target's (or an author's) to record, and not only a question."""
        return not self.messages or self.messages[-1][0] in ("assistant", "model")

    @property
    def question(self) -> Document:
        """The conversation without its last answer."""
        return replace(self, messages=self.messages[:-1]) if self.messages and self.answered else self

    @property
    def family(self) -> str:
        """What documents have in common that must not be torn apart."""
        first = next((content for role, content in self.messages if role == "user"), "")
        return first if self.messages else self.text[:BEGINNING]

    @property
    def content(self) -> str:
        """All of it, for comparing."""
        return json.dumps(self.messages) if self.messages else self.text


def read_documents(paths: Sequence[Path], *, questions: bool = False) -> list[Document]:
    """The documents of files and folders, each once.

    JSONL has a `text`, `messages` or `prompt` a line; a .log is llama-server's, with --verbose; every other text has a
    line of --- between two documents. questions: the files hold what a target shall answer: plain texts have one a
    line, and an answer that stands there already is left out.

    Raises UsageError: not readable, nothing in it, a line that is none of this.
    """
    found: dict[str, Document] = {}
    for path in _files(paths):
        inside = [document.question if questions else document for document in _of_file(path, questions)]
        inside = [document for document in inside if document.text.strip() or document.messages]
        if not inside:
            raise UsageError("there is no text in it", where=path)
        for document in inside:
            found.setdefault(document.content, document)
    return _longest(found.values())


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        if not inside:
            raise UsageError(f"there is no file in it that ends in {', '.join(SUFFIXES)}", where=path)
        yield from inside


def _of_file(path: Path, questions: bool) -> Iterator[Document]:
    raw = read_text(path, limit=LARGEST, error=UsageError)
    lines = raw.splitlines()
    if path.suffix.lower() in (".jsonl", ".json"):
        yield from _of_lines(lines, path)
    elif path.suffix.lower() == ".log" or any(LOGGED.search(line) for line in lines[:2000]):
        yield from _of_log(lines, path)
    else:
        parts = lines if questions else f"\n{raw}\n".split("\n---\n")
        for part in parts:
            if part.strip() and questions:
                yield Document(str(path), messages=(("user", part.strip()),))
            elif part.strip():
                yield Document(str(path), part.strip("\n") + "\n")


def _of_lines(lines: Sequence[str], path: Path) -> Iterator[Document]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        fields = parse_json(line, where, error=UsageError)
        document = _of_fields(fields, path)
        if document is None:
            raise UsageError(
                "has neither a text, nor messages, nor a prompt",
                where=where,
                hint='write {"text": "..."} or {"messages": [{"role": "user", "content": "..."}, ...]} in each line',
            )
        yield document


def _of_fields(fields: Any, path: Path) -> Document | None:
    if not isinstance(fields, dict):
        return None
    if isinstance(fields.get("messages"), list):
        messages = tuple(_messages(fields["messages"]))
        return Document(str(path), messages=messages) if messages else None
    if isinstance(fields.get("prompt"), str):
        return Document(str(path), messages=(("user", fields["prompt"]),))
    return Document(str(path), fields["text"]) if isinstance(fields.get("text"), str) else None


def _messages(items: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """Role and text of each message; of one in parts (as OpenAI's interface has it) the parts that are text."""
    for item in items:
        if not isinstance(item, dict) or not isinstance(item.get("role"), str):
            continue
        content = item.get("content")
        if isinstance(content, list):
            content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
        if isinstance(content, str):
            yield item["role"], content


def _of_log(lines: Sequence[str], path: Path) -> Iterator[Document]:
    """Requests of llama-server's log, each with the answer that stands under it, if one does (a stream's does not)."""
    asked: Document | None = None
    for line in lines:
        match = LOGGED.search(line)
        if match is None:
            continue
        try:
            fields = parse_json(match[2], path, error=UsageError)
        except UsageError:
            continue  # cut off, or mixed with another slot's line
        if match[1] == "request":
            if asked:
                yield asked
            asked = _of_fields(fields, path)
        elif asked:
            yield _answered(asked, fields)
            asked = None
    if asked:
        yield asked


def _answered(asked: Document, fields: Any) -> Document:
    """The request's conversation with the response's message at its end, where it has one."""
    try:
        answer = fields["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        return asked
    return replace(asked, messages=(*asked.messages, ("assistant", answer))) if isinstance(answer, str) else asked


def _longest(documents: Iterable[Document]) -> list[Document]:
    """Without conversations that are the beginning of another."""
    kept = list(documents)
    begun = {document.messages[:end] for document in kept for end in range(1, len(document.messages))}
    return [document for document in kept if not document.messages or document.messages not in begun]


def hold_out(documents: Sequence[Document], share: float, seed: int) -> list[Document]:
    """The documents in their order, at least `share` of their families (and one) marked as held out.

    Raises UsageError: fewer than two families.
    """

    def place(family: str) -> bytes:
        return hashlib.sha256(f"{seed}\0{family}".encode("utf-8", "surrogatepass")).digest()

    families = sorted({document.family for document in documents}, key=place)
    if len(families) < 2:
        raise UsageError(
            f"{len(documents)} documents with {len(families)} beginnings: two are needed, one to learn from and one to "
            "measure on",
            hint="give more texts; in a .txt a line of --- stands between two documents",
        )
    held = set(families[: min(len(families) - 1, max(1, ceil(share * len(families))))])
    return [replace(document, held=document.family in held) for document in documents]


def looping(tokens: Sequence[int], n: int = GRAM) -> list[bool]:
    """For each token whether it completes a run of `n` tokens that stood there twice before."""
    seen: Counter[tuple[int, ...]] = Counter()
    marks = [False] * min(n - 1, len(tokens))
    for end in range(n, len(tokens) + 1):
        gram = tuple(tokens[end - n : end])
        marks.append(seen[gram] >= 2)
        seen[gram] += 1
    return marks


def loop_share(tokens: Sequence[int]) -> float:
    """The share of tokens that stand in a loop; 0 of nothing."""
    marks = looping(tokens)
    return sum(marks) / len(marks) if marks else 0.0
