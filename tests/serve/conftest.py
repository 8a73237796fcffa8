"""The demo pair for the tests of a running server."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def quantized_pair(target_gguf, assistant_gguf) -> tuple[Path, Path]:
    return target_gguf("Q8_0"), assistant_gguf("Q8_0")
