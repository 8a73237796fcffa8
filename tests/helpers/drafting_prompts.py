"""Fifty short prompts in the style that the demo pair was trained on, the same on every machine."""

from __future__ import annotations

from itertools import product

_OPENINGS = (
    "def {name}(self, value):\n    ",
    "class {name}:\n\n    def __init__(self",
    "import os\n\ndef {name}(path, mode='r'):\n",
    "    for {name} in items:\n        if ",
    'def test_{name}():\n    """Check {name}.',
)
_NAMES = ("reader", "parse", "flush", "index", "Handler", "encode", "lookup", "close", "number", "état_日本")

PROMPTS = [opening.format(name=name) for opening, name in product(_OPENINGS, _NAMES)]
