"""What the tests of hosts share."""

from __future__ import annotations

import os
import shutil

import pytest

#: Names a llama-server binary of upstream's, for the tests that ask it.
VARIABLE = "GEMMA_MTP_TEST_LLAMA_SERVER"


@pytest.fixture(scope="session")
def llama_server() -> str:
    found = os.environ.get(VARIABLE) or shutil.which("llama-server")
    if not found:
        pytest.skip(f"no llama-server here: put one on the PATH, or name it in {VARIABLE}")
    return found
