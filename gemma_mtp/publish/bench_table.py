"""What `gemma-mtp bench` measured, as a section of a card."""

from __future__ import annotations

from collections.abc import Iterator

from gemma_mtp.bench.results import NONE, OVERALL, PLAIN, BenchResults, Row, draft_name
from gemma_mtp.errors import UsageError
from gemma_mtp.native.methods import MTP
from gemma_mtp.publish.assistant_file import AssistantFile


def require_measured(bench: BenchResults, files: list[AssistantFile], others: list[str]) -> None:
    """Raises UsageError if the results are not those of a file in the repo."""
    measured = bench.assistant
    if measured is None or bench.recommendation.method not in (MTP, NONE):
        raise UsageError(
            f"these bench results recommend {bench.recommendation.method}, and what is published is an assistant",
            hint="measure it alone: gemma-mtp bench TARGET ASSISTANT --json > results.json",
        )
    same = next((file for file in files if file.path.name == measured.file), None)
    if same is None and measured.file not in others:
        raise UsageError(
            f"these bench results are for {one_line(measured.file)}, which is not in the repo",
            hint="measure one of the files that are pushed",
        )
    if same is not None and same.size != measured.bytes:
        raise UsageError(
            f"these bench results are for another {same.path.name}, of {measured.bytes:,} bytes",
            where=same.path,
            hint="measure it again: gemma-mtp bench TARGET ASSISTANT --json > results.json",
        )


def bench_section(bench: BenchResults) -> str:
    """How fast it was for each draft length, then for each kind of text, and on what."""
    return "\n".join(["## Benchmarks", "", *_measured(bench), "", *_lengths(bench), "", *_categories(bench)])


def _measured(bench: BenchResults) -> Iterator[str]:
    settings, machine = bench.settings, bench.machine
    devices = ", ".join(one_line(device) for device in machine.devices) or one_line(machine.cpu)
    engines = ", ".join(f"{one_line(name)} ({one_line(version)})" for name, version in machine.engines.items())
    prompts = sum(settings.prompts.values())
    drafter = one_line(bench.assistant.file) if bench.assistant else ""
    yield (
        f"`{drafter}` drafting for `{one_line(bench.target.file)}`, greedy, on {devices}. "
        f"Engine: {engines}. {prompts} prompts, {settings.tokens} tokens each, median of {settings.repeats} repeats, "
        f"{settings.threads} threads, context {settings.context:,}; gemma-mtp {one_line(bench.gemma_mtp)}, "
        f"{one_line(bench.date)[:10]}."
    )


def _lengths(bench: BenchResults) -> Iterator[str]:
    yield from _header("Engine", "Drafted a round", "Tokens/s", "Speed-up", "Accepted", "Same output")
    for engine in bench.engines:
        for row in bench.of(engine, OVERALL):
            yield _line(engine, draft_name(row.draft), *_numbers(row), "yes" if row.identical else "no")


def _categories(bench: BenchResults) -> Iterator[str]:
    """By kind of text, at the length that pays most."""
    draft, p_min = bench.recommendation.draft, bench.recommendation.p_min
    if draft == PLAIN:
        yield "Drafting did not pay on this machine."
        return
    options = f"--spec-draft-n-max {draft}" + (f" --spec-draft-p-min {p_min:g}" if p_min else "")
    kinds = "By kind of text, without such an end:" if p_min else "By kind of text:"
    yield f"Recommended there: `{options}` ({bench.recommendation.speedup:.2f}x). {kinds}"
    yield ""
    yield from _header("Text", "Tokens/s", "Speed-up", "Accepted")
    for category in bench.categories:
        for row in bench.of(bench.engines[0], category):
            if row.draft == draft:
                yield _line(category, *_numbers(row))


def _numbers(row: Row) -> tuple[str, str, str]:
    accepted = "" if row.acceptance is None else f"{row.acceptance:.1%}"
    return f"{row.tokens_per_second:.1f}", f"{row.speedup:.2f}x" if row.draft != PLAIN else "", accepted


def _header(*titles: str) -> Iterator[str]:
    yield _line(*titles)
    yield f"|{' --- |' * len(titles)}"


def _line(*cells: str) -> str:
    return f"| {' | '.join(one_line(cell) for cell in cells)} |"


def one_line(text: str) -> str:
    """Text from a file as it may stand in a table or a list: one line, no cell borders, no comment marks."""
    return " ".join(text.split()).replace("|", "\\|").replace("<!--", "&lt;!--")
