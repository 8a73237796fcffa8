"""What a check returns and what a verification adds up to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from gemma_mtp.model.part import Part

if TYPE_CHECKING:
    from gemma_mtp.validate.comparison import Comparison, ReferenceComparison
    from gemma_mtp.validate.devices import Spread
    from gemma_mtp.validate.memory import PairMemory
    from gemma_mtp.validate.proof import Proof


#: The check of a file's bytes against its source: who fails it may be sound.
ORIGIN = "origin"


class Status(str, Enum):
    """A check's verdict, from harmless to fatal; `SKIPPED` says nothing about the pair."""

    OK = "ok"
    NOTE = "note"
    SKIPPED = "skipped"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """A check's outcome.

    message: what is so, and for a warning or error what follows from it. remedy: what to do.
    target, assistant: the values that were compared, as people read them.
    """

    status: Status
    message: str = ""
    remedy: str = ""
    target: str = ""
    assistant: str = ""


@dataclass(frozen=True)
class Result:
    """A finding under the name of its check."""

    id: str
    title: str
    finding: Finding

    @property
    def status(self) -> Status:
        return self.finding.status

    def to_dict(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "title": self.title,
            "status": self.status.value,
            "message": self.finding.message,
            "remedy": self.finding.remedy,
            "target": self.finding.target,
            "assistant": self.finding.assistant,
        }


@dataclass(frozen=True)
class Report:
    """All results of one verification.

    strict: whether warnings count against the pair. notes: how the files were read, where that is worth saying.
    memory: what the pair takes; None if its keys are wrong. devices: the same by device, where a GPU is said to be.
    run, reference: what was measured by decoding, and against the official implementation, prompt by prompt.
    part: what was verified, if it was one model alone; None: a pair. origin: what came of a proof of origin.
    """

    results: tuple[Result, ...]
    strict: bool = False
    notes: tuple[str, ...] = ()
    memory: PairMemory | None = None
    devices: Spread | None = None
    run: tuple[Comparison, ...] = ()
    reference: tuple[ReferenceComparison, ...] = ()
    part: Part | None = None
    origin: Proof | None = None

    @property
    def errors(self) -> list[Result]:
        return [result for result in self.results if result.status is Status.ERROR]

    @property
    def warnings(self) -> list[Result]:
        return [result for result in self.results if result.status is Status.WARNING]

    @property
    def ok(self) -> bool:
        return not self.errors and not (self.strict and self.warnings)

    @property
    def verdict(self) -> str:
        """One line: whether the pair (or the one model) will work, and if not, the first reason."""
        errors, warnings, what = self.errors, self.warnings, f"This {self.part or 'pair'}"
        if errors:
            fails = "will not work" if errors[0].id != ORIGIN else "is not what it is said to be"
            more = f" (and {_count(len(errors) - 1, 'more error')})" if len(errors) > 1 else ""
            return f"{what} {fails}: {errors[0].finding.message}{more}"
        if warnings:
            return f"{what} will work, with {_count(len(warnings), 'warning')}: {warnings[0].finding.message}"
        if self.origin:
            return f"{what} is sound, and has the bytes of {self.origin.kind} of {self.origin.source}."
        return f"{what} is sound." if self.part else f"{what} fits together."

    def to_dict(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "part": None if self.part is None else self.part.value,
            "verdict": self.verdict,
            "notes": list(self.notes),
            "memory": self.memory.to_dict() if self.memory else None,
            "devices": self.devices.to_dict() if self.devices else None,
            "run": [comparison.to_dict() for comparison in self.run],
            "reference": [comparison.to_dict() for comparison in self.reference],
            "origin": self.origin.to_dict() if self.origin else None,
            "checks": [result.to_dict() for result in self.results],
        }


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def ok(target: object = "", assistant: object = "", message: str = "") -> Finding:
    return Finding(Status.OK, message, "", str(target), str(assistant))


def note(message: str, target: object = "", assistant: object = "") -> Finding:
    """True and harmless, but worth knowing."""
    return Finding(Status.NOTE, message, "", str(target), str(assistant))


def skipped(message: str, target: object = "", assistant: object = "") -> Finding:
    """The check could not be made; `message` says why."""
    return Finding(Status.SKIPPED, message, "", str(target), str(assistant))


def warning(message: str, remedy: str, target: object = "", assistant: object = "") -> Finding:
    """The pair runs, but worse than it could."""
    return Finding(Status.WARNING, message, remedy, str(target), str(assistant))


def error(message: str, remedy: str, target: object = "", assistant: object = "") -> Finding:
    """The pair does not load, aborts, or drafts noise."""
    return Finding(Status.ERROR, message, remedy, str(target), str(assistant))
