"""A target and an assistant side by side, as every check gets them."""

from __future__ import annotations

from dataclasses import dataclass

from gemma_mtp.validate.side import Side


@dataclass(frozen=True)
class Pair:
    """deep: whether checks that read weights read all of them instead of a sample."""

    target: Side
    assistant: Side
    deep: bool = False
