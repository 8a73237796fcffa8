"""`gemma-mtp bench`."""

from __future__ import annotations

import json as json_text
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gemma_mtp.cli.options import (
    Assistant,
    Deep,
    EngineOptions,
    Force,
    Json,
    Log,
    Placement,
    Target,
    Verbose,
    takes_groups,
    takes_pair,
    takes_placement,
)

if TYPE_CHECKING:
    from gemma_mtp.bench.results import BenchResults

#: Confidences that are tried where --p-min is not given.
DEFAULT_P_MINS = (0.5, 0.8)


@dataclass(frozen=True)
class MeasuringOptions:
    """What is measured, and on what."""

    draft_max: Annotated[int, typer.Option(min=1, max=16, help="Measure drafts of 1 to so many tokens.")] = 4
    auto: Annotated[bool, typer.Option("--auto/--no-auto", help="Also the length that adapts itself.")] = True
    p_min: Annotated[
        list[float] | None,
        typer.Option(
            "--p-min",
            min=0,
            max=1,
            help="Also the longest draft, ended where the drafter is less sure. May be given several times; 0: not at "
            "all. Default: 0.5 and 0.8.",
        ),
    ] = None
    engine: Annotated[
        Literal["python", "cpp", "both"] | None,
        typer.Option(
            help="python: gemma-mtp's loop. cpp: llama.cpp's server in xllamacpp. both: to compare them. Default: what "
            "is installed, python first."
        ),
    ] = None
    tokens: Annotated[int, typer.Option("--tokens", "-n", min=2, help="Tokens to generate for each prompt.")] = 128
    repeats: Annotated[int, typer.Option("--repeats", "-r", min=1, help="Repeats; medians are shown.")] = 3
    category: Annotated[
        list[str] | None, typer.Option(help="Of the built-in prompts only this category. May be given several times.")
    ] = None
    prompts: Annotated[
        Path | None, typer.Option(help="A file of your own prompts, with a line of --- between two.")
    ] = None

    @property
    def confidences(self) -> tuple[float, ...]:
        """Those that are tried, each once."""
        return tuple(sorted({one for one in (DEFAULT_P_MINS if self.p_min is None else self.p_min) if one}))


@dataclass(frozen=True)
class OutputOptions:
    """Where the results go."""

    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the results there, as JSON.")] = None
    plot: Annotated[Path | None, typer.Option(help="Draw the results there: .png, .svg or .pdf.")] = None
    force: Force = False

    def check(self) -> None:
        """Raises UsageError: a place that cannot be written, before anything is measured."""
        from gemma_mtp.bench.plot import check_plot
        from gemma_mtp.files.atomic import check_output

        if self.plot:
            check_plot(self.plot, self.force)
        if self.output:
            check_output(self.output, self.force)

    def write(self, results: BenchResults) -> None:
        """The file and the picture, as far as they are wanted."""
        from gemma_mtp.bench.plot import draw
        from gemma_mtp.cli.output import print_note
        from gemma_mtp.files.atomic import atomic_output

        if self.output:
            content = json_text.dumps(results.to_dict(), indent=2).encode() + b"\n"
            with atomic_output(self.output, size=len(content), force=self.force) as file:
                file.write(content)
            print_note(f"written: {self.output}")
        if self.plot:
            draw(results, self.plot, force=self.force)
            print_note(f"drawn: {self.plot}")


@takes_pair
@takes_placement
@takes_groups
def bench(
    target: Target,
    assistant: Assistant = None,
    *,
    measured: MeasuringOptions,
    written: OutputOptions,
    decode: EngineOptions,
    placement: Placement,
    deep: Deep = False,
    verbose: Verbose = False,
    log: Log = None,
    json: Json = False,
) -> None:
    """Measure what drafting gains with this pair on this machine, and which draft length pays.

    Six kinds of text are continued, plainly and with each draft length, in turns. Ends with llama-server's command
    line for the best one, which run and serve then begin with on this machine.

    Examples:

    - `gemma-mtp bench target.gguf mtp-target.gguf`

    - `gemma-mtp bench ggml-org/gemma-4-26B-A4B-it-GGUF:Q4_K_M`

    - `gemma-mtp bench target.gguf mtp-target.gguf --draft-max 6 --plot speedup.png -o results.json`

    - `gemma-mtp bench target.gguf mtp-target.gguf --engine both --category code --category math`
    """
    from gemma_mtp.bench.bench import run_bench
    from gemma_mtp.bench.laps import ENGINES, Pair
    from gemma_mtp.bench.measure import Plan
    from gemma_mtp.bench.results import AUTO
    from gemma_mtp.cli.bench_table import print_bench
    from gemma_mtp.cli.engines import choose_engine
    from gemma_mtp.cli.output import native_log, print_json, progress_bar
    from gemma_mtp.cli.pair import pair_of
    from gemma_mtp.mtp_runtime.prompts import choose_prompts

    texts = choose_prompts(measured.prompts, measured.category)
    written.check()
    chosen = [choose_engine(name) for name in (ENGINES if measured.engine == "both" else (measured.engine,))]
    context, model = decode.settings(chosen[0], placement)
    files = pair_of(target, assistant, deep=deep)
    assert files.assistant is not None  # drafting is what is measured
    plan = Plan(
        Pair(files.target, files.assistant, measured.draft_max, context, model),
        tuple(texts.items()),
        (*range(1, measured.draft_max + 1), *([AUTO] if measured.auto else [])),
        engines=tuple(chosen),
        tokens=measured.tokens,
        repeats=measured.repeats,
        p_mins=measured.confidences,
    )
    with native_log(verbose, log):
        results = run_bench(plan, progress=progress_bar)
    written.write(results)
    print_json(results.to_dict()) if json else print_bench(results)
