"""The prepared run for GPUs works on the day when one is at hand: here with the smallest shape."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"
pytest.importorskip("llama_cpp")


@pytest.fixture(scope="module")
def tables() -> dict[str, dict]:
    command = [sys.executable, str(SCRIPT), "--kind", "tiny", "--smoke", "--tokens", "16", "--threads", "1", "--json"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    return {table["title"]: table for table in json.loads(done.stdout)["tables"]}


def test_every_part_is_measured(tables):
    assert {table["part"] for table in tables.values()} == {"engines", "sampled", "half", "long", "memory"}
    for table in tables.values():
        if table["part"] == "memory":
            continue
        assert all(lap["rate"] > 0 for lap in table["laps"])
        assert table["laps"][0]["length"] == 0


def test_the_pair_counts_and_its_drafts_hold_mostly(tables):
    laps = tables["the Python loop, greedy"]["laps"]
    assert all(lap["counts"] for lap in laps)
    assert [lap["length"] for lap in laps] == [0, 1, 3, None]
    one = next(lap for lap in laps if lap["length"] == 1)
    assert 0.3 < one["accepted"] / one["drafted"] < 1


def test_memory_is_told_beside_what_it_took(tables):
    """Without a GPU nothing is taken of one; with half of the layers on it, less is reckoned."""
    laps = {title: table["laps"][0] for title, table in tables.items() if table["part"] == "memory"}
    assert len(laps) == 7
    assert laps["-c 8192 -ngl 3"]["told"]["weights"] < laps["-c 8192"]["told"]["weights"]
    assert laps["-c 32768 -ctk q8_0 -ctv q8_0"]["told"]["cache"] > laps["-c 8192"]["told"]["cache"] > 0
