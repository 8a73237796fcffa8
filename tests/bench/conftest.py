"""A small pair for measuring."""

from __future__ import annotations

from pathlib import Path

import pytest

from gemma_mtp.bench.laps import Pair
from gemma_mtp.native.settings import ContextSettings

CONTEXT = ContextSettings(512, threads=1)


@pytest.fixture(scope="session")
def pair(target_gguf, assistant_gguf) -> Pair:
    return Pair(target_gguf("F32"), assistant_gguf("F32"), 3, CONTEXT)


@pytest.fixture(scope="session")
def files(target_gguf, assistant_gguf) -> tuple[Path, Path]:
    return target_gguf("Q8_0"), assistant_gguf("Q8_0")
