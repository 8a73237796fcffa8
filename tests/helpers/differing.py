"""`verify` against the real loader, on headers damaged at random.

    PYTHONPATH=tests:. python -m helpers.differing --times 30000 --seed 7

A file that `verify` calls sound must load (of a target, a text must be read, too). What loads may be refused for the
reasons of `STRICTER` alone. Each disagreement is told, with the file's number: the same seed makes the same files.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from helpers import loader_keys
from helpers.header_damage import HeaderDamage
from helpers.loader_verdicts import HYPERS, small_model, verdicts

#: What `verify` says (a pattern) of files that load -> why it is right to.
STRICTER = {
    r"^file: .* is not UTF-8": "the format asks for it; llama.cpp compares bytes",
    r"^file: .* holds a zero byte": "llama.cpp reads a name up to there",
    r"^file: .* is a boolean, but neither 0 nor 1": "the format has no other",
    r"^parts: the (target|assistant) is a gemma4(-assistant)?\0": "llama.cpp reads a text up to its first zero byte",
    r"^tokenizer: .* is gemma4\0": "llama.cpp reads a text up to its first zero byte",
    r"^target-layer-scales: ": "it takes 1 for a missing one: another function",
    r"^target-tensors: the target lacks blk\.\d+\.attn_v\.weight;": "it takes the keys instead: another function",
    r"-tokenizer: tokenizer.ggml.tokens has '.*' at .* says BYTE": "it loads as another byte, if it is long enough",
    r"^assistant-keys: attention\.head_count_kv differs between layers": "they read the same keys",
    r"^assistant-types: .*; llama.cpp has no kernel for that": "an assistant alone is not computed, it loads",
    r"^assistant-keys: attention\.key_length(_swa|) and attention\.value_length\1 differ": "its target's are equal",
}


@dataclass(frozen=True)
class Disagreement:
    """number: of the file, from 0. done: to the header. ours: `verify`'s reasons; none: it calls the file sound."""

    part: str
    number: int
    done: str
    ours: tuple[str, ...]

    def __str__(self) -> str:
        said = "sound, and does not load" if not self.ours else f"loads, and is refused: {'; '.join(self.ours)}"
        return f"{self.part} {self.number} ({self.done}): {said}"


def is_allowed(reason: str) -> bool:
    """Whether a file that loads may be refused for that."""
    key = re.match(r"^(?:target|assistant)-(?:keys|tokenizer): (?:gemma4(?:-assistant)?\.)?([\w.]+) is ", reason)
    if key and key[1] in loader_keys.STRICTER:
        return True
    return any(re.search(pattern, reason, re.DOTALL) for pattern in STRICTER)


def compared(part: str, times: int, seed: object, folder: Path, seen: Counter[str]) -> Iterator[Disagreement]:
    """Damaged headers of a target or an assistant. seen: counts how the verdicts fell."""
    damage = HeaderDamage(*small_model(part), f"{part} {seed}")
    files = (damage.next() for _ in range(times))
    for number, (done, ours, usable) in enumerate(verdicts(part, files, folder)):
        seen["good for both" if usable and not ours else "stricter" if usable else "bad for both"] += 1
        if (not usable and not ours) or (usable and not all(map(is_allowed, ours))):
            yield Disagreement(part, number, done, tuple(ours))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=1000, help="files for each part")
    parser.add_argument("--seed", default="0")
    options = parser.parse_args()
    found = 0
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        for part in HYPERS:
            seen: Counter[str] = Counter()
            for one in compared(part, options.times, options.seed, Path(folder), seen):
                print(one, flush=True)
                found += 1
            print(f"{part}: {options.times:,} files, {dict(seen)}", flush=True)
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
