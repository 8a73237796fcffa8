"""The demo pair for the tests of a running server."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def quantized_pair(target_gguf, assistant_gguf) -> tuple[Path, Path]:
    return target_gguf("Q8_0"), assistant_gguf("Q8_0")
