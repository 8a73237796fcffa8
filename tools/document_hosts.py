"""Write docs/hosts.md from the records of the hosts.

    python tools/document_hosts.py

A test compares.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from gemma_mtp.hosts import HOSTS, HostRecord
from gemma_mtp.hosts.export import shown

PAGE = Path(__file__).parents[1] / "docs" / "hosts.md"

INTRODUCTION = """# In the hosts that people use

    gemma-mtp export HOST TARGET ASSISTANT [-o FILE] [--bench results.json] [--ctx N]
    gemma-mtp export --list
    gemma-mtp verify --server http://127.0.0.1:8080

`export` verifies a pair for a host (its dialect, `HOST@VERSION` too, and what is known to go wrong there) and writes
what the host wants to be told: with absolute paths, quoted as the format wants it, with the draft type that most
hosts forget, and with the draft length that `gemma-mtp bench --json` has measured, if its results are given. Nothing
is overwritten without `--force`. Without `-o` it goes to standard output, what there is to know about it to standard
error.

Whether a server that runs now drafts is asked with `verify --server`: see [serve.md](serve.md#does-it-draft).

Below, a host a paragraph: since when it drafts with a Gemma 4 assistant, the exact words to write (for drafts of 3
and a context of 8,192 tokens), what to expect. Each says when that was looked up, and where; what was not tried is
said to be unknown.

*This page is made by `python tools/document_hosts.py` from `gemma_mtp/hosts/table.py`.*
"""


def page() -> str:
    return "\n".join([INTRODUCTION, *(line for host in HOSTS for line in section(host))])


def section(host: HostRecord) -> Iterator[str]:
    yield f"## {host.title}"
    yield ""
    yield f"`gemma-mtp export {host.name}` · takes {host.takes} · since {host.since}"
    yield ""
    yield from ["```", *shown(host).splitlines(), "```"]
    yield ""
    yield f"To see: {host.expect}."
    yield ""
    yield from (f"- {limit}" for limit in host.limits)
    yield ""
    yield f"Looked up on {host.checked.isoformat()}: {host.source}."
    yield ""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
