"""The whole job: texts, signals, training, files, proof."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from gemma_mtp.adapt import measuring, writing
from gemma_mtp.adapt.lesson import Lesson, Progress, Recorded, donors
from gemma_mtp.adapt.measuring import Course, Measured
from gemma_mtp.adapt.origin import Origin
from gemma_mtp.adapt.signals import SAMPLED, Signals, begin_folder, open_signals
from gemma_mtp.adapt.texts import Document, hold_out, read_documents
from gemma_mtp.adapt.weights import Weights, open_weights
from gemma_mtp.cores import decoding_threads
from gemma_mtp.errors import BadFileError, GemmaMtpError, MissingExtra, UsageError
from gemma_mtp.extras import installed
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.atomic import check_output
from gemma_mtp.files.gguf_values import Value
from gemma_mtp.files.hashing import sha256_of
from gemma_mtp.files.scratch import scratch_folder
from gemma_mtp.hub.source import parse_source
from gemma_mtp.model.part import Part
from gemma_mtp.native.child import in_child
from gemma_mtp.native.settings import ContextSettings, ModelSettings
from gemma_mtp.progress import Progress as Display
from gemma_mtp.progress import silent
from gemma_mtp.quantize import Output
from gemma_mtp.sources.opening import Place, fetch
from gemma_mtp.sources.splits import split_parts
from gemma_mtp.validate.verify import verify_pair

if TYPE_CHECKING:
    from gemma_mtp.adapt.imatrix import Importance
    from gemma_mtp.adapt.network import Network
    from gemma_mtp.adapt.train import Outcome, Recipe

TEACH = "gemma_mtp.adapt.teacher:teach"
#: Share of the minutes that writing answers may take.
WRITING = 0.5


class NoGain(GemmaMtpError):
    """The adapted assistant is no better than the one that it was made from, or not beyond the noise."""


@dataclass(frozen=True)
class Job:
    """What is wanted. texts, prompts: files. outputs: GGUFs to write. tokens, minutes: whichever comes first.

    signals: a folder to keep them in; None: they are thrown away. checkpoint: a folder for the weights in Google's
    layout, from an assistant in that layout.
    """

    target: Path
    assistant: Path
    texts: tuple[Path, ...]
    prompts: tuple[Path, ...]
    outputs: tuple[Output, ...]
    recipe: Recipe
    tokens: int = 300_000
    minutes: float | None = 30.0
    held: float = 0.1
    signals: Path | None = None
    checkpoint: Path | None = None
    force: bool = False
    lesson: dict[str, Any] = field(default_factory=dict)
    context: ContextSettings = field(default_factory=ContextSettings)
    model: ModelSettings = field(default_factory=ModelSettings)


@dataclass(frozen=True)
class Told:
    """A stage of the job, for people. stage: recording, writing, training, measuring. share: done of it."""

    stage: str
    share: float
    words: str = ""


Tell = Callable[[Told], None]


@dataclass(frozen=True)
class Report:
    """What came of it. replay: on held-out signals. before, after: the runtime's own loop on held-out prompts."""

    files: tuple[Path, ...]
    outcome: Outcome
    before: Measured
    after: Measured
    gain: float
    error: float
    tokens: int
    seconds: float
    about: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        outcome = self.outcome
        plain = ("steps", "positions", "trained", "rate", "seconds", "flops", "peak_memory", "ended", "rise")
        return {
            "files": [str(path) for path in self.files],
            "training": {name: getattr(outcome, name) for name in plain},
            "replay": {"before": outcome.before.to_dict(), "after": outcome.after.to_dict()},
            "loop": {"before": self.before.to_dict(), "after": self.after.to_dict()},
            "gain": {"tokens_a_round": self.gain, "standard_error": self.error},
            "tokens": self.tokens,
            "seconds": self.seconds,
            "signals": self.about,
        }


