"""Write docs/commands: a page for each command, made of its own help, options and arguments.

    python tools/document_commands.py

A test compares.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from gemma_mtp.cli.main import COMMANDS, application

FOLDER = Path(__file__).parents[1] / "docs" / "commands"
#: Command -> the page that explains it at length.
GUIDES = {
    "adapt": "adapt",
    "bench": "bench",
    "convert": "convert",
    "export": "hosts",
    "explain": "troubleshooting",
    "fit": "verify",
    "imatrix": "adapt",
    "make": "publishing",
    "push": "publishing",
    "quantize": "quantize",
    "run": "runtime",
    "serve": "serve",
    "verify": "verify",
}


def command_named(name: str) -> Any:
    return typer.main.get_command(application()).get_command(None, name)  # type: ignore[arg-type, attr-defined]


def page(name: str) -> str:
    """The page of a command, whole."""
    command = command_named(name)
    lines = [f"# gemma-mtp {name}", "", *_told(command.help), ""]
    if guide := GUIDES.get(name):
        lines += [f"At length: [{guide}.md](../{guide}.md).", ""]
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    options = [param for param in command.params if param.param_type_name == "option"]
    for title, rows in (("Arguments", arguments), ("Options", options)):
        if rows:
            lines += [f"## {title}", "", "| | |", "| --- | --- |", *map(_row, rows), ""]
    lines += ["*This page is made by `python tools/document_commands.py` from the command itself.*", ""]
    return "\n".join(lines)


def _told(text: str) -> Iterator[str]:
    """The command's own words; calls of it in backticks become lines of code."""
    for row in inspect.cleandoc(text).replace("\f", "").splitlines():
        example = re.fullmatch(r"\s*(?:- `((?:.* \| )?gemma-mtp .*)`|    ?(gemma-mtp .*)|(gemma-mtp .*))", row)
        if example:
            yield f"    {next(filter(None, example.groups()))}"
        else:
            yield row


def _row(param: Any) -> str:
    names = [f"`{name}`" for name in (*param.opts, *param.secondary_opts)]
    if param.param_type_name == "argument":
        names = [f"`{(param.metavar or param.name or '').upper()}`"]
    said = " ".join((getattr(param, "help", None) or "").split())
    choices = getattr(getattr(param, "type", None), "choices", None)
    if choices:
        said += f" One of: {', '.join(f'`{one}`' for one in choices)}."
    if _is_worth_saying(param):
        said += f" Default: `{param.default}`."
    return f"| {', '.join(names)} | {said.strip()} |".replace("|--", "\\|--")


def _is_worth_saying(param: Any) -> bool:
    plain = isinstance(param.default, int | float | str) and not isinstance(param.default, bool)
    return plain and param.default != "" and "Default:" not in (getattr(param, "help", None) or "")


def path_of(name: str) -> Path:
    return FOLDER / f"{name}.md"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for one in COMMANDS:
        path_of(one).write_text(page(one), encoding="utf-8")
    sys.stdout.write(f"{len(COMMANDS)} pages in {FOLDER}\n")
