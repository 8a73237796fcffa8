"""quantize's results on the terminal: the kinds on offer, and the files that were made."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table

from gemma_mtp.bench.comparison import Comparison
from gemma_mtp.cli.output import human_size, line, print_in_full, print_note, print_table, print_warning, results
from gemma_mtp.cli.terminal import plain
from gemma_mtp.quantize import Quantization
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
        table.add_row(offer.name, f"{offer.bits:g}", *size, remark, style="bold" if offer.is_recipe else None)
    print_table(table)
    print_note("bits: for each weight in most tensors; recipes (below the types) are made for drafters: in the head")


def print_comparison(found: Comparison) -> None:
    """The best first, the one without drafting last."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("type")
    for heading in ("file", "bits/weight", "draft step", "accepted", "tokens/s", "speed-up"):
        table.add_column(heading, justify="right")
    for one in found.candidates:
        table.add_row(
            one.kind,
            human_size(one.bytes),
            f"{one.bits_per_weight:.2f}",
            "not told" if one.step_ms is None else f"{one.step_ms:.2f} ms",
            f"{one.acceptance:.1%}",
            f"{one.tokens_per_second:.1f}",
            f"{one.speedup:.2f}x",
            style="bold" if one.kind == found.recommended else None,
        )
    table.add_section()
    table.add_row("no drafting", "", "", "", "", f"{found.baseline:.1f}", "1.00x")
    print_in_full(table)
    for number, reason in enumerate(found.reasons):
        results.print(line((reason, "bold")) if number == 0 else line(f"- {reason}"))


def print_report(report: Quantization) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("file", overflow="fold")
    for heading in ("type", "size", "bits/weight"):
        table.add_column(heading, justify="right")
    table.add_column("tensors")
    for made in report.outputs:
        tensors = ", ".join(f"{count} {name}" for name, count in made.types.items())
        table.add_row(plain(made.path), made.kind, human_size(made.size), f"{made.bits_per_weight:.2f}", tensors)
    print_table(table)
    rate = human_size(report.source_size * len(report.outputs) / report.seconds)
    print_note(f"{human_size(report.source_size)} read in {report.seconds:.1f} s ({rate}/s)")
    if report.requantized:
        print_warning(f"{len(report.requantized)} tensors had been quantized before: expect more loss than from BF16")
