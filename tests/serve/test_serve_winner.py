"""`gemma-mtp serve` drafts as `gemma-mtp bench` found best, if nobody says otherwise."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from gemma_mtp.mtp_runtime.memory import Winner, open_memory
from gemma_mtp.native.settings import ContextSettings, ModelSettings


def served(*arguments: str | Path) -> tuple[int, str]:
    """How many tokens a server drafted in an answer, and what it said on stderr."""
    command = [sys.executable, "-m", "gemma_mtp", "serve", *map(str, arguments), "-t", "1", "-c", "512", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        address = process.stdout.readline().strip()
        asked = json.dumps({"prompt": "def main():", "n_predict": 24, "temperature": 0, "ignore_eos": True}).encode()
        with urlopen(Request(f"{address}/completion", asked, {"Content-Type": "application/json"})) as answer:
            drafted = json.load(answer)["timings"].get("draft_n", 0)
        process.terminate()
        return drafted, process.communicate(timeout=300)[1]
    finally:
        process.kill()
        process.communicate()


def test_the_winner_is_used_unless_the_user_says_otherwise(
    target_gguf, assistant_gguf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pair = target_gguf("Q8_0"), assistant_gguf("Q8_0")
    monkeypatch.setenv("GEMMA_MTP_CACHE", str(tmp_path))
    monkeypatch.delenv("GEMMA_MTP_API_KEY", raising=False)
    memory = open_memory(*pair, ContextSettings(threads=1), ModelSettings())
    assert memory
    memory.keep_winner("python", Winner(4, 0.0, 1.5))
    memory.keep_winner("cpp", Winner(0, 0.0, 1.0))
    drafted, said = served(*pair)
    assert drafted == 0
    assert "as gemma-mtp bench found best here: no drafts" in said
    drafted, said = served(*pair, "--draft-max", "2")
    assert drafted > 0
    assert "bench" not in said
