"""`gemma-mtp quantize`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from gemma_mtp.cli.options import (
    Deep,
    Engine,
    Force,
    GpuLayers,
    Json,
    Placement,
    Threads,
    takes_groups,
    takes_placement,
)

if TYPE_CHECKING:
    from gemma_mtp.bench.compare import Course
    from gemma_mtp.bench.comparison import Comparison
    from gemma_mtp.quantize import Quantization


@dataclass(frozen=True)
class QuantizingOptions:
    """What is made, and how."""

    tensor: Annotated[
        list[str] | None,
        typer.Option("--tensor", metavar="ROLE=TYPE", help="A type for one role, e.g. head=Q4_0. Repeatable."),
    ] = None
    imatrix: Annotated[
        str | None, typer.Option("--imatrix", help="Importance matrix, GGUF or .dat (also hf://owner/repo/file).")
    ] = None
    allow_requantize: Annotated[bool, typer.Option("--allow-requantize", help="Take a quantized file as input.")] = (
        False
    )


@dataclass(frozen=True)
class ComparisonOptions:
    """What is measured in the place of making files."""

    PANEL: ClassVar[str] = "Comparison"

    compare: Annotated[
        str | None,
        typer.Option(
            "--compare", metavar="TARGET", help="Measure the types with this target (any place); no file is kept."
        ),
    ] = None
    prompts: Annotated[Path | None, typer.Option(help="Your own prompts, with a line of --- between two.")] = None
    draft_max: Annotated[int, typer.Option(min=1, max=16, help="Tokens to draft in a round.")] = 3
    tokens: Annotated[int, typer.Option("--tokens", "-n", min=2, help="Tokens for each prompt.")] = 64
    repeats: Annotated[int, typer.Option("--repeats", "-r", min=1, help="Turns of each type.")] = 3
    engine: Engine = None
    gpu_layers: GpuLayers = -1

    def course(self, target: Path, threads: int | None, placement: Placement) -> Course:
        """What every candidate goes through. Raises UsageError, EnvironmentProblem."""
        from dataclasses import replace

        from gemma_mtp.bench.compare import Course
        from gemma_mtp.cli.chosen import choose_engine
        from gemma_mtp.mtp_runtime.prompts import choose_prompts
        from gemma_mtp.native.engines import settings_for
        from gemma_mtp.native.placement import belonging
        from gemma_mtp.native.settings import ContextSettings, ModelSettings

        texts, engine = choose_prompts(self.prompts), choose_engine(self.engine)
        return Course(
            target,
            tuple(texts.items()),
            self.draft_max,
            self.tokens,
            self.repeats,
            ContextSettings(threads=threads, **belonging(placement, ContextSettings)),
            replace(settings_for(engine), gpu_layers=self.gpu_layers, **belonging(placement, ModelSettings)),
            engine,
        )


@dataclass(frozen=True)
class ReadingOptions:
    """How the input is read, and with what."""

    deep: Deep = False
    threads: Threads = None


@takes_placement
@takes_groups
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
    *,
    how: QuantizingOptions,
    list_kinds: Annotated[
        bool, typer.Option("--list", help="List types and recipes, with IN.gguf's size in each.")
    ] = False,
    comparison: ComparisonOptions,
    placement: Placement,
    reading: ReadingOptions,
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
    from gemma_mtp.cli.output import print_json
    from gemma_mtp.cli.quantize_table import print_comparison, print_offers, print_report
    from gemma_mtp.quantize.catalogue import offers

    if list_kinds:
        on_offer = offers(source)
        print_json({"types": [offer.to_dict() for offer in on_offer]}, "--list") if json else print_offers(on_offer)
        return
    if source is None:
        raise typer.BadParameter("name a GGUF to quantize", param_hint="IN.gguf")
    if comparison.compare:
        found = compared(source, wanted or [], how, comparison, placement, reading)
        print_json(found.to_dict()) if json else print_comparison(found)
    else:
        report = made(source, wanted or [], how, reading, force)
        print_json(report.to_dict()) if json else print_report(report)


def made(source: str, wanted: list[str], how: QuantizingOptions, reading: ReadingOptions, force: bool) -> Quantization:
    """Write the files. Raises as `quantize_model` does."""
    from gemma_mtp.cli.output import progress_bar
    from gemma_mtp.quantize import quantize_model
    from gemma_mtp.quantize.catalogue import split_words

    output, types = split_words(wanted)
    return quantize_model(
        source,
        types,
        output,
        overrides=how.tensor or (),
        imatrix=how.imatrix,
        allow_requantize=how.allow_requantize,
        force=force,
        threads=reading.threads,
        progress=progress_bar,
        deep=reading.deep,
    )


def compared(
    source: str,
    wanted: list[str],
    how: QuantizingOptions,
    comparison: ComparisonOptions,
    placement: Placement,
    reading: ReadingOptions,
) -> Comparison:
    """Measure the types with a target; no file is kept. Raises as `compare` does."""
    from gemma_mtp.bench.compare import USUAL, Candidates, compare
    from gemma_mtp.cli.output import progress_bar
    from gemma_mtp.hub.download import fetch_file
    from gemma_mtp.model.part import Part
    from gemma_mtp.quantize import parse_override, read_imatrix
    from gemma_mtp.quantize.catalogue import parse_kinds
    from gemma_mtp.sources.opening import local_gguf

    overrides = tuple(parse_override(text) for text in how.tensor or [])
    importance = (
        read_imatrix(fetch_file(how.imatrix, progress=progress_bar, deep=reading.deep)) if how.imatrix else None
    )
    kinds = tuple(parse_kinds(wanted or USUAL))
    assert comparison.compare is not None
    target = local_gguf(comparison.compare, Part.TARGET, progress=progress_bar, deep=reading.deep)
    course = comparison.course(target, reading.threads, placement)
    drafter = local_gguf(source, Part.ASSISTANT, progress=progress_bar, deep=reading.deep)
    candidates = Candidates(drafter, kinds, overrides, importance, how.allow_requantize, reading.threads)
    return compare(candidates, course, progress=progress_bar)