def adapt(job: Job, tell: Tell = lambda _: None) -> Report:
    """Adapt, write, prove. Raises NoGain (nothing is written then), and what its parts raise."""
    start = monotonic()
    _check(job)
    with ExitStack() as stack:
        place = stack.enter_context(scratch_folder(job.outputs[0].path.absolute().parent))
        stock = as_gguf(job.assistant, place)
        _check_pair(job.target, stock)
        signals = record(job, stack.enter_context(_signals_folder(job)), tell)
        target = stack.enter_context(open_weights(job.target, Part.TARGET))
        assistant = stack.enter_context(open_weights(stock, Part.ASSISTANT))
        network, outcome = _trained(job, signals, target, assistant, tell, start)
        if not outcome.gained:
            raise NoGain(
                "held-out acceptance did not rise, and no file was written",
                where=job.assistant,
                hint=f"training ended as {outcome.ended}; more or other texts may help, or nothing is to be repaired",
            )
        keys = _keys(job, signals, target, assistant, stock, outcome)
        writing.write_gguf(assistant, network, place / "adapted.gguf", keys)
        made = writing.quantized(place / "adapted.gguf", job.outputs, place, job.context.threads)
        for path in made.values():
            _check_pair(job.target, path)
        before, after = _proved(job, signals, stock, next(iter(made.values())), tell)
        mean, error = measuring.compared(before, after)
        if not measuring.certain(before, after):
            raise NoGain(
                f"in the runtime's own loop the gain is {mean:+.3f} tokens a round with a standard error of "
                f"{error:.3f}: no more than noise, and no file was written",
                where=job.assistant,
                hint="more or other texts may help, or there is nothing to repair",
            )
        if job.checkpoint:
            writing.write_checkpoint(job.assistant, network, job.checkpoint)
        for final, finished in made.items():
            finished.replace(final)
    return Report(tuple(made), outcome, before, after, mean, error, signals.tokens, monotonic() - start, signals.about)


def require_torch() -> None:
    """Raises MissingExtra."""
    if not installed("adapt"):
        raise MissingExtra("adapt", feature="adapting")


def _check(job: Job) -> None:
    """What can be known to fail before any work is done. Raises UsageError, MissingExtra."""
    require_torch()
    if not job.outputs:
        raise UsageError("there is no output to write")
    for output in job.outputs:
        check_output(output.path, job.force)
    if job.checkpoint:
        writing.check_checkpoint(job.assistant, job.checkpoint)
    if not job.texts and not job.prompts and not (job.signals and (job.signals / "signals.json").exists()):
        raise UsageError(
            "there is nothing to learn from", hint="name texts (--text FILE) or questions (--prompts FILE), or both"
        )


def brought(assistant: Place, progress: Display = silent) -> Path:
    """The assistant's GGUF or folder on this machine, downloaded if it is on the Hub. Raises what `fetch` raises."""
    source = parse_source(assistant)
    return source.path or fetch(source, Part.ASSISTANT, progress)[0]


def as_gguf(assistant: Path, folder: Path) -> Path:
    """The assistant as a GGUF, which a checkpoint is converted to in `folder`."""
    if not assistant.is_dir():
        return assistant
    from gemma_mtp.convert import convert_checkpoint

    path = folder / "stock-BF16.gguf"
    convert_checkpoint(assistant, [Output(path, "BF16")])
    return path


def _check_pair(target: Path, assistant: Path) -> None:
    """Training is no cure for a pair that does not fit. Raises BadFileError."""
    report = verify_pair(target, assistant)
    if not report.ok:
        raise BadFileError(report.verdict, where=assistant, hint=report.errors[0].finding.remedy or None)


@contextmanager
def _signals_folder(job: Job) -> Iterator[Path]:
    if job.signals:
        yield job.signals
        return
    with scratch_folder() as folder:
        yield folder


