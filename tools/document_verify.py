"""Write the lists in docs/verify.md from the tables that the code runs.

    python tools/document_verify.py

A test compares: a check without its line in the document fails it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gemma_mtp.validate.checks import CHECKS
from gemma_mtp.validate.checks.known import KNOWN

DOCUMENT = Path(__file__).parents[1] / "docs" / "verify.md"


def checks() -> Iterator[str]:
    yield "| id | what must hold |"
    yield "| --- | --- |"
    for check in CHECKS:
        yield f"| `{check.id}` | {check.description} |"


def hosts() -> Iterator[str]:
    yield "| id | runtime | status | what happens | what to do |"
    yield "| --- | --- | --- | --- | --- |"
    for row in KNOWN:
        yield f"| `host-{row.id}` | {row.runtime or 'any'} | {row.status.value} | {row.message} | {row.remedy} |"


SECTIONS = {"checks": checks, "hosts": hosts}


def rendered(text: str) -> str:
    """The document with its generated parts made anew."""
    for name, lines in SECTIONS.items():
        begin, end = f"<!-- {name}: made by tools/document_verify.py -->", f"<!-- end of {name} -->"
        before, rest = text.split(begin)
        _, after = rest.split(end)
        text = f"{before}{begin}\n" + "\n".join(lines()) + f"\n{end}{after}"
    return text


if __name__ == "__main__":
    DOCUMENT.write_text(rendered(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
