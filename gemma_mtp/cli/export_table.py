"""What `gemma-mtp export` shows: the content on stdout, what there is to know about it on stderr."""

from __future__ import annotations

from collections.abc import Iterable

from rich import box
from rich.table import Table

from gemma_mtp.cli.output import print_note, print_table, print_warning
from gemma_mtp.cli.terminal import plain
from gemma_mtp.hosts import Export, HostRecord


def print_hosts(hosts: Iterable[HostRecord]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("host", "takes", "drafts since", "checked"):
        table.add_column(heading, overflow="fold", no_wrap=heading != "drafts since")
    for host in hosts:
        table.add_row(host.name, host.takes, plain(host.since), host.checked.isoformat())
    print_table(table)


def print_export(export: Export, *, written: bool) -> None:
    if not written:
        print(export.text or "".join(f"{link} -> {file}\n" for link, file in export.links.items()), end="")
    for result in export.report.warnings:
        print_warning(f"{result.title}: {result.finding.message}")
    if not export.report.warnings:
        print_note(export.report.verdict)
    print_note(f"drafts of {export.values.draft}: {export.draft_from}")
    if export.writes:
        places = ", ".join(map(str, [export.file] if export.file else export.links))
        print_note(f"{'written' if written else 'not written'}: {places}")
    for command in export.then:
        print_note(f"then: {command}")
    print_note(f"to see: {export.host.expect}")
    for limit in export.host.limits:
        print_note(f"mind: {limit}")
