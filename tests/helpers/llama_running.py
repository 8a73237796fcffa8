"""Starting `llama_words.py`, and asking it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

PROMPT = "class Stack:\n\n    def __init__(self):\n        self._items = []\n\n    def push(self, item):\n"


class NotStarted(Exception):
    """The server ended before it had an address."""


@contextmanager
def llama(*words: str | Path) -> Iterator[str]:
    """The address of a server that was started with these words. Raises NotStarted."""
    command = [sys.executable, str(Path(__file__).with_name("llama_words.py")), *map(str, words)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        address = process.stdout.readline().strip()
        if not address.startswith("http://"):
            raise NotStarted(process.communicate(timeout=60))
        yield address
    finally:
        process.kill()
        process.communicate()


def completion(address: str, **more: Any) -> dict[str, Any]:
    body = {"prompt": PROMPT, "n_predict": 24, "temperature": 0, **more}
    with urlopen(Request(f"{address}/completion", json.dumps(body).encode()), timeout=60) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def routed(port: int) -> dict[str, list[str]]:
    """Model -> the arguments that the router would start it with."""
    for _ in range(1500):
        try:
            with urlopen(f"http://127.0.0.1:{port}/models", timeout=60) as answer:
                return {model["id"]: model["status"]["args"] for model in json.load(answer)["data"]}
        except OSError:
            time.sleep(0.2)
    raise AssertionError("the router does not answer")
