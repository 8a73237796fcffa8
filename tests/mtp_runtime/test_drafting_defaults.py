"""`run` begins with what `bench` found on this machine, and says so."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from helpers.commands import command
from helpers.demo_files import PROMPT, GGUFFactory

from gemma_mtp.mtp_runtime.memory import Winner, open_memory
from gemma_mtp.native.settings import ContextSettings, ModelSettings

CONTEXT = ContextSettings(threads=1)


@pytest.fixture
def pair(
    target_gguf: GGUFFactory, assistant_gguf: GGUFFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Path]:
    """With a cache of its own, beside the answer of the backend's probe."""
    for known in Path(os.environ["GEMMA_MTP_CACHE"]).glob("backend-*.json"):
        (tmp_path / known.name).write_bytes(known.read_bytes())
    monkeypatch.setenv("GEMMA_MTP_CACHE", str(tmp_path))
    return target_gguf("Q8_0"), assistant_gguf("Q8_0")


def called(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    return done


def test_bench_keeps_its_winner_and_run_begins_with_it(pair: tuple[Path, Path]):
    memory = open_memory(*pair, CONTEXT, ModelSettings())
    assert memory
    assert memory.winner("python") is None
    options = (
        "--category",
        "code",
        "--draft-max",
        "2",
        "-n",
        "24",
        "-r",
        "1",
        "-t",
        "1",
        "--p-min",
        "0.6",
        "--no-auto",
    )
    found = json.loads(called("bench", *pair, *options, "--json").stdout)
    best = found["recommendation"]
    winner = memory.winner("python")
    assert winner == Winner(best["draft"], best["p_min"], best["speedup"])
    assert [(row["draft"], row["p_min"]) for row in found["confidence"]] == [(2, 0.6)]
    learned = memory.experience()
    assert learned
    assert set(learned.costs) == {0, 1, 2}
    assert 0 < learned.share <= 1

    run = ("run", *pair, "-p", PROMPT, "-n", "16", "-t", "1", "--json")
    memory.keep_winner("python", Winner(2, 0.25, 1.5))
    begun = called(*run)
    assert "drafts of 2 with --p-min 0.25 (1.50x)" in begun.stderr
    assert len(json.loads(begun.stdout)["drafted_at"]) == 2
    memory.keep_winner("python", Winner(0, 0.0, 1.0))
    plain = called(*run)
    assert "no drafts" in plain.stderr
    assert json.loads(plain.stdout)["drafted"] == 0
    asked = called(*run, "--draft-max", "1")
    assert "bench" not in asked.stderr
    assert len(json.loads(asked.stdout)["drafted_at"]) == 1
    assert "goes on with what was learned" in called(*run, "--draft", "auto").stderr
    texts = [json.loads(one.stdout)["text"] for one in (begun, plain, asked)]
    assert texts[0] == texts[1] == texts[2]
