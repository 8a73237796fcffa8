"""quantize's results on the terminal: the kinds on offer, and the files that were made."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.markup import escape
from rich.table import Table

from gemma_mtp.cli.output import human_size, print_note, print_warning, results
from gemma_mtp.quantize import Report
from gemma_mtp.quantize.catalogue import Offer


def print_offers(offers: Sequence[Offer]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("type")
    table.add_column("bits", justify="right")
    if any(offer.size for offer in offers):
        table.add_column("file", justify="right")
    table.add_column("")
    for offer in offers:
        size = [human_size(offer.size)] if offer.size else []
        remark = "needs --imatrix" if offer.needs_importance else offer.summary
        table.add_row(offer.name, f"{offer.bits:g}", *size, escape(remark), style="bold" if offer.is_recipe else None)
    results.print(table)
    print_note("bits: for each weight in most tensors; recipes (below the types) are made for drafters: in the head")


def print_report(report: Report) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("file", overflow="fold")
    for heading in ("type", "size", "bits/weight"):
        table.add_column(heading, justify="right")
    table.add_column("tensors")
    for made in report.outputs:
        tensors = ", ".join(f"{count} {name}" for name, count in made.types.items())
        table.add_row(
            escape(str(made.path)), made.kind, human_size(made.size), f"{made.bits_per_weight:.2f}", escape(tensors)
        )
    results.print(table)
    rate = human_size(report.source_size * len(report.outputs) / report.seconds)
    print_note(f"{human_size(report.source_size)} read in {report.seconds:.1f} s ({rate}/s)")
    if report.requantized:
        print_warning(f"{len(report.requantized)} tensors had been quantized before: expect more loss than from BF16")
