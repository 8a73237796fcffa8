"""A verification's report on the terminal: a line for each check, then what to do, then the verdict."""

from __future__ import annotations

from rich import box
from rich.table import Table

from gemma_mtp.cli.output import human_size, print_note, results
from gemma_mtp.cli.terminal import plain
from gemma_mtp.validate import Report, Status
from gemma_mtp.validate.memory import PairMemory

#: Status -> colour and sign (ASCII, for terminals without more).
SIGNS = {
    Status.OK: ("green", "ok"),
    Status.NOTE: ("cyan", "note"),
    Status.SKIPPED: ("dim", "skipped"),
    Status.WARNING: ("yellow", "WARNING"),
    Status.ERROR: ("bold red", "ERROR"),
}


def print_report(report: Report) -> None:
    for note in report.notes:
        print_note(note)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("", "check", "target", "assistant"):
        table.add_column(heading, overflow="fold")
    for result in report.results:
        style, sign = SIGNS[result.status]
        finding = result.finding
        if result.status is Status.SKIPPED:
            table.add_row(f"[{style}]{sign}[/]", f"[dim]{result.title}[/]", f"[dim]{plain(finding.message)}[/]", "")
            continue
        table.add_row(
            f"[{style}]{sign}[/]", result.title, plain(finding.target or "-"), plain(finding.assistant or "-")
        )
    results.print(table)
    for result in report.results:
        if result.status in (Status.ERROR, Status.WARNING, Status.NOTE):
            style, sign = SIGNS[result.status]
            results.print(f"[{style}]{sign}[/] {plain(result.finding.message)}", soft_wrap=True)
            if result.finding.remedy:
                results.print(f"  what to do: {plain(result.finding.remedy)}", soft_wrap=True)
    if report.memory:
        results.print(memory_line(report.memory), soft_wrap=True)
    results.print(f"[{'bold green' if report.ok else 'bold red'}]{plain(report.verdict)}[/]", soft_wrap=True)


def memory_line(memory: PairMemory) -> str:
    target, assistant = memory.target, memory.assistant
    cut = f" ({memory.asked:,} were asked for: the target was trained for no more)" if memory.asked else ""
    return (
        f"Memory for {memory.tokens:,} tokens{cut}: {human_size(memory.total)} (weights {human_size(target.weights)}, "
        f"KV cache {human_size(target.cache)}, compute {human_size(target.compute)}; "
        f"the drafter adds {human_size(assistant.total)})"
    )
