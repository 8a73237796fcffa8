"""Where output goes: results to stdout, everything else to stderr; a bar on a terminal, plain lines in a pipe."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import log10
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from gemma_mtp.errors import EnvironmentProblem, GemmaMtpError, LlamaError

results = Console(highlight=False)
notes = Console(stderr=True, highlight=False)

UNLIMITED = 10_000  # columns
UNITS = ("kB", "MB", "GB", "TB")

#: Called with the number of bytes that were just done.
Advance = Callable[[int], None]


def print_json(content: Any) -> None:
    """One JSON object on stdout, and nothing else there."""
    print(json.dumps(content, indent=2, ensure_ascii=False))


def print_in_full(table: Table) -> None:
    """A table of figures on stdout, never cut: if it is wider than the terminal, the terminal wraps it."""
    for column in table.columns:
        column.no_wrap = True
    wanted = Measurement.get(results, results.options.update(width=UNLIMITED), table).maximum
    Console(highlight=False, width=wanted).print(table, crop=False)


def print_note(text: str) -> None:
    notes.print(escape(text), style="dim", soft_wrap=True)


def print_warning(text: str) -> None:
    notes.print(f"[yellow]warning:[/] {escape(text)}", soft_wrap=True)


def print_error(error: GemmaMtpError) -> None:
    """What is wrong and where, then what to do, then what llama.cpp last said."""
    notes.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
    if isinstance(error, LlamaError | EnvironmentProblem):
        for line in error.log:
            notes.print(f"  [dim]llama.cpp:[/] {escape(line)}", soft_wrap=True)
    if error.hint:
        notes.print(f"[bold]hint:[/] {escape(error.hint)}", soft_wrap=True)


def human_size(count: float) -> str:
    """12,345,678 -> '12.3 MB'."""
    if count < 1000:
        return f"{count:.0f} B"
    power = min(int(log10(count)) // 3, len(UNITS))
    return f"{count / 1000**power:.1f} {UNITS[power - 1]}"


@contextmanager
def byte_progress(what: str, total: int) -> Iterator[Advance]:
    """A bar of bytes with rate and time left; on a pipe one line at the end."""
    if not notes.is_terminal:
        yield lambda _: None
        print_note(f"{what}: {human_size(total)} done")
        return
    from rich import progress as bars

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.DownloadColumn(),
        bars.TransferSpeedColumn(),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=notes, transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)


@contextmanager
def step_progress(what: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar of steps with the time left; on a pipe one line at the end. Call what is given after each step."""
    if not notes.is_terminal:
        yield lambda: None
        print_note(f"{what}: {total} done")
        return
    from rich import progress as bars

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=notes, transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)
