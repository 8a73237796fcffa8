"""What a comparison of candidates found: a line for each, the best first, how certain that is, and what follows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from math import exp, log, sqrt
from pathlib import Path
from statistics import fmean, median
from typing import Any

from gemma_mtp.bench.laps import Lap
from gemma_mtp.bench.recommendation import WORTH_IT
from gemma_mtp.bench.results import PLAIN
from gemma_mtp.native.engines import PYTHON
from gemma_mtp.quantize import Written

SCHEMA = "gemma-mtp quantize --compare"
VERSION = 1

#: Student's t, two-sided 95 %, for 1, 2, ... degrees of freedom; beyond them nearly that of a normal distribution.
STUDENT_95 = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13)
NORMAL_95 = 2.0
#: A difference that is never seen between types: where chance makes it, the machine was busy.
HOPELESS = 0.5


@dataclass(frozen=True)
class Visit:
    """One turn of a candidate: all prompts, plainly and with drafts."""

    kind: str
    repeat: int
    laps: tuple[Lap, ...]

    @property
    def plain(self) -> list[Lap]:
        return [lap for lap in self.laps if lap.task.draft == PLAIN]

    @property
    def drafting(self) -> list[Lap]:
        return [lap for lap in self.laps if lap.task.draft != PLAIN]

    @property
    def speedup(self) -> float:
        return rate(self.drafting) / rate(self.plain)

    @property
    def step_seconds(self) -> float:
        """Of one drafted token; 0 where the engine keeps that to itself."""
        return sum(lap.statistics.draft_seconds for lap in self.drafting) / max(1, self.drafted)

    @property
    def drafted(self) -> int:
        return sum(lap.statistics.drafted for lap in self.drafting)

    @property
    def accepted(self) -> int:
        return sum(lap.statistics.accepted for lap in self.drafting)

    @property
    def identical(self) -> bool:
        """Whether drafting changed no token."""
        return [lap.tokens for lap in self.plain] == [lap.tokens for lap in self.drafting]


def rate(laps: Iterable[Lap]) -> float:
    """Tokens a second; the prompts' passes and the tokens that they gave are left out."""
    counts = [(lap.statistics.tokens - 1, lap.statistics.generation_seconds) for lap in laps]
    return sum(tokens for tokens, _ in counts) / sum(seconds for _, seconds in counts)


@dataclass(frozen=True)
class Candidate:
    """One type or recipe.

    bytes: of the file. step_ms: time of a draft step, that is of a drafted token; None: the C++ engine does not tell.
    acceptance_error: its standard error,
    from the number of drafted tokens. speedup: against plain decoding, the geometric mean of the turns.
    tokens_per_second: that speed-up times the common baseline. identical: drafting changed no token.
    """

    kind: str
    bytes: int
    bits_per_weight: float
    step_ms: float | None
    drafted: int
    accepted: int
    acceptance: float
    acceptance_error: float
    tokens_per_second: float
    speedup: float
    identical: bool


@dataclass(frozen=True)
class Comparison:
    """candidates: the quickest first. baseline: tokens a second of plain decoding, the median of all turns.

    noise: a difference of two speed-ups below this share may be chance (95 %); None: a single turn tells nothing.
    recommended: a candidate's kind. reasons: sentences.
    """

    target: str
    assistant: str
    baseline: float
    candidates: tuple[Candidate, ...]
    noise: float | None
    recommended: str
    reasons: tuple[str, ...]
    engine: str = PYTHON

    def to_dict(self) -> dict[str, Any]:
        return {"schema": SCHEMA, "version": VERSION, **asdict(self)}


def compared(
    target: Path, assistant: Path, made: Sequence[Written], visits: Sequence[Visit], engine: str = PYTHON
) -> Comparison:
    """From the files and their turns. Every candidate has had the same number of turns."""
    turns = {file.kind: [visit for visit in visits if visit.kind == file.kind] for file in made}
    baseline = median(rate(visit.plain) for visit in visits)
    candidates = sorted(
        (_candidate(file, turns[file.kind], baseline) for file in made), key=lambda one: one.speedup, reverse=True
    )
    noise = least_difference([[visit.speedup for visit in own] for own in turns.values()])
    chosen = recommend(candidates, noise)
    reasons = tuple(_reasons(candidates, noise))
    return Comparison(target.name, assistant.name, baseline, tuple(candidates), noise, chosen.kind, reasons, engine)


