"""The shipped DFlash drafter is what its record says, and the script that made it still runs."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from gemma_mtp.demo.dflash import DRAFTER
from gemma_mtp.demo.pair import PAIR

ROOT = Path(__file__).parents[2]


def test_hashes_and_size():
    recorded = dict(reversed(line.split("  ", 1)) for line in (DRAFTER / "SHA256SUMS").read_text().splitlines())
    files = [DRAFTER / name for name in ("config.json", "model.safetensors")]
    assert recorded == {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    assert sum(file.stat().st_size for file in files) <= 4_000_000


def test_training_script(tmp_path: Path):
    """A few steps make a drafter of the shipped one's shape."""
    few = {"continuations": 2, "continuation-length": 40, "steps": 21, "batch": 2, "blocks": 2}
    options = [text for name, value in few.items() for text in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "tools.train_dflash", "--target", str(PAIR / "target"), "--out", str(tmp_path)]
    done = subprocess.run(
        [*command, *options],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "config.json").read_text() == (DRAFTER / "config.json").read_text()
    size = (DRAFTER / "model.safetensors").stat().st_size
    assert (tmp_path / "model.safetensors").stat().st_size == size
    assert "accepted of 7" in (tmp_path / "TRAINING.md").read_text()
