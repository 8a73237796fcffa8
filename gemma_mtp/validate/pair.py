"""A target and an assistant side by side, as every check gets them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gemma_mtp.native.settings import ContextSettings
from gemma_mtp.sources.model import OpenModel
from gemma_mtp.validate.host import Host

if TYPE_CHECKING:
    from gemma_mtp.progress import Progress


@dataclass(frozen=True)
class Published:
    """A file as the Hub has it. hash: the sha256 of a large file, git's sha1 of a small one."""

    name: str
    size: int
    hash: str


@dataclass(frozen=True)
class Pair:
    """deep: whether checks that read weights read all of them instead of a sample.

    host: the runtime that the pair is meant for. context: what its memory is estimated for.
    published: files on the Hub that the pair's should be equal to, by name. progress: shown while whole files are read.
    """

    target: OpenModel
    assistant: OpenModel
    deep: bool = False
    host: Host = field(default_factory=Host)
    context: ContextSettings = field(default_factory=ContextSettings)
    published: tuple[Published, ...] = ()
    progress: Progress | None = None
