"""A measurement on the terminal: speed-ups by category, what the rounds were made of, what to do."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from gemma_mtp.bench.recommendation import best_length
from gemma_mtp.bench.results import AUTO, OVERALL, PLAIN, BenchResults, ConfidenceRow, Row, draft_name
from gemma_mtp.cli.output import line, print_in_full
from gemma_mtp.cli.output import results as out
from gemma_mtp.cli.terminal import plain

#: Within this of plain decoding a speed-up is neither.
EVEN = 0.02


def print_bench(results: BenchResults) -> None:
    settings = results.settings
    out.print(line((results.target.file, "bold"), *_drafter(results)))
    about = (
        f"{results.machine.cpu}, threads: {settings.threads}; {settings.tokens} tokens for each prompt, "
        f"{settings.repeats} repeats, medians"
    )
    out.print(line((about, "dim")))
    for engine in results.engines:
        if results.compares:
            print_in_full(_methods(results, engine))
            print_in_full(_kinds(results, engine))
        if results.assistant is not None:
            print_in_full(_speedups(results, engine))
            print_in_full(_rounds(results.of(engine, OVERALL)))
        if confidence := [row for row in results.confidence if row.engine == engine]:
            print_in_full(_confidence(confidence))
        out.print(line((f"{engine}: {results.machine.engines.get(engine, '')}", "dim")))
    if len(results.engines) > 1 and results.assistant is not None:
        print_in_full(_comparison(results))
    for number, reason in enumerate(results.recommendation.reasons):
        out.print(line((reason, "bold")) if number == 0 else line(f"- {reason}"))
    out.print("\nmainline llama.cpp, as recommended:", style="dim")
    out.print(line(f"  {results.recommendation.command}"))


def _drafter(results: BenchResults) -> list[Any]:
    return [] if results.assistant is None else [" with ", (results.assistant.file, "bold")]


def _methods(results: BenchResults, engine: str) -> Table:
    """A line for each way of drafting and each of its lengths, over all prompts."""
    headings = ("draft", "tokens/s", "speed-up", "accepted", "tokens/round", "prompt t/s", "memory", "same text")
    table = _table(f"{engine}: ways of drafting, all prompts", "method", *headings)
    rows = results.of(engine, OVERALL, None)
    best = best_length(rows)
    for row in rows:
        colour = "green" if row.speedup > 1 + EVEN else "red" if row.speedup < 1 - EVEN else "default"
        table.add_row(
            plain(row.method if row.drafts else "none"),
            draft_name(row.draft) if row.drafts else "",
            f"{row.tokens_per_second:.1f}",
            line((f"{row.speedup:.2f}x", f"{'bold ' if row is best else ''}{colour}")),
            "" if row.acceptance is None else f"{row.acceptance:.0%}",
            f"{row.tokens_per_round:.2f}",
            "" if row.prompt_tokens_per_second is None else f"{row.prompt_tokens_per_second:.0f}",
            "" if row.memory is None else f"+{row.memory / 1e6:,.0f} MB",
            "" if not row.drafts else "yes" if row.identical else "no",
        )
    return table


def _kinds(results: BenchResults, engine: str) -> Table:
    """Each method's best fixed length by kind of text."""
    methods = list(dict.fromkeys(row.method for row in results.of(engine, OVERALL, None) if row.drafts))
    table = _table(f"{engine}: each at its best length, by kind of text", "", "none", *map(plain, methods))
    for category in (*results.categories, OVERALL):
        rows = results.of(engine, category, None)
        best = best_length(rows)
        cells = []
        for method in methods:
            own = [row for row in rows if row.method == method and row.draft > PLAIN]
            top = max(own, key=lambda row: row.speedup)
            cells.append(_speedup(top, bold=top is best))
        if category == OVERALL:
            table.add_section()
        table.add_row(plain(category), f"{rows[0].tokens_per_second:.1f}/s", *cells)
    return table


def _speedups(results: BenchResults, engine: str) -> Table:
    """A line for each category: plain tokens/s, then speed-up and acceptance by draft length."""
    lengths = (draft_name(row.draft) for row in results.of(engine, OVERALL) if row.drafts)
    table = _table(f"{engine}: speed-up and acceptance by draft length", "", "no draft", *lengths)
    for category in (*results.categories, OVERALL):
        rows = results.of(engine, category)
        best = best_length(rows)
        cells = [_speedup(row, bold=row is best) for row in rows if row.drafts]
        if category == OVERALL:
            table.add_section()
        table.add_row(plain(category), f"{rows[0].tokens_per_second:.1f}/s", *cells)
    return table


def _speedup(row: Row, bold: bool) -> Text:
    colour = "green" if row.speedup > 1 + EVEN else "red" if row.speedup < 1 - EVEN else "default"
    acceptance = "" if row.acceptance is None else f"{row.acceptance:.0%}"
    return line((f"{row.speedup:.2f}x", f"{'bold ' if bold else ''}{colour}"), " ", (f"{acceptance:>4}", "dim"))


def _rounds(rows: list[Row]) -> Table:
    """What an average round consists of, over all prompts."""
    told = any(row.draft_ms is not None for row in rows)
    headings = ["draft", "tokens/s", "speed-up", "ceiling", "tokens/round", "draft ms", "verify ms"]
    table = _table("all prompts", None, *(headings if told else [*headings[:3], "tokens/round"]))
    table.add_column("accepted at 1, 2, ...")
    for row in rows:
        times = [
            _number(row.ceiling, "x"),
            f"{row.tokens_per_round:.2f}",
            _number(row.draft_ms),
            _number(row.verify_ms),
        ]
        table.add_row(
            draft_name(row.draft),
            f"{row.tokens_per_second:.1f}",
            f"{row.speedup:.2f}x",
            *(times if told else [f"{row.tokens_per_round:.2f}"]),
            " ".join(f"{share:.0%}" for share in row.acceptance_by_position)
            or ("" if row.acceptance is None else f"{row.acceptance:.0%}"),
        )
    return table


def _confidence(rows: list[ConfidenceRow]) -> Table:
    """Drafts that end where the drafter is not sure."""
    headings = ("draft", "--p-min", "tokens/s", "speed-up", "accepted")
    table = _table("all prompts, drafts that end where the drafter is less sure", None, *headings)
    for row in rows:
        accepted = "" if row.acceptance is None else f"{row.acceptance:.0%}"
        figures = f"{row.tokens_per_second:.1f}", f"{row.speedup:.2f}x", accepted
        table.add_row(str(row.draft), f"{row.p_min:g}", *figures)
    return table


def _number(value: float | None, unit: str = "") -> str:
    return "" if value is None else f"{value:.2f}{unit}"


def _comparison(results: BenchResults) -> Table:
    """Tokens a second of the engines side by side; the ratio is the first one's against each other's."""
    first, *others = results.engines
    rates_of = (f"{engine} tokens/s" for engine in results.engines)
    ratios = (f"{first}/{other}" for other in others)
    table = _table("engines, all prompts", None, "drafting", *rates_of, *ratios)
    for draft in results.drafts:
        if draft == AUTO:
            continue
        rates = [results.overall(engine, draft).tokens_per_second for engine in results.engines]
        table.add_row(
            draft_name(draft), *(f"{rate:.1f}" for rate in rates), *(f"{rates[0] / rate:.2f}" for rate in rates[1:])
        )
    return table


def _table(title: str, label: str | None, *figures: str) -> Table:
    """label: the heading of the first column, of texts, if there is one. figures: those of columns of numbers."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), title=title, title_justify="left")
    if label is not None:
        table.add_column(label)
    for heading in figures:
        table.add_column(heading, justify="right")
    return table
