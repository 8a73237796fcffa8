"""Text that did not come from us, made harmless for a terminal: the one place that escapes it.

A file's keys and names, a server's words, a template's complaint could hold escape sequences, which rewrite the screen,
or marks that turn the reading direction round. They are shown as what they are: `\\x1b`, `\\u202e`.
"""

from __future__ import annotations

import re

#: Control characters, line separators, marks of direction, what has no width and no purpose in a name, and halves of
#: surrogate pairs, which is how Python spells the bytes of a file name that is no UTF-8. Joiners belong to emojis.
_HARMFUL = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060\u2066-\u2069\ud800-\udfff\ufeff]"
)


def plain(text: object) -> str:
    """The text in one line, in which nothing acts."""
    return _HARMFUL.sub(_escaped, str(text))


def harmless(text: str) -> str:
    """The text with its lines and tabs, in which nothing else acts."""
    return _HARMFUL.sub(lambda match: match[0] if match[0] in "\n\t" else _escaped(match), text)


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")
