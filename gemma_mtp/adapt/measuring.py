"""What assistants are worth on a target: the runtime's own loop, in a child process, on the same texts for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gemma_mtp.adapt.figures import CHAIN, Counts, gain, is_certain, total
from gemma_mtp.adapt.lesson import TEMPERATURE, Lesson
from gemma_mtp.adapt.texts import Document, loop_share
from gemma_mtp.files.scratch import scratch_folder
from gemma_mtp.native.child import in_child
from gemma_mtp.native.settings import ContextSettings, ModelSettings

LAPS, OPENINGS = f"{__name__}:laps", f"{__name__}:openings"
#: name -> temperature.
WAYS = {"greedy": 0.0, "sampled": TEMPERATURE}
#: Share of looping text from which on a figure says little.
MANY_LOOPS = 0.2


@dataclass(frozen=True)
class Course:
    """What is continued. prompts: token ids. tokens: generated behind each. seed: of the first prompt's draws."""

    target: Path
    prompts: tuple[tuple[int, ...], ...]
    tokens: int = 128
    seed: int = 1
    context: ContextSettings = field(default_factory=ContextSettings)
    model: ModelSettings = field(default_factory=ModelSettings)


@dataclass(frozen=True)
class Lap:
    """One continuation. way: a key of WAYS. number: of the prompt."""

    way: str
    number: int
    counts: Counts
    text: tuple[int, ...]


@dataclass(frozen=True)
class Measured:
    """An assistant on a target."""

    assistant: Path
    laps: tuple[Lap, ...]

    def of(self, way: str) -> list[Counts]:
        return [lap.counts for lap in self.laps if lap.way == way]

    def looping(self, way: str) -> float:
        """The mean share of looping text."""
        shares = [loop_share(lap.text) for lap in self.laps if lap.way == way]
        return sum(shares) / len(shares) if shares else 0.0

    def to_dict(self) -> dict[str, Any]:
        ways = {way: total(self.of(way)).to_dict() | {"looping": self.looping(way)} for way in WAYS}
        return {"assistant": str(self.assistant), "texts": len(self.of("greedy")), **ways}


def laps(assistant: Path, course: Course) -> Iterator[Lap]:
    """Runs in the child. Raises what MtpEngine raises."""
    from gemma_mtp.adapt.planning import sampling_of
    from gemma_mtp.mtp_runtime import MtpEngine

    longest = max(map(len, course.prompts)) + course.tokens + CHAIN + 1
    context = replace(course.context, size=longest)
    with MtpEngine(course.target, assistant, context=context, model=course.model, draft_max=CHAIN) as engine:
        for way, temperature in WAYS.items():
            for number, prompt in enumerate(course.prompts):
                running = engine.generate(
                    list(prompt),
                    max_tokens=course.tokens,
                    draft_max=CHAIN,
                    sampling=sampling_of(temperature, course.seed + number),
                    ignore_end=True,
                )
                for _ in running:
                    pass
                said = running.statistics
                counts = Counts(tuple(said.drafted_at), tuple(said.accepted_at), said.rounds)
                yield Lap(way, number, counts, tuple(running.tokens))


def measure(assistant: Path, course: Course, advance: Callable[[int], object] = lambda _: None) -> Measured:
    """Continue all prompts, greedily and drawing. Raises what MtpEngine raises, NativeCrash."""
    found = []
    for lap in in_child(LAPS, assistant, course, files=(course.target, assistant)):
        found.append(lap)
        advance(1)
    return Measured(assistant, tuple(found))


def compared(before: Measured, after: Measured) -> tuple[float, float]:
    """The gain in tokens a round over all texts, and its standard error: the texts are the target's, so the same."""
    return gain(*([counts for way in WAYS for counts in one.of(way)] for one in (before, after)))


def certain(before: Measured, after: Measured) -> bool:
    return is_certain(*compared(before, after))


def openings(lesson: Lesson) -> Iterator[tuple[tuple[int, ...], ...]]:
    """Runs in the child: the beginnings of the lesson's documents, all of which are held out."""
    from gemma_mtp.adapt.planning import Planner
    from gemma_mtp.native.llama import Model

    with Model(lesson.target, lesson.model) as model:
        yield Planner(lesson, model).beginnings()


def beginnings(lesson: Lesson) -> tuple[tuple[int, ...], ...]:
    """Prompts from documents, to measure on. Raises UsageError, LlamaError."""
    held = tuple(replace(document, held=True) for document in lesson.documents)
    with scratch_folder() as folder:
        lesson = replace(lesson, documents=held, folder=folder)
        (found,) = in_child(OPENINGS, lesson, files=(lesson.target, None))
    prompts: tuple[tuple[int, ...], ...] = found
    return prompts


def built_in(chat: bool) -> list[Document]:
    """The kinds of text that `bench` measures: as questions where the target has a chat template."""
    from gemma_mtp.mtp_runtime.prompts import BUILT_IN

    texts = BUILT_IN.values()
    if chat:
        return [Document("built-in", messages=(("user", text),)) for text in texts]
    return [Document("built-in", text) for text in texts]


def verdict(measured: Sequence[Measured], original: Measured | None) -> list[str]:
    """What the figures say, in sentences."""
    stock, *_ = measured
    said = []
    loops = max(one.looping(way) for one in measured for way in WAYS)
    if loops > MANY_LOOPS:
        said.append(
            f"{loops:.0%} of some of the text stands in loops, which any drafter guesses: the figures flatter; "
            "look at those of sampled text, or take other prompts"
        )
    if original is None:
        said.append(
            "Whether that is less than it could be is not known: --original ORIGINAL.gguf (the model that the "
            "assistant was made for) tells what is lost"
        )
        return said
    mean, error = compared(stock, original)
    if is_certain(mean, error) and mean > 0.05:
        said.append(
            f"On the original target it gives {mean:.2f} tokens a round more (standard error {error:.2f}): adapting "
            "can pay"
        )
    else:
        said.append(
            f"The difference to the original target is {mean:+.2f} tokens a round (standard error {error:.2f}): "
            "nothing is lost that adapting could repair"
        )
    return said
