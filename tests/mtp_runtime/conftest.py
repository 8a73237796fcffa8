"""The demo pair, loaded once for the runtime's tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from pair_files import SETTINGS, GGUFFactory

from gemma_mtp.mtp_runtime import MtpEngine


@pytest.fixture(scope="session")
def engine(target_gguf: GGUFFactory, assistant_gguf: GGUFFactory) -> Iterator[MtpEngine]:
    """The demo pair in F32, one thread, 512 tokens of context."""
    with MtpEngine(target_gguf("F32"), assistant_gguf("F32"), context=SETTINGS) as engine:
        yield engine
