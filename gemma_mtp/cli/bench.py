"""`gemma-mtp bench`."""

from __future__ import annotations

import json as json_text
from dataclasses import dataclass, replace
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
    from gemma_mtp.bench.ways import Way
    from gemma_mtp.sources.pairs import PairFiles

#: Confidences that are tried where --p-min is not given.
DEFAULT_P_MINS = (0.5, 0.8)
#: Tokens of context beyond a long prompt and what is generated after it.
MARGIN = 64


@dataclass(frozen=True)
class MeasuringOptions:
    """What is measured, and on what."""

    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            help="A way of drafting to be compared: mtp:FILE, dflash:FILE, eagle3:FILE, dspark:FILE, draft:FILE (an "
            "ordinary smaller model), ngram-simple, ngram-mod, ngram-map-k or ngram-cache; with + both, as in "
            "mtp:FILE+ngram-mod; with lengths, as in draft:FILE=4,8 and ngram-mod=16/8. May be given several times.",
        ),
    ] = None
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
            "is installed, python first; with --method cpp first, which has all of them."
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
    context_sizes: Annotated[
        str, typer.Option(help="Also long prompts, of so many tokens: 4k,16k. The context grows to hold them.")
    ] = ""

    @property
    def confidences(self) -> tuple[float, ...]:
        """Those that are tried, each once."""
        return tuple(sorted({one for one in (DEFAULT_P_MINS if self.p_min is None else self.p_min) if one}))

    @property
    def sizes(self) -> dict[str, int]:
        """Category of a long prompt -> its tokens. Raises UsageError."""
        from gemma_mtp.mtp_runtime.prompts import read_sizes, size_name

        return {size_name(size): size for size in read_sizes(self.context_sizes)}

    def texts(self) -> dict[str, str]:
        """Category -> prompt. Raises UsageError."""
        from gemma_mtp.mtp_runtime.prompts import choose_prompts, long_text

        return choose_prompts(self.prompts, self.category) | {
            name: long_text(size) for name, size in self.sizes.items()
        }

    def engines(self) -> tuple[str, ...]:
        """Raises MissingExtra."""
        from gemma_mtp.bench.laps import ENGINES
        from gemma_mtp.cli.chosen import choose_engine
        from gemma_mtp.native.engines import CPP, present

        named = CPP if self.engine is None and self.method and CPP in present() else self.engine
        return tuple(choose_engine(name) for name in (ENGINES if named == "both" else (named,)))

    def files(self, target: str, assistant: str | None, deep: bool) -> tuple[PairFiles, tuple[Way, ...]]:
        """The target, the assistant where one is wanted, and the ways that are named; what is missing is downloaded."""
        from gemma_mtp.bench.ways import assistant_way, read_ways
        from gemma_mtp.cli.chosen import pair_of
        from gemma_mtp.cli.output import progress_bar
        from gemma_mtp.model.part import Part
        from gemma_mtp.sources.opening import local_gguf

        def local(place: str) -> Path:
            return local_gguf(place, Part.ASSISTANT, progress=progress_bar, deep=deep)

        pair = pair_of(target, assistant, drafting=assistant is not None or not self.method, deep=deep)
        taken = () if pair.assistant is None else (assistant_way(pair.assistant, ()),)
        return pair, read_ways(self.method or (), local, taken)


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
        from gemma_mtp.files.atomic import write_whole

        if self.output:
            content = json_text.dumps(results.to_dict(), indent=2).encode() + b"\n"
            write_whole(self.output, content, force=self.force)
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
    """Measure what drafting gains with this pair on this machine, and which draft length, or way of drafting, pays.

    Seven kinds of text are continued, plainly and with each draft length, in turns. Ends with llama-server's command
    line for the best one, which run and serve then begin with on this machine. With --method other ways of drafting are
    compared; the assistant is then measured only if it is named.

    Examples:

    - `gemma-mtp bench target.gguf mtp-target.gguf`

    - `gemma-mtp bench ggml-org/gemma-4-26B-A4B-it-GGUF:Q4_K_M`

    - `gemma-mtp bench target.gguf mtp-target.gguf --draft-max 6 --plot speedup.png -o results.json`

    - `gemma-mtp bench target.gguf mtp-target.gguf --engine both --category code --category math`

    - `gemma-mtp bench target.gguf --method mtp:mtp.gguf --method draft:small.gguf --method mtp:mtp.gguf+ngram-mod`
    """
    from gemma_mtp.bench.bench import run_bench
    from gemma_mtp.bench.laps import Pair
    from gemma_mtp.bench.measure import Plan
    from gemma_mtp.bench.results import AUTO
    from gemma_mtp.cli.bench_table import print_bench
    from gemma_mtp.cli.output import native_log, print_json, progress_bar

    texts, sizes = measured.texts(), measured.sizes
    written.check()
    chosen = measured.engines()
    context, model = decode.settings(chosen[0], placement)
    needed = max((size + measured.tokens + MARGIN for size in sizes.values()), default=0)
    context = replace(context, size=max(context.size, needed))
    files, ways = measured.files(target, assistant, deep)
    plan = Plan(
        Pair(files.target, files.assistant, measured.draft_max, context, model, ways),
        tuple(texts.items()),
        (*range(1, measured.draft_max + 1), *([AUTO] if measured.auto else [])),
        engines=chosen,
        tokens=measured.tokens,
        repeats=measured.repeats,
        p_mins=measured.confidences,
        sizes=sizes,
    )
    with native_log(verbose, log):
        results = run_bench(plan, progress=progress_bar)
    written.write(results)
    print_json(results.to_dict()) if json else print_bench(results)
