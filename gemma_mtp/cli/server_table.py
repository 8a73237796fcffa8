"""What `gemma-mtp verify --server` shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import typer

from gemma_mtp.cli.output import line, print_json, results
from gemma_mtp.errors import UsageError
from gemma_mtp.hosts import ServerReport, ask_server

UNTOLD = "not told"
IMAGES = {True: "yes", False: "no", None: None}
WORDS = {True: ("drafts", "green"), False: ("does not draft", "bold red"), None: ("not known", "yellow")}


def tell_server(
    address: str, api_key: str | None, model: str | None, *, files: Sequence[str | None], json: bool
) -> NoReturn:
    """Ask it, print the answer, and end the program: 0 only if drafts were seen. Raises as `ask_server` does."""
    if any(files):
        raise UsageError("files and a server are two different questions", hint="leave the files out, or --server")
    report = ask_server(address, api_key=api_key, model=model)
    if json:
        print_json(report.to_dict(), "--server")
    else:
        print_server(report)
    raise typer.Exit(0 if report.verdict.drafts else 1)


def print_server(report: ServerReport) -> None:
    found, verdict = report.witness, report.verdict
    version = f" {found.version}" if found.version else ""
    results.print(line((report.address, "bold"), f": {found.kind}{version}"))
    types = UNTOLD if found.types is None else ", ".join(found.types) or "none"
    for name, value in (
        ("model", found.model),
        ("drafter", found.drafter),
        ("type", types),
        ("context", found.context and f"{found.context:,} tokens"),
        ("slots", found.slots and (f"{found.slots}" + (": drafting pays less" if found.slots > 1 else ""))),
        ("images", IMAGES[found.images]),
    ):
        results.print(line(f"  {name}: {UNTOLD if value is None else value}"))
    for note in found.notes:
        results.print(line(f"  {note}"))
    results.print(line(WORDS[verdict.drafts], f": {verdict.why}"))
    if verdict.remedy:
        results.print(line(f"  what to do: {verdict.remedy}"))
