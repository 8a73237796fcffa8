"""What a check gets: one model, or a target and an assistant side by side."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path

from gemma_mtp.model.part import Part
from gemma_mtp.native.settings import ContextSettings
from gemma_mtp.progress import Progress, silent
from gemma_mtp.sources.model import OpenModel
from gemma_mtp.validate.host import Host


@dataclass(frozen=True)
class Published:
    """A file as the Hub has it. hash: the sha256 of a large file, git's sha1 of a small one."""

    name: str
    size: int
    hash: str


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is asked of the models.

    deep: whether checks that read weights read all of them instead of a sample. host: the runtime that they are meant
    for. published: files on the Hub that theirs should be equal to, by name. original: the target's checkpoint (a
    folder or a repo), if somebody names it. progress: of reading whole files.
    """

    deep: bool = False
    host: Host = field(default_factory=Host)
    published: tuple[Published, ...] = ()
    original: str | Path | None = None
    progress: Progress = silent


@dataclass(frozen=True, kw_only=True)
class Single(Asked):
    """One model, whatever it is paired with."""

    side: OpenModel


@dataclass(frozen=True, kw_only=True)
class Pair(Asked):
    """context: what its memory is estimated for."""

    target: OpenModel
    assistant: OpenModel
    context: ContextSettings = field(default_factory=ContextSettings)

    def single(self, part: Part) -> Single:
        """One of the two by itself."""
        side = self.target if part is Part.TARGET else self.assistant
        asked = {one.name: getattr(self, one.name) for one in fields(Asked)}
        return Single(side=side, **asked)
