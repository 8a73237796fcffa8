"""Write the lists in docs/verify.md and docs/troubleshooting.md from the tables that the code runs.

    python tools/document_verify.py

A test compares: a check, a known problem or a cause without its line fails it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gemma_mtp.native.causes import CAUSES
from gemma_mtp.validate.checks import CHECKS, DFLASH_CHECKS, DSPARK_CHECKS, EAGLE3_CHECKS
from gemma_mtp.validate.checks.known import KNOWN

DOCS = Path(__file__).parents[1] / "docs"


def checks() -> Iterator[str]:
    yield "| id | what must hold |"
    yield "| --- | --- |"
    for check in CHECKS:
        yield f"| `{check.id}` | {check.description} |"


def block_drafters() -> Iterator[str]:
    """What is checked of a DFlash drafter alone."""
    shared = {id(check) for check in CHECKS}
    yield "| id | what must hold |"
    yield "| --- | --- |"
    for check in DFLASH_CHECKS:
        if id(check) not in shared and check.id != "assistant-keys":
            yield f"| `{check.id}` | {check.description} |"


def heads() -> Iterator[str]:
    """What is checked of DSpark drafters and EAGLE3 heads in another way than of a DFlash drafter, or beside it."""
    shared = {id(check) for check in DFLASH_CHECKS}
    yield "| of | id | what must hold |"
    yield "| --- | --- | --- |"
    for kind, checks in (("DSpark", DSPARK_CHECKS), ("EAGLE3", EAGLE3_CHECKS)):
        for check in checks:
            if id(check) not in shared:
                yield f"| {kind} | `{check.id}` | {check.description} |"


def hosts() -> Iterator[str]:
    yield "| id | runtime | versions | checked | status | what happens | what to do |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for row in KNOWN:
        where = f"{row.runtime or 'any'} | {row.versions} | {row.checked.isoformat()}"
        yield f"| `host-{row.id}` | {where} | {row.status.value} | {row.message} | {row.remedy} |"


def causes() -> Iterator[str]:
    yield "| the log says | cause | what to do |"
    yield "| --- | --- | --- |"
    for row in CAUSES:
        yield f"| `{row.shown}` | {row.cause} | {row.told()} |"


DOCUMENTS = {
    DOCS / "verify.md": {"checks": checks, "dflash": block_drafters, "foreign": heads, "hosts": hosts},
    DOCS / "troubleshooting.md": {"causes": causes},
}


def rendered(path: Path) -> str:
    """A document with its generated parts made anew."""
    text = path.read_text(encoding="utf-8")
    for name, lines in DOCUMENTS[path].items():
        begin, end = f"<!-- {name}: made by tools/document_verify.py -->", f"<!-- end of {name} -->"
        before, rest = text.split(begin)
        _, after = rest.split(end)
        text = f"{before}{begin}\n" + "\n".join(lines()) + f"\n{end}{after}"
    return text


if __name__ == "__main__":
    for document in DOCUMENTS:
        document.write_text(rendered(document), encoding="utf-8")
