"""The demo's result for people."""

from __future__ import annotations

from rich.rule import Rule
from rich.table import Table

from gemma_mtp.bench.results import Row, draft_name
from gemma_mtp.cli.output import human_size, line, print_in_full, print_table, results
from gemma_mtp.demo.demo import INERT_LAYERS, DemoResult
from gemma_mtp.native.engines import TITLE


def print_demo(result: DemoResult) -> None:
    """The steps, what the target wrote, and the figures of both races."""
    print_table(_steps(result))
    results.print(Rule("what the target wrote", style="dim"))
    results.print(result.sample.rstrip(), style="dim")
    print_in_full(_figures("the demo pair", result.light))
    print_in_full(_figures(f"with {INERT_LAYERS} inert layers in the target (same function, more work)", result.heavy))
    yes = result.identical_output
    verdict = ("yes", "green") if yes else (f"no, {len(result.differing)} prompts differ", "red")
    results.print(f"engine: {TITLE[result.engine]}")
    results.print(f"acceptance: {result.acceptance:.1%} of drafted tokens")
    results.print(
        f"speed-up on the heavier target: {result.best_heavy.speedup:.2f}x, drafting {result.best_heavy.draft}"
    )
    results.print(line("identical output: ", verdict))


def _steps(result: DemoResult) -> Table:
    table = Table(box=None, header_style="bold")
    table.add_column("step")
    table.add_column("time", justify="right")
    table.add_column("files")
    for step in result.steps:
        files = ", ".join(f"{name} {human_size(size)}" for name, size in step.files.items())
        table.add_row(step.title, f"{step.seconds:.1f} s", _verdict(result) if step.title == "verify" else files)
    return table


def _verdict(result: DemoResult) -> str:
    return result.report.verdict if result.report else ""


def _figures(title: str, rows: list[Row]) -> Table:
    table = Table(box=None, title=title, title_justify="left", title_style="bold", header_style="bold")
    for heading in ("drafting", "drafted", "accepted", "tokens/s", "speed-up"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            draft_name(row.draft),
            str(row.drafted) if row.drafts else "",
            f"{row.acceptance:.1%}" if row.acceptance is not None else "",
            f"{row.tokens_per_second:.1f}",
            f"{row.speedup:.2f}x" if row.drafts else "",
        )
    return table
