"""Thousands of damaged files for all that reads one: a result or an error of ours, in bounded time and memory.

The inputs are the same in every run. Long runs:
`PYTHONPATH=tests:. python -m helpers.fuzzing gguf --times 1000000 --seed 7`.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("resource")


def fuzz(*words: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "helpers.fuzzing", *words]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


def test_every_reader():
    """In a process of its own, since its memory is limited."""
    done = fuzz()
    assert done.returncode == 0, done.stderr[-8000:]
    for told in done.stdout.splitlines():
        name, inputs, refused = told.replace(",", "").partition(": ")[0], *map(int, numbers(told))
        assert 0 < refused < inputs or name in ("log", "answers"), told  # some are read, some are refused


def numbers(told: str) -> list[str]:
    words = told.replace(",", "").partition(": ")[2].split()
    return [words[0], words[2]]


def test_what_must_not_be_raised_is_shown_with_its_input():
    """The harness itself: a reader that raises something else ends the run, and the input is told."""
    bad = "{'bench': fuzzing.Reader(lambda: [b'{}'], lambda data, _: 1 // 0)}"
    code = f"from helpers import fuzzing; fuzzing.READERS = {bad}; fuzzing.main()"
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code, "bench"], env=variables, capture_output=True, text=True)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert "bench, input 0 of seed 0: bytes.fromhex('" in done.stderr
