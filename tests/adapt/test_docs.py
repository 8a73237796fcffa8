"""The worked example of docs/adapt.md is run as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gemma_mtp.quantize import read_imatrix

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(sys.platform == "win32", reason="a shell's example")
def test_the_worked_example(tmp_path: Path):
    pytest.importorskip("torch")
    text = (ROOT / "docs" / "adapt.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```sh\n(PAIR=.*?)```", text, re.DOTALL)
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, rest in (("gemma-mtp", "-m gemma_mtp"), ("python", "")):
        (tools / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {rest} "$@"\n')
        (tools / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["sh", "-e"], input=example, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "tokens a round" in done.stdout
    assert "of signals on disk" in done.stdout
    assert len(read_imatrix(tmp_path / "mtp-imatrix.gguf").entries) == 23
    assert (tmp_path / "mtp-demo-IQ3_S.gguf").stat().st_size < 2_000_000
