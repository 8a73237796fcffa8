"""Plain decoding against drafting, on the same loaded pair and in turns, so that a machine's moods hit both alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PLAIN = 0  # the draft length of plain decoding


@dataclass(frozen=True)
class Lap:
    """One prompt continued with one draft length (PLAIN: without drafting)."""

    prompt: str
    draft_max: int
    text: str
    tokens: tuple[int, ...]
    drafted: int
    accepted: int
    seconds: float


@dataclass(frozen=True)
class Standing:
    """All laps of one draft length. rate: generated tokens a second, after the first of each lap."""

    draft_max: int
    drafted: int
    accepted: int
    rate: float

    @property
    def acceptance(self) -> float:
        return self.accepted / self.drafted if self.drafted else 0.0


def run_laps(
    target: Path, assistant: Path, prompts: Sequence[str], lengths: Sequence[int], max_tokens: int
) -> Iterator[Lap]:
    """Continue every prompt plainly and with each draft length, greedily. Meant for `mtp_runtime.child.in_child`."""
    from gemma_mtp.mtp_runtime import MtpEngine

    with MtpEngine(target, assistant, draft_max=max(lengths)) as engine:
        for _ in engine.generate(prompts[0], max_tokens=max_tokens // 4, draft_max=max(lengths)):
            pass  # a warm-up: the first pass reads the weights from the disk
        for prompt in prompts:
            for length in (PLAIN, *lengths):
                run = engine.generate(prompt, max_tokens=max_tokens, draft_max=length, ignore_end=True)
                for _ in run:
                    pass
                counted = run.statistics
                yield Lap(
                    prompt,
                    length,
                    run.text,
                    tuple(run.tokens),
                    counted.drafted,
                    counted.accepted,
                    counted.generation_seconds,
                )


def standings(laps: Iterable[Lap]) -> dict[int, Standing]:
    """The sums by draft length."""
    by_length = defaultdict(list)
    for lap in laps:
        by_length[lap.draft_max].append(lap)
    return {
        length: Standing(
            draft_max=length,
            drafted=sum(lap.drafted for lap in group),
            accepted=sum(lap.accepted for lap in group),
            rate=sum(len(lap.tokens) - 1 for lap in group) / sum(lap.seconds for lap in group),
        )
        for length, group in by_length.items()
    }


def differing_prompts(laps: Iterable[Lap]) -> list[str]:
    """Prompts whose drafted continuation is not, token for token, the plain one."""
    found: dict[str, set[tuple[int, ...]]] = defaultdict(set)
    for lap in laps:
        found[lap.prompt].add(lap.tokens)
    return [prompt for prompt, continuations in found.items() if len(continuations) > 1]
