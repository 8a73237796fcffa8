"""`gemma-mtp adapt`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gemma_mtp.cli.options import DecodingThreads, Force, GpuLayers, Json, Log, Verbose

if TYPE_CHECKING:
    from gemma_mtp.adapt.adapt import Job
    from gemma_mtp.native.settings import ContextSettings, ModelSettings

TEXTS, TRAINING, MEASURING = "Texts", "Training", "Measuring"


def adapt(
    target: Annotated[str, typer.Argument(help="The target that you run, a GGUF of any type.", metavar="TARGET.gguf")],
    assistant: Annotated[
        list[str],
        typer.Argument(
            help="Its assistant: a GGUF or a checkpoint, also on the Hub. With --measure any number of GGUFs."
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write (for one type), or an existing folder.")
    ] = None,
    type: Annotated[
        list[str] | None, typer.Option("--type", metavar="TYPE", help="Type or recipe. Repeatable. Default: Q8_0.")
    ] = None,
    text: Annotated[
        list[Path] | None,
        typer.Option(
            help="Texts that exist: JSONL (text, messages), .txt, llama-server's log, or a folder. Repeatable.",
            rich_help_panel=TEXTS,
        ),
    ] = None,
    prompts: Annotated[
        list[Path] | None,
        typer.Option(
            help="Questions that the target answers: one a line, or JSONL (prompt, messages). Repeatable.",
            rich_help_panel=TEXTS,
        ),
    ] = None,
    tokens: Annotated[
        str, typer.Option(help="Tokens to record at most, held-out ones included.", rich_help_panel=TEXTS)
    ] = "300k",
    held_out: Annotated[
        float, typer.Option(min=0.01, max=0.5, help="Share of the texts to measure on.", rich_help_panel=TEXTS)
    ] = 0.1,
    signals: Annotated[
        Path | None,
        typer.Option(help="Keep what is recorded in this folder, or go on with it.", rich_help_panel=TEXTS),
    ] = None,
    minutes: Annotated[
        float, typer.Option(min=0.01, help="Minutes for writing answers and training.", rich_help_panel=TRAINING)
    ] = 30.0,
    train: Annotated[
        Literal["body", "projections"],
        typer.Option(help="body: all but the head. projections: these and norms.", rich_help_panel=TRAINING),
    ] = "body",
    rate: Annotated[
        float | None, typer.Option(min=0.0, help="Learning rate. Default: by size.", rich_help_panel=TRAINING)
    ] = None,
    epochs: Annotated[float, typer.Option(min=0.01, help="Over the texts.", rich_help_panel=TRAINING)] = 2.0,
    candidates: Annotated[
        int | None,
        typer.Option(min=0, help="Cut the head to so many tokens, 0: none are cut.", rich_help_panel=TRAINING),
    ] = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda"], typer.Option(help="PyTorch's device.", rich_help_panel=TRAINING)
    ] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Of the split, the draws and the order.")] = 1,
    length: Annotated[
        int, typer.Option(min=32, help="Tokens of a piece of text at most.", rich_help_panel=TEXTS)
    ] = 2048,
    openings: Annotated[
        int, typer.Option(min=2, help="Held-out beginnings to continue.", rich_help_panel=MEASURING)
    ] = 32,
    continuation: Annotated[
        int, typer.Option(min=8, help="Tokens to continue each with.", rich_help_panel=MEASURING)
    ] = 128,
    measure: Annotated[
        bool, typer.Option("--measure", help="Only measure the assistants.", rich_help_panel=MEASURING)
    ] = False,
    original: Annotated[
        str | None,
        typer.Option(help="With --measure: the target that the assistant was made for.", rich_help_panel=MEASURING),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what it would take, from the headers.")] = False,
    safetensors: Annotated[
        Path | None, typer.Option(help="A new folder for the weights in Google's layout, from one in that layout.")
    ] = None,
    threads: DecodingThreads = None,
    gpu_layers: GpuLayers = -1,
    force: Force = False,
    verbose: Verbose = False,
    log: Log = None,
    json: Json = False,
) -> None:
    """Adapt a drafter to the target that you really run: a fine-tune, an abliteration, a domain model.

    The target itself is the teacher, as a GGUF in llama.cpp. Ends with the measured gain, or says that there is none
    and writes nothing (exit code 1).

    Examples:

    - `gemma-mtp adapt --measure target.gguf mtp-original.gguf --original original.gguf --text chats.jsonl`

    - `gemma-mtp adapt target.gguf mtp-original-BF16.gguf --text chats.jsonl --dry-run`

    - `gemma-mtp adapt target.gguf mtp-original-BF16.gguf --text chats.jsonl -o mtp-target-Q8_0.gguf`

    - `gemma-mtp adapt target.gguf mtp-original-BF16.gguf --prompts questions.txt --tokens 100k --signals kept/`
    """
    from dataclasses import replace

    from gemma_mtp.adapt.adapt import Job, brought, require_torch
    from gemma_mtp.cli.output import native_log, progress_bar
    from gemma_mtp.errors import UsageError
    from gemma_mtp.model.part import Part
    from gemma_mtp.native.backend import settings_for_this_machine
    from gemma_mtp.native.settings import ContextSettings
    from gemma_mtp.sources.opening import local_gguf

    context = ContextSettings(threads=threads)
    texts, asked = tuple(text or ()), tuple(prompts or ())
    if measure:
        model = replace(settings_for_this_machine(), gpu_layers=gpu_layers)
        with native_log(verbose, log):
            here = local_gguf(target, Part.TARGET, progress=progress_bar)
            first = local_gguf(original, Part.TARGET, progress=progress_bar) if original else None
            others = [local_gguf(one, Part.ASSISTANT, progress=progress_bar) for one in assistant]
            _measure(here, others, first, texts, asked, openings, continuation, seed, context, model, json)
        return
    if len(assistant) > 1:
        raise UsageError(f"{len(assistant)} assistants are named", hint="adapt one, or add --measure")
    if dry_run:
        _estimate(target, assistant[0], number(tokens), epochs, length, device, candidates, json)
        return
    require_torch()
    from gemma_mtp.adapt.train import Recipe

    here, stock = local_gguf(target, Part.TARGET, progress=progress_bar), brought(assistant[0], progress_bar)

    recipe = Recipe(train, rate, epochs, None, None, seed, device=chosen(device), candidates=candidates)
    job = Job(
        here,
        stock,
        texts,
        asked,
        outputs_of(here, type or ["Q8_0"], output),
        recipe,
        number(tokens),
        minutes,
        held_out,
        signals,
        safetensors,
        force,
        {"length": length, "openings": openings, "continuation": continuation},
        context,
        replace(settings_for_this_machine(), gpu_layers=gpu_layers),
    )
    with native_log(verbose, log):
        _run(job, json)


def _run(job: Job, json: bool) -> None:
    from gemma_mtp.adapt.adapt import adapt as adapt_job
    from gemma_mtp.cli.adapt_table import Stages, print_adapted
    from gemma_mtp.cli.output import print_json

    report = adapt_job(job, Stages())
    print_json(report.to_dict()) if json else print_adapted(report, job)


def _measure(
    target: Path,
    assistants: Sequence[Path],
    original: Path | None,
    texts: tuple[Path, ...],
    prompts: tuple[Path, ...],
    openings: int,
    continuation: int,
    seed: int,
    context: ContextSettings,
    model: ModelSettings,
    json: bool,
) -> None:
    from gemma_mtp.adapt.adapt import course_for
    from gemma_mtp.adapt.measuring import WAYS, measure, verdict
    from gemma_mtp.cli.adapt_table import print_measured
    from gemma_mtp.cli.output import print_json, progress_bar

    course = course_for(target, texts, prompts, openings, continuation, seed, context, model)
    rounds = len(WAYS) * len(course.prompts)
    with progress_bar("measuring", rounds * (len(assistants) + bool(original)), "texts") as advance:
        found = [measure(assistant, course, advance) for assistant in assistants]
        reference = None
        if original:
            own = course_for(original, texts, prompts, openings, continuation, seed, context, model)
            reference = measure(assistants[0], own, advance)
    said = verdict(found, reference)
    if json:
        lines = [one.to_dict() for one in found]
        print_json(
            {"measured": lines, "original": reference.to_dict() if reference else None, "verdict": said}, "--measure"
        )
    else:
        print_measured(found, reference, said)


def _estimate(
    target: str,
    assistant: str,
    tokens: int,
    epochs: float,
    length: int,
    device: str,
    candidates: int | None,
    json: bool,
) -> None:
    from dataclasses import asdict

    from gemma_mtp.adapt.estimate import estimate
    from gemma_mtp.cli.adapt_table import print_estimate
    from gemma_mtp.cli.output import print_json

    found, how = estimate(target, assistant, tokens, epochs, length, device, candidates)
    print_json({**asdict(found), "minutes": found.minutes}, "--dry-run") if json else print_estimate(found, how)


def number(text: str) -> int:
    """`300k` -> 300,000. Raises BadParameter."""
    factor = {"k": 1000, "m": 1_000_000}.get(text[-1:].lower(), 1)
    digits = text[:-1] if factor > 1 else text
    try:
        found = round(float(digits.replace("_", "")) * factor)
    except (ValueError, OverflowError):
        found = 0
    if found < 1:
        raise typer.BadParameter(f"{text!r} is no number of tokens; write 300000 or 300k", param_hint="--tokens")
    return found


def chosen(device: str) -> str:
    """PyTorch's device. Raises EnvironmentProblem: no CUDA."""
    import torch

    from gemma_mtp.errors import EnvironmentProblem

    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise EnvironmentProblem("PyTorch sees no CUDA device", hint="leave --device out to train on the CPU")
    return ("cuda" if there else "cpu") if device == "auto" else device


def outputs_of(target: Path, types: Sequence[str], wanted: Path | None):  # type: ignore[no-untyped-def]
    """The files to write: as named, or `mtp-<target>-<TYPE>.gguf` in a folder. Raises UsageError."""
    from gemma_mtp.errors import UsageError
    from gemma_mtp.quantize import Output
    from gemma_mtp.quantize.catalogue import default_output, parse_kinds

    kinds = parse_kinds(types)
    if wanted is not None and not wanted.is_dir():
        if len(kinds) > 1:
            raise UsageError(
                f"{len(kinds)} types cannot go into one file", where=wanted, hint="name an existing folder"
            )
        return (Output(wanted, kinds[0]),)
    named = Path(f"mtp-{target.name}")
    return tuple(Output((wanted or Path()) / default_output(named, kind).name, kind) for kind in kinds)
