"""`gemma-mtp adapt`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import typer

from gemma_mtp.cli.options import DecodingThreads, Force, GpuLayers, Json, Log, Verbose, takes_groups

if TYPE_CHECKING:
    from gemma_mtp.adapt.adapt import Job
    from gemma_mtp.adapt.measuring import Course
    from gemma_mtp.adapt.train import Recipe
    from gemma_mtp.native.settings import ContextSettings, ModelSettings

TEXTS, MEASURING = "Texts", "Measuring"


@dataclass(frozen=True)
class WritingOptions:
    """What is written."""

    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write (for one type), or an existing folder.")
    ] = None
    type: Annotated[
        list[str] | None, typer.Option("--type", metavar="TYPE", help="Type or recipe. Repeatable. Default: Q8_0.")
    ] = None


@dataclass(frozen=True)
class TextOptions:
    """What the target is asked and recorded on."""

    PANEL: ClassVar[str] = TEXTS

    text: Annotated[
        list[Path] | None,
        typer.Option(
            help="Texts that exist: JSONL (text, messages), .txt, llama-server's log, or a folder. Repeatable."
        ),
    ] = None
    prompts: Annotated[
        list[Path] | None,
        typer.Option(help="Questions that the target answers: one a line, or JSONL (prompt, messages). Repeatable."),
    ] = None
    tokens: Annotated[str, typer.Option(help="Tokens to record at most, held-out ones included.")] = "300k"
    held_out: Annotated[float, typer.Option(min=0.01, max=0.5, help="Share of the texts to measure on.")] = 0.1
    signals: Annotated[Path | None, typer.Option(help="Keep what is recorded in this folder, or go on with it.")] = None


@dataclass(frozen=True)
class TrainingOptions:
    """How the drafter learns."""

    PANEL: ClassVar[str] = "Training"

    minutes: Annotated[float, typer.Option(min=0.01, help="Minutes for writing answers and training.")] = 30.0
    train: Annotated[
        Literal["body", "projections"], typer.Option(help="body: all but the head. projections: these and norms.")
    ] = "body"
    rate: Annotated[float | None, typer.Option(min=0.0, help="Learning rate. Default: by size.")] = None
    epochs: Annotated[float, typer.Option(min=0.01, help="Over the texts.")] = 2.0
    candidates: Annotated[int | None, typer.Option(min=0, help="Cut the head to so many tokens, 0: none are cut.")] = (
        None
    )
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="PyTorch's device.")] = "auto"

    def recipe(self, seed: int) -> Recipe:
        """Raises EnvironmentProblem: no such device."""
        from gemma_mtp.adapt.train import Recipe

        device = chosen(self.device)
        return Recipe(self.train, self.rate, self.epochs, None, None, seed, device=device, candidates=self.candidates)


@dataclass(frozen=True)
class MeasuringOptions:
    """Of the split and the order, and what is measured on the texts that are held out."""

    seed: Annotated[int, typer.Option(min=0, help="Of the split, the draws and the order.")] = 1
    length: Annotated[int, typer.Option(min=32, help="Tokens of a piece of text at most.", rich_help_panel=TEXTS)] = (
        2048
    )
    openings: Annotated[
        int, typer.Option(min=2, help="Held-out beginnings to continue.", rich_help_panel=MEASURING)
    ] = 32
    continuation: Annotated[
        int, typer.Option(min=8, help="Tokens to continue each with.", rich_help_panel=MEASURING)
    ] = 128
    measure: Annotated[
        bool, typer.Option("--measure", help="Only measure the assistants.", rich_help_panel=MEASURING)
    ] = False
    original: Annotated[
        str | None,
        typer.Option(help="With --measure: the target that the assistant was made for.", rich_help_panel=MEASURING),
    ] = None

    @property
    def sizes(self) -> dict[str, Any]:
        """By the names of `Job.sizes`."""
        return {"length": self.length, "openings": self.openings, "continuation": self.continuation}


@dataclass(frozen=True)
class HereOptions:
    """How the target decodes on this machine."""

    threads: DecodingThreads = None
    gpu_layers: GpuLayers = -1

    def settings(self) -> tuple[ContextSettings, ModelSettings]:
        """Raises EnvironmentProblem: llama-cpp-python does not work here."""
        from dataclasses import replace

        from gemma_mtp.native.backend import settings_for_this_machine
        from gemma_mtp.native.settings import ContextSettings

        return ContextSettings(threads=self.threads), replace(settings_for_this_machine(), gpu_layers=self.gpu_layers)


@takes_groups
def adapt(
    target: Annotated[str, typer.Argument(help="The target that you run, a GGUF of any type.", metavar="TARGET.gguf")],
    assistant: Annotated[
        list[str],
        typer.Argument(
            help="Its assistant: a GGUF or a checkpoint, also on the Hub. With --measure any number of GGUFs."
        ),
    ],
    *,
    write: WritingOptions,
    texts: TextOptions,
    training: TrainingOptions,
    measuring: MeasuringOptions,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what it would take, from the headers.")] = False,
    safetensors: Annotated[
        Path | None, typer.Option(help="A new folder for the weights in Google's layout, from one in that layout.")
    ] = None,
    here: HereOptions,
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
    from gemma_mtp.cli.output import native_log
    from gemma_mtp.errors import UsageError

    if measuring.measure:
        with native_log(verbose, log):
            _measure(target, assistant, texts, measuring, here, json)
        return
    if len(assistant) > 1:
        raise UsageError(f"{len(assistant)} assistants are named", hint="adapt one, or add --measure")
    if dry_run:
        _estimate(target, assistant[0], texts, training, measuring.length, json)
        return
    job = job_of(target, assistant[0], write, texts, training, measuring, safetensors, force, here)
    with native_log(verbose, log):
        _run(job, json)


def job_of(
    target: str,
    assistant: str,
    write: WritingOptions,
    texts: TextOptions,
    training: TrainingOptions,
    measuring: MeasuringOptions,
    safetensors: Path | None,
    force: bool,
    here: HereOptions,
) -> Job:
    """What is to be done, its files on this machine. Raises MissingExtra, UsageError, EnvironmentProblem."""
    from gemma_mtp.adapt.adapt import Job, brought, require_torch
    from gemma_mtp.cli.output import progress_bar
    from gemma_mtp.model.part import Part
    from gemma_mtp.quantize.catalogue import outputs_for, parse_kinds
    from gemma_mtp.sources.opening import local_gguf

    require_torch()
    teacher, stock = local_gguf(target, Part.TARGET, progress=progress_bar), brought(assistant, progress_bar)
    return Job(
        teacher,
        stock,
        tuple(texts.text or ()),
        tuple(texts.prompts or ()),
        tuple(outputs_for(Path(f"mtp-{teacher.name}"), parse_kinds(write.type or ["Q8_0"]), write.output)),
        training.recipe(measuring.seed),
        number(texts.tokens),
        training.minutes,
        texts.held_out,
        texts.signals,
        safetensors,
        force,
        measuring.sizes,
        *here.settings(),
    )


def _run(job: Job, json: bool) -> None:
    from gemma_mtp.adapt.adapt import adapt as adapt_job
    from gemma_mtp.cli.adapt_table import Stages, print_adapted
    from gemma_mtp.cli.output import print_json

    report = adapt_job(job, Stages())
    print_json(report.to_dict()) if json else print_adapted(report, job)


def _measure(
    target: str,
    assistant: Sequence[str],
    texts: TextOptions,
    measuring: MeasuringOptions,
    here: HereOptions,
    json: bool,
) -> None:
    from gemma_mtp.adapt.adapt import course_for
    from gemma_mtp.adapt.measuring import WAYS, measure, verdict
    from gemma_mtp.cli.adapt_table import print_measured
    from gemma_mtp.cli.output import print_json, progress_bar
    from gemma_mtp.model.part import Part
    from gemma_mtp.sources.opening import local_gguf

    context, model = here.settings()
    named = [one for one in (target, measuring.original) if one]
    targets = [local_gguf(one, Part.TARGET, progress=progress_bar) for one in named]
    assistants = [local_gguf(one, Part.ASSISTANT, progress=progress_bar) for one in assistant]

    def course(of: Path) -> Course:
        asked, sizes = (
            (tuple(texts.text or ()), tuple(texts.prompts or ())),
            (measuring.openings, measuring.continuation),
        )
        return course_for(of, *asked, *sizes, measuring.seed, context, model)

    own = course(targets[0])
    rounds = len(WAYS) * len(own.prompts)
    with progress_bar("measuring", rounds * (len(assistants) + len(targets) - 1), "texts") as advance:
        found = [measure(one, own, advance) for one in assistants]
        reference = measure(assistants[0], course(targets[1]), advance) if targets[1:] else None
    said = verdict(found, reference)
    if json:
        lines = [one.to_dict() for one in found]
        print_json(
            {"measured": lines, "original": reference.to_dict() if reference else None, "verdict": said}, "--measure"
        )
    else:
        print_measured(found, reference, said)


def _estimate(
    target: str, assistant: str, texts: TextOptions, training: TrainingOptions, length: int, json: bool
) -> None:
    from dataclasses import asdict

    from gemma_mtp.adapt.estimate import estimate
    from gemma_mtp.cli.adapt_table import print_estimate
    from gemma_mtp.cli.output import print_json

    found, how = estimate(
        target, assistant, number(texts.tokens), training.epochs, length, training.device, training.candidates
    )
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
