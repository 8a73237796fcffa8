"""The demo pair, loaded once for the runtime's tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from helpers.demo_files import SETTINGS, GGUFFactory

if TYPE_CHECKING:
    from gemma_mtp.mtp_runtime import MtpEngine


@pytest.fixture(scope="session")
def engine(target_gguf: GGUFFactory, assistant_gguf: GGUFFactory) -> Iterator[MtpEngine]:
    """The demo pair in F32, one thread, 512 tokens of context."""
    from gemma_mtp.mtp_runtime import MtpEngine  # needs llama-cpp-python, which this room's collection does not

    with MtpEngine(target_gguf("F32"), assistant_gguf("F32"), context=SETTINGS) as engine:
        yield engine
