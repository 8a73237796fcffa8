"""The whole toolkit on the shipped pair: convert, quantize, verify, run, and run with a target heavy enough to gain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from gemma_mtp.bench.laps import Lap, Pair
from gemma_mtp.bench.measure import Plan, measure
from gemma_mtp.bench.results import OVERALL, PLAIN, Row
from gemma_mtp.bench.summary import differing_prompts, rows
from gemma_mtp.convert import Output, convert_checkpoint
from gemma_mtp.demo.heavy import make_heavier
from gemma_mtp.demo.pair import PAIR
from gemma_mtp.demo.prompts import PROMPTS
from gemma_mtp.native.engines import choose, settings_for
from gemma_mtp.native.settings import ContextSettings
from gemma_mtp.quantize import quantize_file
from gemma_mtp.validate import Report, verify_pair

ASSISTANT_TYPES = ("Q4_0", "Q8_0", "Q4_K_M")
CHOSEN = "Q8_0"  # the type of the pair that runs
DRAFT_MAX = 3
HEAVY_DRAFT_LENGTHS = (1, 2, 3)
INERT_LAYERS = 64
NEW_TOKENS = 48
REPEATS = 3  # of everything, in turns: a median is what a busy machine does not spoil
CATEGORY = "code"  # of all of the demo's prompts

#: Told what begins now.
Tell = Callable[[str], None]


@dataclass
class Step:
    """What one step took and made: seconds, and the size in bytes of each file."""

    title: str
    seconds: float = 0.0
    files: dict[str, int] = field(default_factory=dict)


@dataclass
class DemoResult:
    """Everything that the demo found out. `light` and `heavy`: a row for each draft length, PLAIN first.

    engine: what decoded, a key of `engines.TITLE`.
    """

    engine: str
    steps: list[Step] = field(default_factory=list)
    report: Report | None = None
    light: list[Row] = field(default_factory=list)
    heavy: list[Row] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    sample: str = ""

    @property
    def identical_output(self) -> bool:
        return not self.differing

    @property
    def acceptance(self) -> float:
        """Of drafts of DRAFT_MAX."""
        return next(row.acceptance or 0.0 for row in self.light if row.draft == DRAFT_MAX)

    @property
    def best_heavy(self) -> Row:
        return max((row for row in self.heavy if row.draft != PLAIN), key=lambda row: row.speedup)

    def to_dict(self) -> dict[str, Any]:
        """The result for machines. `files` are sizes in bytes, the pairs' rows those of a results file of `bench`."""
        return {
            "engine": self.engine,
            "identical_output": self.identical_output,
            "acceptance": self.acceptance,
            "heavy_speedup": self.best_heavy.speedup,
            "verified": self.report is not None and self.report.ok,
            "steps": [asdict(step) for step in self.steps],
            "pair": [asdict(row) for row in self.light],
            "heavier_pair": [asdict(row) for row in self.heavy],
            "differing_prompts": self.differing,
            "sample": self.sample,
        }


def run_demo(
    folder: Path, tell: Tell = lambda _: None, *, threads: int | None = None, engine: str | None = None
) -> DemoResult:
    """Run all steps in `folder`, on the CPU; the files stay there.

    threads: as in `ContextSettings`. engine: as in `choose`.

    Raises MissingExtra (no engine), and whatever the steps raise: see `convert_checkpoint`, `quantize_file`,
    `verify_pair` and `measure`.
    """
    result, context = DemoResult(choose(engine)), ContextSettings(threads=threads).with_threads()
    # A pair so small is nothing for a GPU, and one kernel for heads as narrow as its are is wrong there (platforms.md).
    model = replace(settings_for(result.engine), gpu_layers=0)
    bf16 = {part: folder / f"{part}-BF16.gguf" for part in ("target", "assistant")}
    with _step(result, "convert", tell, folder, "the two checkpoints to GGUF (BF16)"):
        for part, path in bf16.items():
            convert_checkpoint(PAIR / part, [Output(path, "BF16")], name=f"demo-{part}")

    with _step(result, "quantize", tell, folder, f"the assistant to {', '.join(ASSISTANT_TYPES)}"):
        quantize_file(bf16["assistant"], [Output(folder / f"assistant-{kind}.gguf", kind) for kind in ASSISTANT_TYPES])
        target, assistant = (folder / f"{part}-{CHOSEN}.gguf" for part in ("target", "assistant"))
        quantize_file(bf16["target"], [Output(target, CHOSEN)])

    with _step(result, "verify", tell, folder, "that the two are a pair"):
        result.report = verify_pair(target, assistant)

    with _step(result, "run", tell, folder, f"{len(PROMPTS)} prompts, drafting 0 and {DRAFT_MAX} tokens a round"):
        laps = _race(Pair(target, assistant, DRAFT_MAX, context, model), (DRAFT_MAX,), tell, result.engine)
        result.light, result.sample = _overall(laps), laps[0].task.prompt + laps[0].text

    with _step(result, "make heavier", tell, folder, f"{INERT_LAYERS} inert layers: same function, more work"):
        heavy = folder / "heavy-BF16.gguf"
        make_heavier(bf16["target"], heavy, INERT_LAYERS)
        quantize_file(heavy, [Output(folder / f"heavy-{CHOSEN}.gguf", CHOSEN)])

    with _step(result, "run heavier", tell, folder, "the same prompts, drafting 0 to 3 tokens a round"):
        pair = Pair(folder / f"heavy-{CHOSEN}.gguf", assistant, max(HEAVY_DRAFT_LENGTHS), context, model)
        heavy_laps = _race(pair, HEAVY_DRAFT_LENGTHS, tell, result.engine)
        result.heavy = _overall(heavy_laps)

    result.differing = [*differing_prompts(laps), *differing_prompts(heavy_laps)]
    return result


@contextmanager
def _step(result: DemoResult, title: str, tell: Tell, folder: Path, detail: str) -> Iterator[None]:
    """Time a step and note which files it made."""
    tell(f"{title}: {detail}")
    before, start = set(folder.iterdir()), perf_counter()
    yield
    made = {path.name: path.stat().st_size for path in sorted(set(folder.iterdir()) - before)}
    result.steps.append(Step(title, perf_counter() - start, made))


def _race(pair: Pair, lengths: tuple[int, ...], tell: Tell, engine: str) -> list[Lap]:
    """Every prompt, plainly and with drafts of each length, which take turns. `tell` hears of each round of all."""
    prompts = tuple((CATEGORY, prompt) for prompt in PROMPTS)
    plan = Plan(pair, prompts, lengths, (engine,), tokens=NEW_TOKENS, repeats=REPEATS)
    laps: list[Lap] = []
    for lap in measure(plan):
        laps.append(lap)
        rounds, rest = divmod(len(laps) * REPEATS, len(plan.tasks()))
        if not rest:
            tell(f"  round {rounds} of {REPEATS} done")
    return laps


def _overall(laps: list[Lap]) -> list[Row]:
    return [row for row in rows(laps) if row.category == OVERALL]
