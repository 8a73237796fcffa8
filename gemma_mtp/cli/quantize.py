"""`gemma-mtp quantize`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from gemma_mtp.cli.options import Deep, Engine, Force, GpuLayers, Json, Placement, Threads, takes_placement

if TYPE_CHECKING:
    from gemma_mtp.bench.comparison import Comparison
    from gemma_mtp.quantize import ImportanceMatrix, Override

COMPARISON = "Comparison"


@takes_placement
def quantize(
    source: Annotated[
        str | None,
        typer.Argument(
            help="A GGUF in BF16, F16 or F32: a path, owner/repo:TYPE or hf://owner/repo/file.gguf.", metavar="IN.gguf"
        ),
    ] = None,
    wanted: Annotated[
        list[str] | None,
        typer.Argument(help="Types or recipes; with one, an output may stand before it.", metavar="[OUT.gguf] TYPE..."),
    ] = None,
    tensor: Annotated[
        list[str] | None,
        typer.Option("--tensor", metavar="ROLE=TYPE", help="A type for one role, e.g. head=Q4_0. Repeatable."),
    ] = None,
    imatrix: Annotated[
        str | None, typer.Option("--imatrix", help="Importance matrix, GGUF or .dat (also hf://owner/repo/file).")
    ] = None,
    allow_requantize: Annotated[
        bool, typer.Option("--allow-requantize", help="Take a quantized file as input.")
    ] = False,
    list_kinds: Annotated[
        bool, typer.Option("--list", help="List types and recipes, with IN.gguf's size in each.")
    ] = False,
    compare: Annotated[
        str | None,
        typer.Option(
            "--compare", metavar="TARGET", help="Measure the types with this target (any place); no file is kept."
        ),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(help="Your own prompts, with a line of --- between two.", rich_help_panel=COMPARISON),
    ] = None,
    draft_max: Annotated[
        int, typer.Option(min=1, max=16, help="Tokens to draft in a round.", rich_help_panel=COMPARISON)
    ] = 3,
    tokens: Annotated[
        int, typer.Option("--tokens", "-n", min=2, help="Tokens for each prompt.", rich_help_panel=COMPARISON)
    ] = 64,
    repeats: Annotated[
        int, typer.Option("--repeats", "-r", min=1, help="Turns of each type.", rich_help_panel=COMPARISON)
    ] = 3,
    engine: Engine = None,
    gpu_layers: GpuLayers = -1,
    placement: Placement | None = None,
    deep: Deep = False,
    threads: Threads = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Quantize a GGUF: exactly as llama.cpp does (TYPE), or by a recipe made for drafters.

    Without an output's name the files are put beside the input, of one on the Hub into this folder. Several types cost
    one reading.

    - `gemma-mtp quantize mtp-gemma-4-26B-A4B-it-BF16.gguf Q8_0 Q4_0 draft-q4`
    - `gemma-mtp quantize in.gguf out.gguf Q4_K_M --imatrix imatrix.gguf`
    - `gemma-mtp quantize in.gguf Q4_0 --tensor head=IQ4_NL --tensor projections=Q8_0`
    - `gemma-mtp quantize --list in.gguf`
    - `gemma-mtp quantize ggml-org/gemma-4-26B-A4B-it-GGUF:BF16 draft-q4`
    - `gemma-mtp quantize in.gguf Q8_0 Q4_0 draft-q4 --compare target.gguf`: which should my drafter have?
    """
    from gemma_mtp.cli.output import print_json, progress_bar
    from gemma_mtp.cli.quantize_table import print_comparison, print_offers, print_report
    from gemma_mtp.hub.download import fetch_file
    from gemma_mtp.quantize import parse_override, quantize_model, read_imatrix
    from gemma_mtp.quantize.catalogue import offers, split_words

    if list_kinds:
        on_offer = offers(source)
        print_json({"types": [offer.to_dict() for offer in on_offer]}, "--list") if json else print_offers(on_offer)
        return
    if source is None:
        raise typer.BadParameter("name a GGUF to quantize", param_hint="IN.gguf")
    if compare:
        how = _How(
            tuple(parse_override(text) for text in tensor or []),
            read_imatrix(fetch_file(imatrix, progress=progress_bar, deep=deep)) if imatrix else None,
            allow_requantize,
            threads,
        )
        found = _compare(
            source, wanted or [], how, compare, prompts, draft_max, tokens, repeats, engine, gpu_layers, placement, deep
        )
        print_json(found.to_dict()) if json else print_comparison(found)
    else:
        output, types = split_words(wanted or [])
        report = quantize_model(
            source,
            types,
            output,
            overrides=tensor or (),
            imatrix=imatrix,
            allow_requantize=allow_requantize,
            force=force,
            threads=threads,
            progress=progress_bar,
            deep=deep,
        )
        print_json(report.to_dict()) if json else print_report(report)


class _How(NamedTuple):
    """How candidates are made."""

    overrides: tuple[Override, ...]
    importance: ImportanceMatrix | None
    allow_requantize: bool
    threads: int | None


def _compare(
    source: str,
    wanted: Sequence[str],
    how: _How,
    target: str,
    prompts: Path | None,
    draft_max: int,
    tokens: int,
    repeats: int,
    engine: str | None,
    gpu_layers: int,
    placement: Placement | None,
    deep: bool,
) -> Comparison:
    from dataclasses import replace

    from gemma_mtp.bench.compare import USUAL, Candidates, Course, compare
    from gemma_mtp.cli.engines import choose_engine
    from gemma_mtp.cli.output import progress_bar
    from gemma_mtp.model.part import Part
    from gemma_mtp.mtp_runtime.prompts import choose_prompts
    from gemma_mtp.native.engines import settings_for
    from gemma_mtp.native.placement import belonging
    from gemma_mtp.native.settings import ContextSettings, ModelSettings
    from gemma_mtp.quantize.catalogue import parse_kinds
    from gemma_mtp.sources.opening import local_gguf

    kinds, texts, chosen = tuple(parse_kinds(wanted or USUAL)), choose_prompts(prompts), choose_engine(engine)
    there = local_gguf(target, Part.TARGET, progress=progress_bar, deep=deep)
    candidates = Candidates(local_gguf(source, Part.ASSISTANT, progress=progress_bar, deep=deep), kinds, *how)
    model = replace(settings_for(chosen), gpu_layers=gpu_layers, **belonging(placement or {}, ModelSettings))
    course = Course(
        there,
        tuple(texts.items()),
        draft_max,
        tokens,
        repeats,
        ContextSettings(threads=how.threads, **belonging(placement or {}, ContextSettings)),
        model,
        chosen,
    )
    return compare(candidates, course, progress=progress_bar)
