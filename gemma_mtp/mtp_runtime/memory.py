"""What is known of drafting with a pair on this machine, kept in the cache folder for the next start.

One small file a pair, machine and settings: what `control.Auto` learned, and which fixed length `gemma-mtp bench` found
best. A file that is damaged, or says what cannot be, counts as none: the next start is a cold one.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from gemma_mtp.cores import available_cores
from gemma_mtp.errors import BadFileError
from gemma_mtp.files.atomic import keep
from gemma_mtp.files.text import read_json
from gemma_mtp.mtp_runtime.experience import MEASUREMENTS, Experience
from gemma_mtp.native.backend import cache_folder, cpu_name
from gemma_mtp.native.settings import ContextSettings, ModelSettings

SCHEMA = "gemma-mtp drafting 1"
#: Bytes at a file's begin and at its end that tell it from others, together with its size.
SAMPLE = 1 << 16
#: Settings that change nothing in how the costs of draft lengths compare, or follow from the machine.
NEUTRAL = ("size", "batch", "outputs", "extra_buffers")


@dataclass(frozen=True)
class Winner:
    """What `gemma-mtp bench` found best. draft_max 0: drafting does not pay. speedup: over plain decoding."""

    draft_max: int
    p_min: float
    speedup: float

    def __str__(self) -> str:
        if not self.draft_max:
            return "no drafts"
        confidence = f" with --p-min {self.p_min:g}" if self.p_min else ""
        return f"drafts of {self.draft_max}{confidence} ({self.speedup:.2f}x)"


class Memory:
    """The file of one pair with these settings on this machine."""

    def __init__(self, target: Path, assistant: Path, context: ContextSettings, model: ModelSettings):
        """Raises OSError: a file cannot be read."""
        settings = asdict(context) | asdict(model) | {"threads": context.threads or available_cores()}
        machine = [cpu_name(), os.environ.get("CUDA_VISIBLE_DEVICES")]
        chosen = sorted((name, str(value)) for name, value in settings.items() if name not in NEUTRAL)
        key = json.dumps([SCHEMA, _fingerprint(target), _fingerprint(assistant), machine, chosen])
        self.path = cache_folder() / f"drafting-{sha256(key.encode()).hexdigest()[:16]}.json"

    def experience(self, p_min: float = 0.0) -> Experience | None:
        """What drafts that end under this confidence taught; None if nothing is known."""
        with suppress(*_FAULTS):
            return _experience(self._content()["learned"][f"{p_min:g}"])
        return None

    def winner(self, engine: str) -> Winner | None:
        """For an engine of `gemma-mtp bench`; None if nothing is known."""
        with suppress(*_FAULTS):
            found = self._content()["winners"][engine]
            draft_max, p_min = _number(found["draft_max"], 0, 64), _number(found["p_min"], 0, 1)
            return Winner(int(draft_max), p_min, _number(found["speedup"], 0, math.inf))
        return None

    def keep_experience(self, learned: Experience, p_min: float = 0.0) -> None:
        self._keep("learned", f"{p_min:g}", asdict(learned))

    def keep_winner(self, engine: str, winner: Winner) -> None:
        self._keep("winners", engine, asdict(winner))

    def _keep(self, part: str, name: str, value: Any) -> None:
        """Best effort: a cache folder that cannot be written costs the next start what it could have known. Of two
        programs that end together one may be forgotten."""
        content: dict[str, Any] = {}
        with suppress(*_FAULTS):
            content = self._content()
        kept = content.get(part)
        content[part] = {**(kept if isinstance(kept, dict) else {}), name: value}
        keep(self.path, json.dumps({**content, "schema": SCHEMA}).encode())

    def _content(self) -> dict[str, Any]:
        content = read_json(self.path)
        if content["schema"] != SCHEMA:
            raise ValueError
        return dict(content)


def open_memory(target: Path, assistant: Path, context: ContextSettings, model: ModelSettings) -> Memory | None:
    """None if a file cannot be read, which whoever opens it will tell."""
    with suppress(OSError):
        return Memory(target, assistant, context, model)
    return None


#: What reading may raise: no file, no JSON, another shape, values that cannot be.
_FAULTS = (BadFileError, ValueError, TypeError, KeyError, AttributeError, OverflowError)


def _experience(found: Mapping[str, Any]) -> Experience:
    """Raises one of _FAULTS."""
    costs = {
        int(_number(int(length), 0, 64)): tuple(_number(one, 1e-9, 1e6) for one in seconds[-MEASUREMENTS:])
        for length, seconds in found["costs"].items()
    }
    return Experience(costs, _number(found["change"], 0, 1e6), _number(found["share"], 0, 1))


def _number(value: Any, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise ValueError(value)
    return value


def _fingerprint(path: Path) -> str:
    """Of a file's size, begin and end: its name may change."""
    with Path(path).open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - SAMPLE, 0))
        end = file.read(SAMPLE)
        file.seek(0)
        return sha256(b"%d" % size + file.read(SAMPLE) + end).hexdigest()
