"""A verification's report on the terminal: what is not ok and what to do, then the verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich import box
from rich.table import Table

from gemma_mtp.cli.output import human_size, line, print_note, print_table, results
from gemma_mtp.cli.terminal import plain
from gemma_mtp.model.part import Part
from gemma_mtp.validate import Report, Result, Status
from gemma_mtp.validate.devices import Spread, told
from gemma_mtp.validate.memory import PairMemory

#: Status -> colour and sign (ASCII, for terminals without more).
SIGNS = {
    Status.OK: ("green", "ok"),
    Status.NOTE: ("cyan", "note"),
    Status.SKIPPED: ("dim", "skipped"),
    Status.WARNING: ("yellow", "WARNING"),
    Status.ERROR: ("bold red", "ERROR"),
}


#: What is told in the short form, the worst first.
TOLD = (Status.ERROR, Status.WARNING, Status.NOTE)
#: With what the ids of results begin that somebody has waited for: of --run, --reference and --from.
MEASURED = ("run", "reference", "origin")


def print_report(report: Report, *, everything: bool = False) -> None:
    """What is not ok with what to do, the memory and the verdict.

    In a table before: what was measured, or with `everything` every check.
    """
    for note in report.notes:
        print_note(note)
    rows = [result for result in report.results if everything or result.id.split("-")[0] in MEASURED]
    if rows:
        print_table(_table(rows, (report.part,) if report.part else tuple(Part)))
    for status in TOLD:
        for result in report.results:
            if result.status is status:
                _print_finding(result)
    if not everything:
        results.print(line((_counts(report), "dim")))
    if report.memory:
        results.print(line(memory_line(report.memory)))
    if report.devices:
        results.print(line(devices_line(report.devices)))
    results.print(line((report.verdict, "bold green" if report.ok else "bold red")))


def _table(rows: Sequence[Result], parts: Sequence[str]) -> Table:
    """A line for each check: its status, and the values of `parts` that were compared or why nothing was."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("", "check", *parts):
        table.add_column(heading, overflow="fold", no_wrap=heading == "")
    for result in rows:
        style, sign = SIGNS[result.status]
        finding = result.finding
        skipped = result.status is Status.SKIPPED
        values = [{"target": finding.target, "assistant": finding.assistant}[name] or "-" for name in parts]
        cells = [finding.message, ""][: len(parts)] if skipped else values
        table.add_row(line((sign, style)), result.title, *map(plain, cells), style="dim" if skipped else None)
    return table


def _print_finding(result: Result) -> None:
    style, sign = SIGNS[result.status]
    results.print(line((sign, style), f" {result.finding.message}"))
    if result.finding.remedy:
        results.print(line(f"  what to do: {result.finding.remedy}"))


def _counts(report: Report) -> str:
    """`61 checks: 57 ok, 1 note, 3 skipped (--all shows each)`."""
    counts = Counter(SIGNS[result.status][1].lower() for result in report.results)
    told = ", ".join(f"{counts[sign.lower()]} {sign.lower()}" for _, sign in SIGNS.values() if counts[sign.lower()])
    return f"{len(report.results)} checks: {told} (--all shows each)"


def devices_line(devices: Spread) -> str:
    """By device, for the settings that were named."""
    parts = [
        f"{human_size(share.total)} {told(device)} (weights {human_size(share.weights)}, "
        f"KV cache {human_size(share.cache)}, compute {human_size(share.compute)}; "
        f"of it the drafter's {human_size(share.drafter)})"
        for device, share in devices.shares.items()
    ]
    return f"With these settings: {', '.join(parts)}"


def memory_line(memory: PairMemory) -> str:
    target, assistant = memory.target, memory.assistant
    cut = f" ({memory.asked:,} were asked for: the target was trained for no more)" if memory.asked else ""
    return (
        f"Memory for {memory.tokens:,} tokens{cut}: {human_size(memory.total)} (weights {human_size(target.weights)}, "
        f"KV cache {human_size(target.cache)}, compute {human_size(target.compute)}; "
        f"the drafter adds {human_size(assistant.total)})"
    )
