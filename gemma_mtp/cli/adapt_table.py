"""What `adapt` prints: stages while it runs, tables at the end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from gemma_mtp.adapt.figures import Counts, total
from gemma_mtp.adapt.measuring import MANY_LOOPS, WAYS, Measured
from gemma_mtp.advice import quoted
from gemma_mtp.cli.output import human_size, line, print_in_full, print_note, results

if TYPE_CHECKING:
    from gemma_mtp.adapt.adapt import Job, Report, Told
    from gemma_mtp.adapt.costs import Costs

HOW = {"greedy": "greedy", "sampled": "at 0.7"}


class Stages:
    """Prints a stage's progress, about every fifth of it, and its words."""

    def __init__(self) -> None:
        self._stage, self._shown = "", -1

    def __call__(self, told: Told) -> None:
        fifth = math.floor(5 * told.share)
        if (told.stage, fifth) == (self._stage, self._shown):
            return
        self._stage, self._shown = told.stage, fifth
        print_note(f"{told.stage}: {told.share:.0%}{f', {told.words}' if told.words else ''}")


def print_adapted(report: Report, job: Job) -> None:
    """Before and after, the training's own figures, and the server's command line."""
    outcome = report.outcome
    print_measured([report.before, report.after], None, [], names=("before", "after"))
    results.print(
        f"gain: {report.gain:+.2f} tokens a round (standard error {report.error:.2f}, "
        f"{len(report.before.laps)} held-out texts)"
    )
    results.print(
        f"first drafts right on held-out texts: {outcome.before.first:.1%} -> {outcome.after.first:.1%} "
        f"of {outcome.after.positions:,}"
    )
    speed = outcome.flops * outcome.steps / max(outcome.seconds, 1e-9)
    print_note(
        f"trained: {outcome.trained:,} weights in {outcome.steps:,} steps of {outcome.flops / 1e9:,.1f} GFLOP "
        f"({outcome.seconds:,.0f} s, {speed / 1e9:,.1f} GFLOP a second, peak memory "
        f"{human_size(outcome.peak_memory)}); {outcome.ended}"
    )
    for path in report.files:
        results.print(line(f"written: {path}, {human_size(path.stat().st_size)}"))
    results.print(line(f"llama-server -m {quoted(job.target)} -md {quoted(report.files[0])} --spec-type draft-mtp"))


def print_measured(
    found: Sequence[Measured], original: Measured | None, said: Sequence[str], names: Sequence[str] = ()
) -> None:
    """A row for each assistant and way of choosing tokens."""
    table = Table(box=None, pad_edge=False)
    for heading in ("assistant", "text", "accepted at 1", "2", "3", "of drafts", "tokens a round", "in loops"):
        table.add_column(heading, justify="left" if heading in ("assistant", "text") else "right")
    rows: list[tuple[str, Measured]] = [
        (names[index] if names else one.assistant.name, one) for index, one in enumerate(found)
    ]
    if original:
        rows.append((f"{original.assistant.name} on the original", original))
    for name, one in rows:
        for way in WAYS:
            table.add_row(name, HOW[way], *_cells(total(one.of(way))), f"{one.looping(way):.0%}")
    print_in_full(table)
    if any(one.looping(way) > MANY_LOOPS for _, one in rows for way in WAYS) and not said:
        print_note("much of the text stands in loops, which any drafter guesses: the sampled figures say more")
    for sentence in said:
        results.print(line(f"{sentence}."))


def _cells(counts: Counts) -> list[Any]:
    places = [f"{share:.1%}" for share in counts.by_position]
    places += ["-"] * (3 - len(places))
    return [*places, f"{counts.acceptance:.1%} of {counts.drafted:,}", f"{counts.tokens_a_round:.2f}"]


def print_estimate(costs: Costs, how: str) -> None:
    """What adapting would take."""
    results.print(
        line(
            f"{costs.tokens:,} tokens: {human_size(costs.disk)} of signals on disk, {human_size(costs.memory)} of "
            f"memory and {costs.flops / 1e15:,.3f} PFLOP to train"
        )
    )
    results.print(line(f"training: about {costs.minutes:,.1f} minutes here ({how})"))
    results.print(line("recording is one reading of the texts by the target, as fast as llama.cpp reads prompts here"))
