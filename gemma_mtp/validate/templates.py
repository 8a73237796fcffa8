"""The chat templates that Google has published, by the hashes of their texts.

The texts are not kept here. A hash counts that several places name independently for the file in Google's own repos.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

#: The sizes that share a template: the small ones open the model's turn without an empty thought.
LARGE, SMALL = ("12B", "26B-A4B", "31B"), ("E2B", "E4B")
#: The day on which the hashes below were looked up last.
CHECKED = date(2026, 11, 26)


@dataclass(frozen=True)
class Published:
    """One text: of which sizes, since which day, and what is wrong with it by what followed; empty for the newest."""

    sha256: str
    sizes: tuple[str, ...]
    since: date
    repaired: str = ""


NULLS = "July 9, 2026: loops of tool calls, turns that were not closed, the order of thoughts"
PUBLISHED = (
    Published("ae53464bf3be25802b3a5b37def7fd89667067d7577049b3b2d74c4d8de4c6d4", LARGE, date(2026, 7, 9)),
    Published("0a2c8073c878ab1da004bee933a998606537bbb62016310352c7285c3f01c5b5", SMALL, date(2026, 7, 9)),
    Published("36e3a42e5cf14cd0020e72d92e1fdd9970f59b82170e421f0cbe1bb42bead3f0", LARGE, date(2026, 5, 18), NULLS),
    Published("94899c0f917d93f6fe81c95744d1e8ddab2d21d39228d2e4aec1fb2a25bff413", LARGE, date(2026, 4, 28), NULLS),
    Published("33204f1acb5bd0002713e16a593847f24ceeafe711ed88bda2a352dc996a3373", SMALL, date(2026, 4, 28), NULLS),
    Published("85a08664d16d8f3be4416c92427b3ac10df1024ac566cc0b4bc3bab409393f98", LARGE, date(2026, 4, 10), NULLS),
    Published("781d10940fbc44be40064b5d43a056fc486c84ceaa55538226368b57314132bf", SMALL, date(2026, 4, 10), NULLS),
)


def published(template: str) -> Published | None:
    """Which of them a text is, whatever its line ends and the white space at its end; None: none of them."""
    known = {one.sha256: one for one in PUBLISHED}
    return next((known[digest] for digest in _digests(template) if digest in known), None)


def _digests(template: str) -> Iterator[str]:
    text = template.replace("\r\n", "\n")
    for spelling in (template, text, text.rstrip(), text.rstrip() + "\n"):
        yield hashlib.sha256(spelling.encode("utf-8", "surrogatepass")).hexdigest()
