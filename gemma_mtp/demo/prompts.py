"""The prompts of the demo: openings in the style that the demo pair was trained on, none of them from its data."""

PROMPTS: tuple[str, ...] = (
    "class Reader:\n\n    def __init__(self, path, encoding=None):\n        self.path = path\n",
    "import os\nimport sys\n\ndef main(args=None):\n",
    "def read_header(fp):\n    data = fp.read(4)\n    if len(data)",
    "class ServerError(Exception):\n\n    def __init__(self, code, message):\n",
    "def _parse_option(self, line):\n    name, value = line.split('=', 1)\n    if not name:\n",
    "class Queue:\n\n    def put(self, item, block=True, timeout=None):\n",
)