def _candidate(file: Written, visits: Sequence[Visit], baseline: float) -> Candidate:
    drafted, accepted = visits[0].drafted, visits[0].accepted
    acceptance = accepted / max(1, drafted)
    speedup = exp(fmean(log(visit.speedup) for visit in visits))
    return Candidate(
        kind=file.kind,
        bytes=file.size,
        bits_per_weight=file.bits_per_weight,
        step_ms=1000 * median(visit.step_seconds for visit in visits) or None,
        drafted=drafted,
        accepted=accepted,
        acceptance=acceptance,
        acceptance_error=sqrt(acceptance * (1 - acceptance) / max(1, drafted)),
        tokens_per_second=baseline * speedup,
        speedup=speedup,
        identical=all(visit.identical for visit in visits),
    )


def least_difference(turns: Sequence[Sequence[float]]) -> float | None:
    """The share by which two speed-ups must differ to be told apart with 95 % certainty; None with one turn each.

    How much the turns of one candidate differ is pooled over all candidates (on a logarithmic scale), and Student's t
    is taken for the difference of two means.
    """
    repeats = len(turns[0])
    freedom = len(turns) * (repeats - 1)
    if not freedom:
        return None
    logs = [[log(value) for value in own] for own in turns]
    variance = sum((value - fmean(own)) ** 2 for own in logs for value in own) / freedom
    student = STUDENT_95[freedom - 1] if freedom <= len(STUDENT_95) else NORMAL_95
    return exp(student * sqrt(2 * variance / repeats)) - 1


def recommend(candidates: Sequence[Candidate], noise: float | None) -> Candidate:
    """Of those that cannot be told apart from the quickest the smallest file; of equals the more often accepted."""
    return min(_equals(candidates, noise), key=lambda one: (one.bytes, -one.acceptance))


def _equals(candidates: Sequence[Candidate], noise: float | None) -> list[Candidate]:
    """The quickest, and those that are as quick within the noise."""
    return [one for one in candidates if one.speedup * (1 + (noise or 0.0)) >= candidates[0].speedup]


def _reasons(candidates: Sequence[Candidate], noise: float | None) -> list[str]:
    """The verdict, then what it rests upon."""
    chosen, best, worst = recommend(candidates, noise), candidates[0], candidates[-1]
    said = [
        f"{chosen.kind}: {chosen.speedup:.2f}x plain decoding, {chosen.acceptance:.1%} of its drafts accepted, "
        f"{chosen.bytes / 1e6:,.1f} MB"
    ]
    others = [one.kind for one in _equals(candidates, noise) if one is not chosen]
    if others:
        said.append(f"as quick within the noise: {', '.join(others)}; of these {chosen.kind} is the smallest file")
    said.append(_certainty(best.speedup / worst.speedup - 1, noise))
    said.append(
        f"acceptance was measured on {chosen.drafted:,} drafted tokens: chance alone makes "
        f"{2 * chosen.acceptance_error:.1%} more or less of it, and kinds of text differ by far more"
    )
    if best.speedup < WORTH_IT:
        said.append("with none of them drafting gains anything here: the target is too quick, or too much is refused")
    changed = [one.kind for one in candidates if not one.identical]
    if changed:
        said.append(f"with {', '.join(changed)} some output differs: gemma-mtp verify --run says whether by rounding")
    return said


def _certainty(spread: float, noise: float | None) -> str:
    """spread: from the quickest to the slowest, as a share."""
    if noise is None:
        return "one turn does not tell differences from noise: --repeats 3"
    if noise > HOPELESS:
        return "the turns of one type differ so much that nothing can be told from them: is the machine busy?"
    verdict = "" if spread > noise else ": here none is certain"
    return f"from the quickest to the slowest it is {spread:.1%}; under {noise:.1%} may be chance (95 %){verdict}"
