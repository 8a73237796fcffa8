"""Small sources of every kind in one folder, and a process that runs commands in copies of itself."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.forked import Forked
from helpers.tiny_pairs import ASSISTANT, TARGET, Model

from gemma_mtp.demo.pair import PAIR
from gemma_mtp.model.dialects import ATOMIC


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo assistant's checkpoint, tiny GGUFs of two dialects, and a chat template."""
    folder = tmp_path_factory.mktemp("sources")
    shutil.copytree(PAIR / "assistant", folder / "checkpoint")
    Model(TARGET).write(folder / "t.gguf")
    Model(ASSISTANT).write(folder / "a.gguf")
    Model(ASSISTANT, dialect=ATOMIC).write(folder / "old.gguf")
    (folder / "template.jinja").write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    return folder


@pytest.fixture(scope="module")
def forked() -> Iterator[Forked]:
    with Forked() as process:
        yield process
