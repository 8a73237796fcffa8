"""How deep brackets are nested in a text, told before a parser is let at it: some thousands take PyYAML seconds."""

from __future__ import annotations

import re

#: Deeper than what anybody writes.
DEEPEST = 100
_BRACKET = re.compile(r"[\[\]{}]")


def too_deep(text: str) -> int | None:
    """Where brackets are open more than `DEEPEST` times; None if they never are."""
    depth = 0
    for match in _BRACKET.finditer(text):
        depth = depth + 1 if match[0] in "[{" else max(depth - 1, 0)
        if depth > DEEPEST:
            return match.start()
    return None
