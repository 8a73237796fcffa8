"""The demo assistant's checkpoint under a name of its own, and a local Hub that has it, too."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from helpers.hub_checkpoints import NAME, add_checkpoint
from helpers.local_hub.fixtures import logged_in, loopback_only, quick_retries, stub
from helpers.local_hub.stub import HubStub

from gemma_mtp.demo.pair import PAIR

__all__ = ["logged_in", "loopback_only", "quick_retries", "stub"]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A checkpoint's folder, to be changed as a test likes."""
    folder = tmp_path / NAME
    shutil.copytree(PAIR / "assistant", folder)
    return folder


@pytest.fixture
def on_the_hub(stub: HubStub) -> str:
    """A repo with the same checkpoint."""
    return add_checkpoint(stub, f"google/{NAME}")
