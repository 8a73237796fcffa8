"""A target and an assistant side by side, as every check gets them."""

from __future__ import annotations

from dataclasses import dataclass, field

from gemma_mtp.mtp_runtime.settings import ContextSettings
from gemma_mtp.validate.host import Host
from gemma_mtp.validate.side import Side


@dataclass(frozen=True)
class Pair:
    """deep: whether checks that read weights read all of them instead of a sample.

    host: the runtime that the pair is meant for. context: what its memory is estimated for.
    """

    target: Side
    assistant: Side
    deep: bool = False
    host: Host = field(default_factory=Host)
    context: ContextSettings = field(default_factory=ContextSettings)