def documents_of(texts: Sequence[Path], prompts: Sequence[Path], share: float, seed: int) -> tuple[Document, ...]:
    """All documents, a share held out; questions that stand among the texts too come once. Raises UsageError."""
    found = {document.content: document for document in read_documents(texts)}
    for document in read_documents(prompts, questions=True):
        found.setdefault(document.content, document)
    return tuple(hold_out(list(found.values()), share, seed) if share else found.values())


def record(job: Job, folder: Path, tell: Tell) -> Signals:
    """The signals of the job's texts, from the target, or from the folder as far as they are there.

    Raises UsageError, LlamaError, NativeCrash, BadFileError.
    """
    about: dict[str, Any] = {"target": target_hash(job.target)}
    if not job.texts and not job.prompts:
        signals = open_signals(folder)
        if signals.about.get(Part.TARGET) != about["target"]:
            raise UsageError(
                "these signals are of another target", where=folder, hint="name its texts, and a new folder"
            )
        if not signals.complete:
            raise UsageError("these signals are not complete", where=folder, hint="name their texts too, to go on")
        return signals
    documents = documents_of(job.texts, job.prompts, job.held, job.recipe.seed)
    with open_weights(job.target, Part.TARGET) as target:
        lesson = Lesson(
            job.target,
            folder,
            documents,
            donors(target.model),
            job.tokens,
            share=job.held,
            seed=job.recipe.seed,
            minutes=WRITING * job.minutes if job.minutes else None,
            context=job.context,
            model=job.model,
            **job.lesson,
        )
        talks = any(len(document.messages) > 1 for document in documents)
        if talks and not target.side.text("tokenizer.chat_template"):
            raise UsageError(
                "this target has no chat template, and conversations were given",
                where=job.target,
                hint="give plain texts",
            )
    about |= {"texts": _digest(documents), "tokens_wanted": job.tokens, "seed": job.recipe.seed, **lesson.shape}
    if not begin_folder(folder, about).complete:
        for said in in_child(TEACH, lesson, files=(job.target, None)):
            if isinstance(said, Progress):
                tell(Told(said.stage, said.done / max(1, said.total)))
            elif isinstance(said, Recorded):
                speed = said.tokens / max(said.recording_seconds, 1e-9)
                tell(Told("recording", 1.0, f"{said.tokens:,} tokens, {speed:,.0f} a second; {said.dropped} looped"))
    return open_signals(folder)


def target_hash(target: Path) -> str:
    """SHA-256 of the target's file; of a split one over its parts' hashes."""
    hashes = [sha256_of(path) for path in split_parts(target)]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def _digest(documents: Sequence[Document]) -> str:
    whole = hashlib.sha256()
    for document in documents:
        whole.update(document.content.encode("utf-8", "surrogatepass") + b"\0")
    return whole.hexdigest()


def _trained(
    job: Job, signals: Signals, target: Weights, assistant: Weights, tell: Tell, start: float
) -> tuple[Network, Outcome]:
    import torch

    from gemma_mtp.adapt.batches import Feed
    from gemma_mtp.adapt.network import build
    from gemma_mtp.adapt.train import train

    torch.set_num_threads(job.context.threads or decoding_threads())
    recipe = job.recipe
    if job.minutes is not None:
        left = job.minutes - (monotonic() - start) / 60
        recipe = replace(recipe, minutes=max(left, (1 - WRITING) / 2 * job.minutes))
    network = build(assistant).to(recipe.device)
    feed = Feed(signals, target, recipe.device)

    def look(done: float, loss: float, found: Any) -> None:
        tell(Told("training", done, f"loss {loss:.3f}, {found.first:.1%} of held-out first drafts right"))

    outcome = train(network, feed, recipe, look)
    return network, outcome


