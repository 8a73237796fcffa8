"""What a pair is measured on. One kind of text says little about acceptance, so there are several."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path

from gemma_mtp.errors import UsageError, meant
from gemma_mtp.files.text import PROMPT, read_text

CODE = '''import csv
from pathlib import Path


class Table:
    """Rows of a CSV file, by column."""

    def __init__(self, path: Path, delimiter: str = ","):
        self.path = path
        self.delimiter = delimiter
        self.rows = []

    def load(self):
        with self.path.open(newline="") as file:
            reader = csv.DictReader(file, delimiter=self.delimiter)
            for row in reader:
                self.rows.append(row)
        return self

    def column(self, name):
        '''

PROSE = """The ferry left the harbour a little after six, when the light on the water was still grey. Most of the
passengers stayed inside, where it was warm and smelled of coffee, but the old man stood at the rail as he had done
every Monday for eleven years. He knew the names of the islands, and he knew which of them had wells. When the engine
changed its tone he looked up, because that meant"""

JSON = """[
  {"id": 1, "name": "Alder", "height": 24, "evergreen": false, "regions": ["north", "west"]},
  {"id": 2, "name": "Beech", "height": 40, "evergreen": false, "regions": ["north", "south", "west"]},
  {"id": 3, "name": "Cedar", "height": 35, "evergreen": true, "regions": ["south"]},
  {"id": 4, "name": "Douglas fir", "height": 60, "evergreen": true, "regions": ["west"]},
  {"id": 5, "name": """

COPY = """Copy the list without a change.

Original:
- 3 metres of blue cord
- 12 brass hooks, size 4
- one tin of linseed oil
- a folding rule, 2 metres
- 40 screws, 4 x 30

Copy:
- 3 metres of blue cord
- 12 brass hooks, size 4
"""

EDITING = """Rename `count` to `total` in the function, and leave everything else as it is.

Before:
def summarise(rows, limit):
    count = 0
    largest = None
    for row in rows:
        if row.amount < 0:
            raise ValueError(f"row {row.number} is negative")
        count += row.amount
        if largest is None or row.amount > largest.amount:
            largest = row
        if count > limit:
            return Summary(count, largest, complete=False)
    return Summary(count, largest, complete=True)

After:
def summarise(rows, limit):
    total = 0
    largest = None
"""

TRANSLATION = """English and German, sentence by sentence.

English: The train stopped between two stations, and for a while nobody said anything.
German: Der Zug hielt zwischen zwei Bahnhöfen, und eine Weile lang sagte niemand etwas.

English: Then the guard came through the carriage and asked for patience.
German: Dann kam der Schaffner durch den Wagen und bat um Geduld.

English: The storm had thrown a tree across the rails during the night.
German: Der Sturm hatte in der Nacht einen Baum auf die Gleise geworfen.

English: A woman at the window laughed, unpacked her bread and shared it with her neighbour.
German:"""

MATH = """Problem: A tank holds 360 litres. One pipe fills it in 9 minutes, another in 12 minutes. How long do both take
together?
Solution: The first pipe gives 360 / 9 = 40 litres a minute, the second 360 / 12 = 30 litres a minute. Together they
give 40 + 30 = 70 litres a minute. The tank is full after 360 / 70 = 36 / 7 minutes, about 5 minutes and 9 seconds.

Problem: A baker sells 45 loaves at 3.20 each and 28 at half the price. What does she earn?
Solution: The first 45 loaves bring 45 * 3.20 ="""

#: Category -> a beginning. The kinds of text between which acceptance differs most.
BUILT_IN: dict[str, str] = {
    "code": CODE,
    "JSON": JSON,
    "prose": PROSE,
    "copying": COPY,
    "editing": EDITING,
    "translation": TRANSLATION,
    "math": MATH,
}


#: Characters of a long text for each token that it shall have at least: more than any vocabulary of Gemma's needs.
CHARACTERS = 8
#: What long texts are made of.
WHO = ("Mara", "the harbour master", "Olin", "a carter from the hills", "the clerk", "Ines", "old Bertram",
       "the miller")  # fmt: skip
DID = ("counted", "sent back", "weighed", "wrote down", "sold", "repaired", "asked about", "stored", "carried off")
WHAT = ("crates of lamp oil", "coils of rope", "sacks of barley", "window frames", "barrels", "bundles of reed",
        "planks")  # fmt: skip
WHERE = ("in the north store", "at the lower gate", "behind the mill", "on the quay", "in the tower", "by the ford")
THEN = ("because the ferry was late", "as it had been agreed", "although nobody had asked", "before the rain came",
        "while the others waited", "and said nothing of it")  # fmt: skip


def long_text(tokens: int, seed: int = 1) -> str:
    """A chronicle of at least so many tokens: made up, the same for the same seed, to be cut to length."""
    chance, pieces, length, day = random.Random(seed), list[str](), 0, 0
    while length < tokens * CHARACTERS:
        day += chance.randint(1, 3)
        said = [
            f"{chance.choice(WHO)} {chance.choice(DID)} {chance.randint(2, 400)} {chance.choice(WHAT)} "
            f"{chance.choice(WHERE)} {chance.choice(THEN)}."
            for _ in range(chance.randint(1, 4))
        ]
        pieces.append(f"On day {day} {' '.join(said)}\n")
        length += len(pieces[-1])
    return "".join(pieces)


def read_sizes(text: str) -> tuple[int, ...]:
    """Numbers of tokens with commas between them, `k` for 1,024: "4k,16k". Raises UsageError."""
    sizes = []
    for one in filter(None, (part.strip() for part in text.split(","))):
        found = re.fullmatch(r"(\d{1,7})(k?)", one.lower())
        if found is None or int(found[1]) < 1:
            raise UsageError(f"{one!r} is no number of tokens", hint="for instance 4k,16k")
        sizes.append(int(found[1]) * (1024 if found[2] else 1))
    return tuple(dict.fromkeys(sizes))


def size_name(tokens: int) -> str:
    """The category of prompts of so many tokens."""
    return f"context {tokens // 1024}k" if tokens % 1024 == 0 else f"context {tokens}"


def choose_prompts(file: Path | None, categories: Sequence[str] | None = None) -> dict[str, str]:
    """Those of a file, or the built-in ones of some categories (None or none: all). Raises UsageError."""
    if file:
        if categories:
            raise UsageError("a file of prompts has no categories", hint="leave the categories or the file out")
        return read_prompts(file)
    by_lower = {name.lower(): name for name in BUILT_IN}
    unknown = [name for name in categories or () if name.lower() not in by_lower]
    if unknown:
        hint = f"{meant(unknown[0], BUILT_IN)} choose of {', '.join(BUILT_IN)}".lstrip()
        raise UsageError(f"category {unknown[0]!r} is unknown", hint=hint)
    chosen = {by_lower[name.lower()] for name in categories or BUILT_IN}
    return {name: prompt for name, prompt in BUILT_IN.items() if name in chosen}


def read_prompts(path: Path) -> dict[str, str]:
    """A prompt from each paragraph of a text file, where a line of `---` stands between two.

    Raises UsageError: not readable, no text in it.
    """
    text = read_text(path, limit=PROMPT, error=UsageError)
    prompts = [part.strip("\n") for part in f"\n{text}\n".split("\n---\n") if part.strip()]
    if not prompts:
        raise UsageError("there is no prompt in it", where=path, hint="write prompts with a line of --- between two")
    return {f"prompt {number}": prompt for number, prompt in enumerate(prompts, 1)}
