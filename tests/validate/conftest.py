"""A good tiny pair on disk, and a way to check a changed one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.tiny_pairs import ASSISTANT, TARGET, Model, changed

from gemma_mtp.validate import Report, verify_pair


@pytest.fixture
def good_pair(tmp_path: Path) -> tuple[Path, Path]:
    target = Model(TARGET).write(tmp_path / "target.gguf")
    return target, Model(ASSISTANT, seed=1).write(tmp_path / "mtp-target.gguf")


@pytest.fixture
def verify(tmp_path: Path) -> Callable[..., Report]:
    """`verify(target_changes, assistant_changes)`: the report on a pair made with these changes to `Model`.

    A change is a field of `Model`, or of `Hyperparameters`.
    """

    def run(target: dict | None = None, assistant: dict | None = None, **options) -> Report:
        paths = [
            changed(Model(base, seed=seed), changes or {}).write(tmp_path / name)
            for base, changes, name, seed in (
                (TARGET, target, "target.gguf", 0),
                (ASSISTANT, assistant, "mtp-target.gguf", 1),
            )
        ]
        return verify_pair(*paths, **options)

    return run
