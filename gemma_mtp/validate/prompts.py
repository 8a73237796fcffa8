"""What `verify --run` lets a pair continue. One kind of text says little about acceptance, so there are several."""

from __future__ import annotations

from pathlib import Path

from gemma_mtp.errors import UsageError

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

GERMAN = """Der Zug hielt auf freier Strecke, und eine Weile lang sagte niemand etwas. Dann ging der Schaffner durch den
Wagen und bat um Geduld: Vor dem nächsten Bahnhof liege ein Baum auf den Gleisen, den der Sturm in der Nacht umgeworfen
habe. Eine Frau am Fenster lachte, packte ihr Brot aus und"""

#: Kind of text -> a beginning.
BUILT_IN: dict[str, str] = {"code": CODE, "prose": PROSE, "JSON": JSON, "copying": COPY, "German": GERMAN}


def read_prompts(path: Path) -> dict[str, str]:
    """A prompt from each paragraph of a text file, where a line of `---` stands between two.

    Raises UsageError: not readable, no text in it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the prompts cannot be read: {error}", where=path) from error
    prompts = [part.strip("\n") for part in f"\n{text}\n".split("\n---\n") if part.strip()]
    if not prompts:
        raise UsageError("there is no prompt in it", where=path, hint="write prompts with a line of --- between two")
    return {f"prompt {number}": prompt for number, prompt in enumerate(prompts, 1)}
