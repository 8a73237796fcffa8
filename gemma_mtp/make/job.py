"""What is to be made: one assistant, its types and dialects, what it is checked against and where it goes."""

from __future__ import annotations

import string
from dataclasses import dataclass, replace
from pathlib import Path

from gemma_mtp.convert import dialect_named
from gemma_mtp.errors import UsageError
from gemma_mtp.hub.names import is_inside
from gemma_mtp.hub.source import check_repo_name
from gemma_mtp.model.dialects import MAINLINE
from gemma_mtp.model.family import family_of_checkpoint
from gemma_mtp.model.file_name import FileName
from gemma_mtp.model.part import Part
from gemma_mtp.quantize import find_kind

#: What may stand in braces in a job's texts, which serve several assistants so.
PLACEHOLDERS = ("name", "target")


@dataclass(frozen=True)
class Job:
    """One assistant's way from its checkpoint to the Hub.

    source: a checkpoint (folder or repo) or an assistant's GGUF. types: file types and recipes. dialects: the first is
    what the source is converted to, the others are respelled from that. folder: where the files go; made if needed.
    imatrix: an importance matrix for the quantized types. target: what the files are checked against.
    push: a repo, or an owner alone, for `owner/{name}-GGUF`; None to keep the files here.
    name: the assistant's, from which files and repo are named; None for the source's.
    In target, push, collection and bench, `{name}` stands for the assistant's name and `{target}` for its target's.
    """

    source: str
    types: tuple[str, ...] = ("Q8_0",)
    dialects: tuple[str, ...] = (MAINLINE.name,)
    folder: Path = Path()
    imatrix: Path | None = None
    target: str | None = None
    push: str | None = None
    collection: str | None = None
    private: bool = False
    bench: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        """Raises UsageError for what cannot be meant, before any work is done."""
        kinds = tuple(dict.fromkeys(find_kind(kind).name for kind in self.types))
        dialects = tuple(dict.fromkeys(dialect_named(name).name for name in self.dialects))
        if not kinds or not dialects:
            raise UsageError("name at least one type and one dialect", where=self.source)
        object.__setattr__(self, "types", kinds)
        object.__setattr__(self, "dialects", dialects)
        for option, text in self._texts().items():
            _check_placeholders(option, text)
        if self.name is not None and (not is_inside(self.name) or "/" in self.name):
            raise UsageError(
                f"{self.name!r} is no name for files", where=self.source, hint="name the folder with --output"
            )
        if self.push is None:
            for option in ("collection", "bench"):
                if getattr(self, option):
                    raise UsageError(f"{option} has no meaning without push", where=self.source, hint="add --push")
        else:
            check_repo_name(self.repo_for("name"))

    def named(self, name: str) -> Job:
        """The job with its placeholders filled in for the assistant of this name."""
        filled = {option: _fill(text, name) for option, text in self._texts().items()}
        return replace(self, **filled)  # type: ignore[arg-type]  # all of them are texts

    def repo_for(self, name: str) -> str:
        """The repo that the assistant of this name is pushed to."""
        assert self.push is not None
        text = self.push if "/" in self.push else f"{self.push}/{{name}}-GGUF"
        return _fill(text, name)

    def _texts(self) -> dict[str, str]:
        texts = {"target": self.target, "push": self.push, "collection": self.collection, "bench": self.bench}
        return {option: text for option, text in texts.items() if text}


def _check_placeholders(option: str, text: str) -> None:
    try:
        fields = [field for _, field, _, _ in string.Formatter().parse(text) if field is not None]
    except ValueError as error:
        raise UsageError(f"{option}: {error}", where=text) from error
    unknown = next((field for field in fields if field not in PLACEHOLDERS), None)
    if unknown is not None:
        raise UsageError(
            f"{option} has the placeholder {{{unknown}}}", where=text, hint="there are {name} and {target}"
        )


def _fill(text: str, name: str) -> str:
    target = FileName.of_checkpoint(Part.ASSISTANT, name, family_of_checkpoint(name)).model
    return text.format(name=name, target=target)
