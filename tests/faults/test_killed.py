"""Killed when the disk changes: no file has its final name before it is whole, and the next run succeeds.

In CI some moments of each command are tried, always the same ones; `GEMMA_MTP_ALL_MOMENTS=1` tries all. Kills at random
times, of whole processes with their children, are `tools/kill_often.py`'s.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import pytest
from helpers.forked import Forked
from helpers.left_behind import assert_sound, contents, fresh, unfinished

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="nothing can be forked there")

#: Command -> how many of its moments are tried. Outputs that a killed run has finished are there: --force.
COMMANDS = {
    "convert checkpoint --type BF16 --type Q8_0 --force": 3,
    "quantize a.gguf Q8_0 draft-q4 --force": 6,
    "convert old.gguf -o b.gguf --force": 4,
    "edit a.gguf -o b.gguf --set general.name=x --force": 4,
    "make checkpoint --type BF16 --type Q4_0 -o made": 5,
}


def moments(total: int, tried: int, seed: str) -> list[int]:
    everything = range(1, total + 1)
    if os.environ.get("GEMMA_MTP_ALL_MOMENTS"):
        return list(everything)
    return sorted(random.Random(seed).sample(everything, min(tried, total)))


@pytest.mark.parametrize("command", COMMANDS)
def test_killed(command: str, forked: Forked, sources: Path, tmp_path: Path):
    work, on = tmp_path / "work", ("write", "remove")
    whole = forked.run(command.split(), fresh(sources, work), on=on)
    assert whole.code == 0, whole.err
    wanted = contents(work)
    assert wanted
    assert_sound(work)
    for moment in moments(whole.moments, COMMANDS[command], command):
        died = forked.run(command.split(), fresh(sources, work), "kill", moment, on)
        assert died.code == -9, (moment, died)
        assert_sound(work)
        again = forked.run(command.split(), work)
        assert again.code == 0, (moment, again.err)
        assert contents(work) == wanted, moment
        assert not unfinished(work), moment