def _keys(
    job: Job, signals: Signals, target: Weights, assistant: Weights, stock: Path, outcome: Outcome
) -> dict[str, Value]:
    """What the file says of its origin."""
    name = target.side.text("general.name") or job.target.stem
    own = assistant.side.text("general.name") or job.assistant.stem
    before, after = (
        (score.first, score.greedy.acceptance, score.sampled.acceptance) for score in (outcome.before, outcome.after)
    )
    origin = Origin(
        target=name,
        target_sha256=str(signals.about["target"]),
        assistant=own,
        assistant_sha256=sha256_of(stock),
        tokens=signals.tokens,
        steps=outcome.steps,
        train=job.recipe.train,
        drafts=(outcome.after.positions, outcome.after.greedy.drafted, outcome.after.sampled.drafted),
        before=before,
        after=after,
    )
    called = {"general.name": gv.string(f"{own} adapted to {name}")}
    return called | writing.parents(assistant, target) | origin.keys()


def _proved(job: Job, signals: Signals, stock: Path, adapted: Path, tell: Tell) -> tuple[Measured, Measured]:
    """Both assistants in the runtime's own loop, on the same held-out prompts. Raises what MtpEngine raises."""
    places = signals.some(held=True, kinds=(SAMPLED,))
    prompts = tuple(tuple(signals.load(place)["tokens"][: place.begin].tolist()) for place in places)
    tokens = max(place.length - place.begin for place in places)
    course = Course(job.target, prompts, tokens, job.recipe.seed, job.context, job.model)
    done, all_laps = 0, 2 * len(measuring.WAYS) * len(prompts)

    def advance(count: int) -> None:
        nonlocal done
        done += count
        tell(Told("measuring", done / all_laps))

    before, after = (measuring.measure(path, course, advance) for path in (stock, adapted))
    return before, after


def course_for(
    target: Path,
    texts: Sequence[Path],
    prompts: Sequence[Path],
    openings: int,
    continuation: int,
    seed: int,
    context: ContextSettings,
    model: ModelSettings,
) -> Course:
    """Prompts to measure on: beginnings of the given texts and questions, or of the built-in ones.

    Raises UsageError, BadFileError, LlamaError.
    """
    with open_weights(target, Part.TARGET) as weights:
        chat, layers = bool(weights.side.text("tokenizer.chat_template")), donors(weights.model)
    if texts or prompts:
        found = (*read_documents(texts), *read_documents(prompts, questions=True))
    else:
        found = tuple(measuring.built_in(chat))
    lesson = Lesson(target, Path(), found, layers, tokens=1 << 40, openings=openings, context=context, model=model)
    return Course(target, measuring.beginnings(lesson), continuation, seed, context, model)


def imatrix(
    target: Path,
    assistant: Path,
    texts: tuple[Path, ...],
    output: Path,
    tokens: int,
    length: int,
    context: ContextSettings,
    model: ModelSettings,
    *,
    force: bool = False,
    tell: Tell = lambda _: None,
) -> Importance:
    """Record the texts, let the assistant draft along them, write what its weights were multiplied with.

    Raises what recording raises, and UsageError (the output exists), MissingExtra.
    """
    check_output(output, force)
    require_torch()
    from gemma_mtp.adapt.batches import Feed
    from gemma_mtp.adapt.imatrix import observe, write_imatrix
    from gemma_mtp.adapt.network import build
    from gemma_mtp.adapt.train import Recipe

    with ExitStack() as stack:
        place = stack.enter_context(scratch_folder(output.absolute().parent))
        stock = as_gguf(assistant, place)
        _check_pair(target, stock)
        shape = {"length": length, "openings": 0}
        none = 0.0  # is held out, for nothing is measured
        job = Job(
            target, stock, texts, (), (), Recipe(), tokens, None, none, lesson=shape, context=context, model=model
        )
        signals = record(job, place / "signals", tell)
        feed = Feed(signals, stack.enter_context(open_weights(target, Part.TARGET)))
        network = build(stack.enter_context(open_weights(stock, Part.ASSISTANT)))
        found = observe(network, feed, signals.places)
        write_imatrix(output, found, [path.name for path in texts], force)
    return found
