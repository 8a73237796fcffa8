"""`gemma-mtp bench`."""

from __future__ import annotations

import json as json_text
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gemma_mtp.cli.options import (
    Assistant,
    Batch,
    CacheType,
    Ctx,
    DecodingThreads,
    Deep,
    FlashAttention,
    Force,
    GpuLayers,
    Json,
    Log,
    Placement,
    Target,
    Verbose,
    engine_settings,
    takes_pair,
    takes_placement,
)

if TYPE_CHECKING:
    from gemma_mtp.bench.ways import Way
    from gemma_mtp.sources.pairs import PairFiles

#: Confidences that are tried where --p-min is not given.
DEFAULT_P_MINS = (0.5, 0.8)
#: Tokens of context beyond a long prompt and what is generated after it.
MARGIN = 64


@takes_pair
@takes_placement
def bench(
    target: Target,
    assistant: Assistant = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            help="A way of drafting to be compared: mtp:FILE, dflash:FILE, eagle3:FILE, dspark:FILE, draft:FILE (an "
            "ordinary smaller model), ngram-simple, ngram-mod, ngram-map-k or ngram-cache; with + both, as in "
            "mtp:FILE+ngram-mod; with lengths, as in draft:FILE=4,8 and ngram-mod=16/8. May be given several times.",
        ),
    ] = None,
    draft_max: Annotated[int, typer.Option(min=1, max=16, help="Measure drafts of 1 to so many tokens.")] = 4,
    auto: Annotated[bool, typer.Option("--auto/--no-auto", help="Also the length that adapts itself.")] = True,
    p_min: Annotated[
        list[float] | None,
        typer.Option(
            "--p-min",
            min=0,
            max=1,
            help="Also the longest draft, ended where the drafter is less sure. May be given several times; 0: not at "
            "all. Default: 0.5 and 0.8.",
        ),
    ] = None,
    engine: Annotated[
        Literal["python", "cpp", "both"] | None,
        typer.Option(
            help="python: gemma-mtp's loop. cpp: llama.cpp's server in xllamacpp. both: to compare them. Default: what "
            "is installed, python first; with --method cpp first, which has all of them."
        ),
    ] = None,
    tokens: Annotated[int, typer.Option("--tokens", "-n", min=2, help="Tokens to generate for each prompt.")] = 128,
    repeats: Annotated[int, typer.Option("--repeats", "-r", min=1, help="Repeats; medians are shown.")] = 3,
    category: Annotated[
        list[str] | None, typer.Option(help="Of the built-in prompts only this category. May be given several times.")
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="A file of your own prompts, with a line of --- between two.")
    ] = None,
    context_sizes: Annotated[
        str, typer.Option(help="Also long prompts, of so many tokens: 4k,16k. The context grows to hold them.")
    ] = "",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the results there, as JSON.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the results there: .png, .svg or .pdf.")] = None,
    force: Force = False,
    ctx: Ctx = 4096,
    batch: Batch = 512,
    threads: DecodingThreads = None,
    gpu_layers: GpuLayers = -1,
    flash_attention: FlashAttention = "auto",
    cache_type: CacheType = "f16",
    placement: Placement | None = None,
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
    from gemma_mtp.bench.laps import ENGINES, Pair
    from gemma_mtp.bench.measure import Plan
    from gemma_mtp.bench.plot import check_plot, draw
    from gemma_mtp.bench.results import AUTO
    from gemma_mtp.cli.bench_table import print_bench
    from gemma_mtp.cli.output import native_log, print_json, print_note, progress_bar
    from gemma_mtp.files.atomic import atomic_output, check_output
    from gemma_mtp.mtp_runtime.prompts import choose_prompts, long_text, read_sizes, size_name

    texts = choose_prompts(prompts, category)
    sizes = {size_name(size): size for size in read_sizes(context_sizes)}
    texts |= {name: long_text(size) for name, size in sizes.items()}
    if plot:
        check_plot(plot, force)
    if output:
        check_output(output, force)
    chosen = _engines(engine, bool(method), tuple(ENGINES))
    context, model = engine_settings(
        chosen[0],
        ctx=max([ctx, *(size + tokens + MARGIN for size in sizes.values())]),
        batch=batch,
        threads=threads,
        gpu_layers=gpu_layers,
        flash_attention=flash_attention,
        cache_type=cache_type,
        placement=placement,
    )
    files, ways = _files(target, assistant, method or [], deep)
    plan = Plan(
        Pair(files.target, files.assistant, draft_max, context, model, ways),
        tuple(texts.items()),
        (*range(1, draft_max + 1), *([AUTO] if auto else [])),
        engines=tuple(chosen),
        tokens=tokens,
        repeats=repeats,
        p_mins=tuple(sorted({one for one in (DEFAULT_P_MINS if p_min is None else p_min) if one})),
        sizes=sizes,
    )
    with native_log(verbose, log):
        results = run_bench(plan, progress=progress_bar)
    if output:
        content = json_text.dumps(results.to_dict(), indent=2).encode() + b"\n"
        with atomic_output(output, size=len(content), force=force) as file:
            file.write(content)
        print_note(f"written: {output}")
    if plot:
        draw(results, plot, force=force)
        print_note(f"drawn: {plot}")
    if json:
        print_json(results.to_dict())
    else:
        print_bench(results)


def _engines(named: str | None, methods: bool, both: tuple[str, ...]) -> list[str]:
    """The engines to be measured. Raises MissingExtra."""
    from gemma_mtp.cli.engines import choose_engine
    from gemma_mtp.native.engines import CPP, present

    if named is None and methods and CPP in present():
        named = CPP
    return [choose_engine(name) for name in (both if named == "both" else (named,))]


def _files(target: str, assistant: str | None, methods: list[str], deep: bool) -> tuple[PairFiles, tuple[Way, ...]]:
    """The target, the assistant where one is wanted, and the ways that are named; what is missing is downloaded."""
    from gemma_mtp.bench.ways import assistant_way, read_ways
    from gemma_mtp.cli.output import progress_bar
    from gemma_mtp.cli.pair import pair_of
    from gemma_mtp.model.part import Part
    from gemma_mtp.sources.opening import local_gguf

    files = pair_of(target, assistant, drafting=assistant is not None or not methods, deep=deep)
    taken = () if files.assistant is None else (assistant_way(files.assistant, ()),)
    ways = read_ways(methods, lambda place: local_gguf(place, Part.ASSISTANT, progress=progress_bar, deep=deep), taken)
    return files, ways
