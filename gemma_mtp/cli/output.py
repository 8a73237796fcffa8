"""Where output goes: results to stdout, everything else to stderr; a bar on a terminal, plain lines in a pipe."""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from math import log10
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from gemma_mtp.cli import volume
from gemma_mtp.cli.schemas import schema
from gemma_mtp.cli.terminal import harmless, plain
from gemma_mtp.errors import EnvironmentProblem, GemmaMtpError, LlamaError, UsageError
from gemma_mtp.progress import BYTES, Advance, ignore


class Terminal(Console):
    """A console that shows every string as it is: it knows no markup, and nothing in a string acts.

    Lines are not folded; tables are printed with `print_table`. Style comes from `line`.
    """

    def __init__(self, *, stderr: bool = False, width: int | None = None) -> None:
        super().__init__(stderr=stderr, width=width, soft_wrap=True, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(harmless(text), **options)


results = Terminal()
notes = Terminal(stderr=True)

UNLIMITED = 10_000  # columns
FOLDED = 24  # columns that a column which may be folded has at least
UNITS = ("kB", "MB", "GB", "TB")


def line(*parts: str | tuple[str, str]) -> Text:
    """A line of texts, or of (text, style), in which nothing acts."""
    return Text.assemble(*(plain(part) if isinstance(part, str) else (plain(part[0]), part[1]) for part in parts))


def print_json(content: Mapping[str, Any], form: str = "") -> None:
    """One JSON object on stdout, and nothing else there. It is ASCII, so that no pipe's encoding can spoil it.

    form: which of the command's objects, where it has several: it is part of the schema's name.
    """
    print(json.dumps({**schema(form), **content}, indent=2))


def print_table(table: Table) -> None:
    """A table on stdout. In a pipe its lines are whole; on a terminal columns with no_wrap are never cut.

    If these are wider than the terminal, the terminal wraps them.
    """
    options = results.options.update(width=UNLIMITED)
    width = Measurement.get(results, options, table).maximum
    if results.is_terminal:
        spare = (_width(column.cells, options) - FOLDED for column in table.columns if not column.no_wrap)
        width = min(width, max(results.width, width - sum(max(0, columns) for columns in spare)))
    console = Terminal(width=width)
    if results.is_terminal:
        console.print(table, soft_wrap=False, crop=False)
        return
    with console.capture() as captured:
        console.print(table, soft_wrap=False, crop=False)
    print("\n".join(row.rstrip() for row in captured.get().splitlines()))


def _width(cells: Iterable[RenderableType], options: ConsoleOptions) -> int:
    return max((Measurement.get(results, options, cell).maximum for cell in cells), default=0)


def print_in_full(table: Table) -> None:
    """A table of figures: no column of it is ever folded."""
    for column in table.columns:
        column.no_wrap = True
    print_table(table)


def print_note(text: str) -> None:
    """Something worth knowing that is no result, no warning and no error: with `--quiet` it is not said."""
    if not volume.is_quiet():
        notes.print(line((text, "dim")))


def print_warning(text: str) -> None:
    notes.print(line(("warning:", "yellow"), " ", text))


def print_error(error: GemmaMtpError) -> None:
    """What is wrong and where, then what to do, then what llama.cpp last said."""
    notes.print(line(("error:", "bold red"), " ", str(error)))
    if isinstance(error, LlamaError | EnvironmentProblem):
        for words in error.log:
            notes.print(line(("  llama.cpp:", "dim"), " ", words))
    if error.hint:
        notes.print(line(("hint:", "bold"), " ", error.hint))


def human_size(count: float) -> str:
    """12,345,678 -> '12.3 MB'."""
    if count < 1000:
        return f"{count:.0f} B"
    power = min(int(log10(count)) // 3, len(UNITS))
    return f"{count / 1000**power:.1f} {UNITS[power - 1]}"


@contextmanager
def progress_bar(what: str, total: int, unit: str = BYTES, /) -> Iterator[Advance]:
    """A `Progress`: a bar with the time left, for bytes their rate too; on a pipe one line at the end."""
    if not notes.is_terminal or volume.is_quiet():
        yield ignore
        print_note(f"{what}: {human_size(total) if unit == BYTES else f'{total} {unit}'} done")
        return
    from rich import progress as bars

    amount = (bars.DownloadColumn(), bars.TransferSpeedColumn()) if unit == BYTES else (bars.MofNCompleteColumn(),)
    text = bars.TextColumn("{task.description}", markup=False)
    columns = (text, bars.BarColumn(), *amount, bars.TimeRemainingColumn())
    with bars.Progress(*columns, console=notes, transient=True) as progress:
        task = progress.add_task(plain(what), total=total)
        yield lambda count: progress.advance(task, count)


@contextmanager
def native_log(verbose: bool, file: Path | None) -> Iterator[None]:
    """In the block llama.cpp's own log is shown on stderr, or added to a file. Raises UsageError (it cannot be)."""
    from gemma_mtp.native.child import native_log_to

    with ExitStack() as stack:
        if file:
            try:
                opened = stack.enter_context(file.open("ab", buffering=0))
            except OSError as error:
                raise UsageError(f"the log cannot be written: {error.strerror}", where=file) from error
            stack.enter_context(native_log_to(opened.write))
        if verbose:
            stack.enter_context(native_log_to(_shown()))
        yield


def _shown() -> Callable[[bytes], None]:
    """Writes pieces of a log on stderr. What would command a terminal is shown."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def show(piece: bytes) -> None:
        sys.stderr.write(harmless(decoder.decode(piece)))
        sys.stderr.flush()

    return show
