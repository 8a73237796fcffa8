"""The prompts of the demo: openings in the style that the demo pair was trained on, none of them from its data.

A target of five million parameters, decoded greedily, falls into loops after many an opening; these are ones where it
mostly does not.
"""

PROMPTS: tuple[str, ...] = (
    "def _parse_option(self, line):\n    name, value = line.split('=', 1)\n    if not name:\n",
    "class Config:\n\n    def __init__(self, defaults=None):\n        self._defaults = defaults or {}\n\n"
    "    def get(self, key, default=None):\n",
    "class Stack:\n\n    def __init__(self):\n        self._items = []\n\n    def push(self, item):\n",
    "class Address:\n\n    def __eq__(self, other):\n        if not isinstance(other,",
    "def find_module(name, path=None):\n    if path is None:\n        path = sys.path\n",
    "class ServerError(Exception):\n\n    def __init__(self, code, message):\n",
)
