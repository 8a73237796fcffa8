"""A small checkpoint that a test may break."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gemma_mtp.demo.pair import PAIR


@pytest.fixture
def assistant_folder(tmp_path: Path) -> Path:
    """A copy of the demo assistant's checkpoint."""
    return shutil.copytree(PAIR / "assistant", tmp_path / "assistant")
