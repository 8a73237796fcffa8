"""Text from files that come from strangers, made harmless for a terminal."""

from __future__ import annotations

from rich.markup import escape


def plain(text: object) -> str:
    """The text without control characters (escape sequences could rewrite the screen) and without markup."""
    return escape("".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in str(text)))
