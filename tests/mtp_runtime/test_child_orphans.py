"""A program that is killed leaves no child computing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

#: Starts a child that computes for long, and tells that it runs.
PARENT = f"""
from gemma_mtp.native.child import converse, in_child
for item in {{how}}("{__name__}:busy", {{pipe!r}}):
    print(item, flush=True)
"""


def busy(pipe: str) -> Iterator[str]:
    """Runs in a child: an item, then one long call, of which it tells if it lives to do so."""
    with open(pipe, "w") as told:
        yield "started"
        time.sleep(30)
        told.write("it went on")


@pytest.mark.skipif(sys.platform == "win32", reason="has no named pipes in folders")
@pytest.mark.parametrize("how", ["in_child", "converse"])
def test_a_killed_parent_takes_its_child_along(how: str, tmp_path: Path):
    pipe = str(tmp_path / "pipe")
    os.mkfifo(pipe)
    program = PARENT.format(how=how, pipe=pipe)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment)
    with parent, open(pipe) as told:
        assert parent.stdout
        assert parent.stdout.readline() == "started\n"
        parent.kill()
        assert told.read() == "", "the child lived on"
