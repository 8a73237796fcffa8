"""The prompts of the demo: openings in the style that the demo pair was trained on, none of them from its data.

A target of five million parameters, decoded greedily, falls into loops after many an opening; these are ones where it
mostly does not.
"""

PROMPTS: tuple[str, ...] = (
    "def _parse_option(self, line):\n    name, value = line.split('=', 1)\n    if not name:\n",
    "class Parser:\n\n    def __init__(self, stream):\n        self.stream = stream\n        self.tokens = []\n\n"
    "    def parse(self):\n",
    "class Connection:\n\n    def close(self):\n        if self._closed:\n            return\n",
    "def parse_args(self, args=None, namespace=None):\n    if args is None:\n",
    "def split_lines(text):\n    lines = []\n    for line in text",
    "class ServerError(Exception):\n\n    def __init__(self, code, message):\n",
)
