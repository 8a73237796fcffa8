"""The demo assistant's checkpoint under a name of its own, and a local Hub that has it, too."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from local_hub.fixtures import logged_in, loopback_only, quick_retries, stub
from local_hub.stub import HubStub

from gemma_mtp.demo.pair import PAIR

__all__ = ["logged_in", "loopback_only", "quick_retries", "stub"]

NAME = "tiny-gemma-4-it-assistant"


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


def add_checkpoint(stub: HubStub, repo: str, part: str = "assistant") -> str:
    stub.make_repo(repo)
    for path in sorted((PAIR / part).iterdir()):
        if path.is_file():
            stub.add_file(repo, path.name, path.read_bytes())
    return repo
