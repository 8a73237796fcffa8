"""What the tests of a running server share: starting `gemma-mtp serve`, asking it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

PROMPT = "class Stack:\n\n    def __init__(self):\n        self._items = []\n\n    def push(self, item):\n"


@dataclass
class Served:
    address: str
    process: subprocess.Popen[str]

    @property
    def port(self) -> int:
        return int(self.address.rsplit(":", 1)[1])

    def post(self, path: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> Any:
        """Raises HTTPError."""
        asked = Request(f"{self.address}{path}", json.dumps(body).encode(), headers or {})
        with urlopen(asked, timeout=60) as answer:
            return json.load(answer)


@contextmanager
def serving(*arguments: str | Path, key: str | None = None) -> Iterator[Served]:
    """A server that runs to the end of the block. key: what its users need; None: none, whatever this process has."""
    environment = {name: value for name, value in os.environ.items() if name != "GEMMA_MTP_API_KEY"}
    if key:
        environment["GEMMA_MTP_API_KEY"] = key
    command = [sys.executable, "-m", "gemma_mtp", "serve", *map(str, arguments), "--port", "0"]
    if "--ctx" not in arguments:
        command += ["--ctx", "512"]
    process = subprocess.Popen(
        [*command, "--threads", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    try:
        assert process.stdout
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:"), process.communicate(timeout=300)
        yield Served(address, process)
    finally:
        process.kill()
        process.communicate()
