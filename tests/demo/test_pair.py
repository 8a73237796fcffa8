"""The shipped pair is what its record says, and the script that made it still runs."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gemma_mtp.demo.pair import PAIR

ROOT = Path(__file__).parents[2]
SUMS = "SHA256SUMS"


def test_hashes():
    """Every shipped file has its recorded hash, and none is without one."""
    recorded = dict(reversed(line.split("  ", 1)) for line in (PAIR / SUMS).read_text().splitlines())
    shipped = {
        path.relative_to(PAIR).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in PAIR.glob("*/*")
        if path.parent.name in ("target", "assistant")
    }
    assert shipped == recorded


def test_size():
    """Both checkpoints together are small enough to be shipped."""
    assert sum(path.stat().st_size for path in PAIR.glob("*/*")) <= 16_000_000


def test_training_script(tmp_path):
    """A few steps of the training script make a complete pair."""
    settings = {
        "megabytes": 0.3,
        "target-steps": 1,
        "loop-steps": 1,
        "loop-batch": 2,
        "loop-length": 40,
        "target-length": 48,
        "target-batch": 2,
        "continuations": 2,
        "continuation-length": 40,
        "assistant-steps": 1,
        "assistant-batch": 2,
        "measured-tokens": 4,
        "muon-steps": 1,
    }
    options = [text for name, value in settings.items() for text in (f"--{name}", str(value))]
    command = [sys.executable, str(ROOT / "tools" / "train_demo_pair.py"), "--out", str(tmp_path), *options]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for part in ("target", "assistant"):
        made = {path.name for path in (tmp_path / part).iterdir()}
        assert made == {path.name for path in (PAIR / part).iterdir()}
    assert (tmp_path / SUMS).exists()
    assert "accepted" in (tmp_path / "TRAINING.md").read_text()


@pytest.mark.parametrize("part", ["target", "assistant"])
def test_is_ordinary(part):
    """transformers loads the checkpoints as any other."""
    from transformers import AutoConfig, AutoTokenizer

    config = AutoConfig.from_pretrained(PAIR / part)
    tokenizer = AutoTokenizer.from_pretrained(PAIR / part)
    assert config.get_text_config().vocab_size == len(tokenizer)
