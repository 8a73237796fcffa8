"""Starting `llama_words.py`, and asking it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

PROMPT = "class Stack:\n\n    def __init__(self):\n        self._items = []\n\n    def push(self, item):\n"


@contextmanager
def llama(*words: str | Path) -> Iterator[str]:
    """The address of a server that was started with these words."""
    command = [sys.executable, str(Path(__file__).with_name("llama_words.py")), *map(str, words)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        address = process.stdout.readline().strip()
        assert address.startswith("http://"), process.communicate(timeout=60)
        yield address
    finally:
        process.kill()
        process.wait()


def completion(address: str, **more: Any) -> dict[str, Any]:
    body = {"prompt": PROMPT, "n_predict": 24, "temperature": 0, **more}
    with urlopen(Request(f"{address}/completion", json.dumps(body).encode()), timeout=60) as answer:
        found: dict[str, Any] = json.load(answer)
    return found
